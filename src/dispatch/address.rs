//! Which addresses may be dialled. It is pure: it never resolves and never connects.
//!
//! Refused by default is everything that is not plainly public, after the IANA special-purpose address registries (RFC 6890 and its updates) and a few that clouds use for
//! their own services. An IPv6 address that carries an IPv4 address is judged by that one. Exceptions are networks, never names.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::model::port_refusal;

const REFUSED_V4: [Ipv4Net; 19] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 31, 196, 0, 24),
    v4(192, 52, 193, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(192, 175, 48, 0, 24),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
    // The virtual address of a large cloud's host services.
    v4(168, 63, 129, 16, 32),
];

/// Global unicast; everything outside of it is refused.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

const REFUSED_V6: [Ipv6Net; 5] = [
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0x0db8, 0, 0, 0, 0, 0, 0], 32),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    v6([0x2620, 0x004f, 0x8000, 0, 0, 0, 0, 0], 48),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

/// The well-known prefix of NAT64 (RFC 6052), which always carries its IPv4 address in the last 32 bits. In the prefix for local use, `64:ff9b:1::/48` (RFC 8215), its place
/// depends on the network, so an address there may lead anywhere: it is refused like all that is not global unicast.
const NAT64: Ipv6Net = v6([0x0064, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// Why an address is not dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is in a private or special range.
    Special,
    /// Its port belongs to another service; why, in words.
    Port(String),
    /// It is one of the daemon's own listeners.
    OwnListener,
    /// It is an address of the machine itself.
    OwnMachine,
}

impl Refusal {
    /// What to tell the owner of a webhook whose `host` is at `address`.
    #[must_use]
    pub fn sentence(&self, host: &str, address: SocketAddr) -> String {
        // A literal is what it is.
        let is_literal = host.parse() == Ok(address.ip());
        let named = |what: &dyn Display| if is_literal { format!("{what} is") } else { format!("{host} is {what},") };
        match self {
            Self::Special => format!(
                "{} a private or special address, which is not dialled; allow_networks in [egress] or in the webhook makes an exception",
                named(&address.ip())
            ),
            Self::Port(why) => why.clone(),
            Self::OwnListener => format!("{} where hookwheel itself listens", named(&address)),
            Self::OwnMachine => format!(
                "{} an address of the machine on which hookwheel runs, which is not dialled; allow_networks in [egress] or in the webhook makes an exception",
                named(&address.ip())
            ),
        }
    }
}

/// Judges an address. `allow_networks` and `allow_ports` may be dialled all the same; the daemon's own listeners may not even then.
///
/// An address in disguise is judged by the one inside, by the exceptions too: `10.0.0.0/8` allows `::ffff:10.0.0.1`, and `::/0` does not.
///
/// # Errors
/// Why it is not to be dialled.
pub fn judge(address: SocketAddr, allow_networks: &[IpNet], allow_ports: &[u16], own_listeners: &[SocketAddr]) -> Result<(), Refusal> {
    if is_own_listener(address, own_listeners) {
        return Err(Refusal::OwnListener);
    }
    let ip = inner(address.ip());
    if let Some(why) = port_refusal(address.port(), allow_ports) {
        return Err(Refusal::Port(why));
    }
    let is_allowed = allow_networks.iter().any(|network| network.contains(&ip));
    if is_allowed || is_public(ip) { Ok(()) } else { Err(Refusal::Special) }
}

/// Whether the daemon itself listens there.
#[must_use]
pub fn is_own_listener(address: SocketAddr, own_listeners: &[SocketAddr]) -> bool {
    let address = SocketAddr::new(inner(address.ip()), address.port());
    own_listeners.iter().any(|own| is_own(address, *own))
}

/// Judges a connection that stands, before anything is sent over it: one through an address of this machine that no configuration names, such as its public one, leads to this machine. The
/// source address of such a connection is the address dialled, and of no other. Behind it lie services that a firewall keeps from others, and the daemon itself where it listens on `0.0.0.0`.
///
/// # Errors
/// Why nothing is to be sent.
pub fn judge_connection(
    local: SocketAddr,
    peer: SocketAddr,
    allow_networks: &[IpNet],
    own_listeners: &[SocketAddr],
) -> Result<(), Refusal> {
    let ip = inner(peer.ip());
    if inner(local.ip()) != ip {
        return Ok(());
    }
    let is_everywhere = |own: &SocketAddr| inner(own.ip()).is_unspecified() && own.port() == peer.port();
    if is_own_listener(peer, own_listeners) || own_listeners.iter().any(is_everywhere) {
        return Err(Refusal::OwnListener);
    }
    if allow_networks.iter().any(|network| network.contains(&ip)) { Ok(()) } else { Err(Refusal::OwnMachine) }
}

/// The IPv4 address that an IPv6 address carries (mapped, compatible, NAT64), else the address itself.
fn inner(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let [.., a, b, c, d] = v6.octets();
    let is_compatible = v6.segments()[..6] == [0; 6] && !v6.is_loopback() && !v6.is_unspecified();
    if v6.to_ipv4_mapped().is_some() || is_compatible || NAT64.contains(&v6) { IpAddr::V4(Ipv4Addr::new(a, b, c, d)) } else { ip }
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !REFUSED_V4.iter().any(|network| network.contains(&ip)),
        IpAddr::V6(ip) => GLOBAL_V6.contains(&ip) && !REFUSED_V6.iter().any(|network| network.contains(&ip)),
    }
}

/// A listener on the unspecified address answers on every address of this machine; the loopback ones are known to be of it.
fn is_own(address: SocketAddr, own: SocketAddr) -> bool {
    let own_ip = inner(own.ip());
    address.port() == own.port()
        && (address.ip() == own_ip || (own_ip.is_unspecified() && (address.ip().is_loopback() || address.ip().is_unspecified())))
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(s: [u16; 8], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The ranges of the contract, written out once more: the tables above are checked against these, not against themselves.
    const CONTRACT_V4: &str = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 \
        192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 168.63.129.16/32";
    const CONTRACT_V6: &str = "2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20";

    fn contract(text: &str) -> Vec<IpNet> {
        text.split_whitespace().map(|network| network.parse().unwrap()).collect()
    }

    fn verdict(ip: impl Into<IpAddr>) -> Result<(), Refusal> {
        judge(SocketAddr::new(ip.into(), 443), &[], &[], &[])
    }

    fn verdict_of(ip: &str) -> Result<(), Refusal> {
        verdict(ip.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn a_refusal_says_where_a_name_leads_and_what_a_literal_is() {
        let address = "10.0.0.1:443".parse().unwrap();
        let special = |host: &str| Refusal::Special.sentence(host, address);
        assert!(special("crm.example.com").starts_with("crm.example.com is 10.0.0.1, a private or special address"));
        assert!(special("10.0.0.1").starts_with("10.0.0.1 is a private or special address"));
        let own = |host: &str| Refusal::OwnListener.sentence(host, address);
        assert_eq!(own("crm.example.com"), "crm.example.com is 10.0.0.1:443, where hookwheel itself listens");
        assert_eq!(own("10.0.0.1"), "10.0.0.1:443 is where hookwheel itself listens");
        assert!(Refusal::OwnMachine.sentence("10.0.0.1", address).starts_with("10.0.0.1 is an address of the machine on which"));
    }

    #[test]
    fn the_first_and_the_last_address_of_every_refused_range_are_refused_and_their_neighbours_are_not() {
        for network in [contract(CONTRACT_V4), contract(CONTRACT_V6)].concat() {
            assert_eq!(verdict(network.network()), Err(Refusal::Special), "{network}");
            assert_eq!(verdict(network.broadcast()), Err(Refusal::Special), "{network}");
        }
        let v4 = "1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 172.15.255.255 172.32.0.0 192.0.1.0 198.17.255.255 198.20.0.0 \
            223.255.255.255 168.63.129.15 168.63.129.17";
        let v6 = "2000:: 2606:4700::1111 2001:200::1 2001:db7:ffff::1 2003::1 2620:4f:8001:: 3ffe:ffff::1 3fff:1000::";
        for ip in v4.split_whitespace().chain(v6.split_whitespace()) {
            assert_eq!(verdict_of(ip), Ok(()), "{ip}");
        }
        for ip in ["::", "::1", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "4000::1", "1fff::1", "100::1", "5f00::1", "::ffff:0:8.8.8.8"] {
            assert_eq!(verdict_of(ip), Err(Refusal::Special), "{ip}");
        }
    }

    #[test]
    fn where_the_place_of_the_inner_address_is_not_known_the_outer_one_is_refused() {
        // 10.0.0.1 for a network that translates by 64:ff9b:1::/48, though its last 32 bits read 8.8.8.8.
        assert_eq!(verdict_of("64:ff9b:1:a00:0:100:808:808"), Err(Refusal::Special));
        assert_eq!(verdict_of("64:ff9b:1::8.8.8.8"), Err(Refusal::Special));
    }

    #[test]
    fn exceptions_are_networks_and_never_reach_the_own_listeners() {
        let allowed = ["127.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let own = ["127.0.0.1:8700".parse().unwrap()];
        let judged = |address: &str| judge(address.parse().unwrap(), &allowed, &[25], &own);
        assert_eq!(judged("127.0.0.1:8701"), Ok(()));
        assert_eq!(judged("[::ffff:127.0.0.1]:8701"), Ok(()));
        assert_eq!(judged("[fd00::7]:80"), Ok(()));
        assert_eq!(judged("10.0.0.1:80"), Err(Refusal::Special));
        assert_eq!(judged("127.0.0.1:25"), Ok(()));
        assert!(matches!(judged("127.0.0.1:22"), Err(Refusal::Port(why)) if why.starts_with("port 22 is not dialled")));
        assert_eq!(judged("10.0.0.1:25"), Err(Refusal::Special), "a port that is allowed opens no network");
        assert_eq!(judged("127.0.0.1:8700"), Err(Refusal::OwnListener));
        assert_eq!(judged("[::ffff:127.0.0.1]:8700"), Err(Refusal::OwnListener));
        let everything_v6 = ["::/0".parse().unwrap()];
        assert_eq!(judge("[::ffff:10.0.0.1]:80".parse().unwrap(), &everything_v6, &[], &[]), Err(Refusal::Special), "it is IPv4 within");
        for everywhere in ["0.0.0.0:8700", "[::]:8700"] {
            let own = [everywhere.parse().unwrap()];
            assert_eq!(judge("127.0.0.2:8700".parse().unwrap(), &allowed, &[], &own), Err(Refusal::OwnListener));
            assert_eq!(judge("127.0.0.2:8701".parse().unwrap(), &allowed, &[], &own), Ok(()));
        }
    }

    #[test]
    fn a_connection_to_an_address_of_this_machine_is_known_by_its_source_and_needs_an_exception() {
        let own = ["0.0.0.0:8700".parse().unwrap(), "192.0.2.1:8800".parse().unwrap()];
        let judged =
            |local: &str, peer: &str, allowed: &[IpNet]| judge_connection(local.parse().unwrap(), peer.parse().unwrap(), allowed, &own);
        let everything = ["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        for (local, peer) in [("198.51.100.7:40000", "198.51.100.7:8700"), ("[2606:4700::7]:40000", "[2606:4700::7]:8700")] {
            assert_eq!(judged(local, peer, &everything), Err(Refusal::OwnListener), "whatever is allowed");
        }
        for (local, peer) in [
            ("198.51.100.7:40000", "198.51.100.7:6379"),
            ("[2606:4700::7]:40000", "[2606:4700::7]:443"),
            ("[::ffff:198.51.100.7]:40000", "198.51.100.7:443"),
            ("198.51.100.7:40000", "198.51.100.7:8800"),
        ] {
            assert_eq!(judged(local, peer, &[]), Err(Refusal::OwnMachine), "{peer}");
            assert_eq!(judged(local, peer, &everything), Ok(()), "{peer}");
        }
        assert_eq!(judged("198.51.100.7:40000", "198.51.100.8:8700", &[]), Ok(()), "another machine");
    }

    proptest! {
        #[test]
        fn every_ipv4_address_is_judged_as_the_contract_says(bits in any::<u32>()) {
            let ip = IpAddr::from(Ipv4Addr::from(bits));
            prop_assert_eq!(verdict(ip).is_err(), contract(CONTRACT_V4).iter().any(|network| network.contains(&ip)));
        }

        #[test]
        fn every_address_of_a_refused_range_is_refused(index in any::<prop::sample::Index>(), bits in any::<u128>()) {
            let networks = [contract(CONTRACT_V4), contract(CONTRACT_V6)].concat();
            let ip: IpAddr = match *index.get(&networks) {
                IpNet::V4(network) => {
                    let low = u32::try_from(bits & u128::from(u32::MAX)).unwrap();
                    Ipv4Addr::from(u32::from(network.network()) | (low & u32::from(network.hostmask()))).into()
                }
                IpNet::V6(network) => Ipv6Addr::from(u128::from(network.network()) | (bits & u128::from(network.hostmask()))).into(),
            };
            prop_assert_eq!(verdict(ip), Err(Refusal::Special), "{}", ip);
        }

        #[test]
        fn ipv6_outside_of_global_unicast_is_refused_and_inside_only_the_contracts_ranges_are(bits in any::<u128>()) {
            let ip = Ipv6Addr::from(bits);
            if matches!(inner(ip.into()), IpAddr::V6(_)) {
                let is_special = bits >> 125 != 1 || contract(CONTRACT_V6).iter().any(|network| network.contains(&IpAddr::from(ip)));
                prop_assert_eq!(verdict(ip).is_err(), is_special, "{}", ip);
            }
            let global = Ipv6Addr::from((bits >> 3) | (1 << 125));
            let is_special = contract(CONTRACT_V6).iter().any(|network| network.contains(&IpAddr::from(global)));
            prop_assert_eq!(verdict(global).is_err(), is_special, "{}", global);
        }

        #[test]
        fn an_address_in_disguise_is_judged_like_the_one_inside(bits in any::<u32>()) {
            let plain = Ipv4Addr::from(bits);
            let [a, b, c, d] = plain.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            for disguise in [[0, 0, 0, 0, 0, 0xffff, high, low], [0x64, 0xff9b, 0, 0, 0, 0, high, low], [0, 0, 0, 0, 0, 0, high, low]] {
                let disguised = Ipv6Addr::from(disguise);
                prop_assert_eq!(verdict(disguised), verdict(plain), "{}", disguised);
            }
        }
    }
}

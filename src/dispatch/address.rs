//! Which addresses may be dialled. It is pure: it never resolves and never connects.
//!
//! Refused by default is everything that is not plainly public, after the IANA special-purpose address registries (RFC 6890 and its updates) and a few that clouds use for
//! their own services. An IPv6 address that carries an IPv4 address is judged by that one. Exceptions are networks, never names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

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

/// The well-known prefix of NAT64 (RFC 6052) and the one for local use (RFC 8215).
const NAT64: Ipv6Net = v6([0x0064, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
const NAT64_LOCAL: Ipv6Net = v6([0x0064, 0xff9b, 1, 0, 0, 0, 0, 0], 48);

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is in a private or special range.
    Special,
    /// It is one of the daemon's own listeners.
    OwnListener,
}

/// Judges an address. `allowed` are the networks that may be dialled all the same; the daemon's own listeners may not even then.
///
/// # Errors
/// Why it is not to be dialled.
pub fn judge(address: SocketAddr, allowed: &[IpNet], own_listeners: &[SocketAddr]) -> Result<(), Refusal> {
    let ip = inner(address.ip());
    if own_listeners.iter().any(|own| is_own(SocketAddr::new(ip, address.port()), *own)) {
        return Err(Refusal::OwnListener);
    }
    let is_allowed = allowed.iter().any(|network| network.contains(&ip) || network.contains(&address.ip()));
    if is_allowed || is_public(ip) { Ok(()) } else { Err(Refusal::Special) }
}

/// The IPv4 address that an IPv6 address carries (mapped, compatible, NAT64), else the address itself.
fn inner(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let [.., a, b, c, d] = v6.octets();
    let carried = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    let is_compatible = v6.segments()[..6] == [0; 6] && !v6.is_loopback() && !v6.is_unspecified();
    if v6.to_ipv4_mapped().is_some() || is_compatible || NAT64.contains(&v6) || NAT64_LOCAL.contains(&v6) { carried } else { ip }
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

    fn verdict(ip: &str) -> Result<(), Refusal> {
        judge(SocketAddr::new(ip.parse().unwrap(), 443), &[], &[])
    }

    #[test]
    fn the_first_and_the_last_address_of_every_refused_range_are_refused_and_their_neighbours_are_not() {
        for network in REFUSED_V4 {
            for ip in [network.network(), network.broadcast()] {
                assert_eq!(verdict(&ip.to_string()), Err(Refusal::Special), "{ip}");
            }
        }
        for network in REFUSED_V6 {
            assert_eq!(verdict(&network.network().to_string()), Err(Refusal::Special), "{network}");
            assert_eq!(verdict(&network.broadcast().to_string()), Err(Refusal::Special), "{network}");
        }
        for ip in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "223.255.255.255",
            "168.63.129.17",
        ] {
            assert_eq!(verdict(ip), Ok(()), "{ip}");
        }
        for ip in ["2606:4700::1111", "2001:200::1", "2003::1", "2620:4f:8001::", "3ffe:ffff::1"] {
            assert_eq!(verdict(ip), Ok(()), "{ip}");
        }
        for ip in ["::", "::1", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "4000::1", "1fff::1", "100::1", "5f00::1"] {
            assert_eq!(verdict(ip), Err(Refusal::Special), "{ip}");
        }
    }

    #[test]
    fn exceptions_are_networks_and_never_reach_the_own_listeners() {
        let allowed = ["127.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let own = ["127.0.0.1:8700".parse().unwrap()];
        let judged = |address: &str| judge(address.parse().unwrap(), &allowed, &own);
        assert_eq!(judged("127.0.0.1:8701"), Ok(()));
        assert_eq!(judged("[fd00::7]:80"), Ok(()));
        assert_eq!(judged("10.0.0.1:80"), Err(Refusal::Special));
        assert_eq!(judged("127.0.0.1:8700"), Err(Refusal::OwnListener));
        assert_eq!(judged("[::ffff:127.0.0.1]:8700"), Err(Refusal::OwnListener));
        let everywhere = ["0.0.0.0:8700".parse().unwrap()];
        assert_eq!(judge("127.0.0.2:8700".parse().unwrap(), &allowed, &everywhere), Err(Refusal::OwnListener));
    }

    proptest! {
        #[test]
        fn an_address_in_disguise_is_judged_like_the_one_inside(bits in any::<u32>()) {
            let plain = Ipv4Addr::from(bits);
            let [a, b, c, d] = plain.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let expected = verdict(&plain.to_string());
            for disguise in [[0, 0, 0, 0, 0, 0xffff, high, low], [0x64, 0xff9b, 0, 0, 0, 0, high, low], [0x64, 0xff9b, 1, 0, 0, 0, high, low], [0, 0, 0, 0, 0, 0, high, low]] {
                let disguised = Ipv6Addr::from(disguise);
                prop_assert_eq!(verdict(&disguised.to_string()), expected, "{}", disguised);
            }
        }
    }
}

//! Names: the hosts file, a name server that says anything, and none at all.

use std::net::{IpAddr, Ipv4Addr};

use super::receivers::obedient;
use super::*;
use hickory_resolver::Hosts;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;

/// What a name server says to a question for a name's IPv4 addresses.
#[derive(Clone)]
enum Say {
    Addresses(Vec<&'static str>),
    /// And nothing at all to a question for IPv6 addresses.
    OnlyAddresses(Vec<&'static str>),
    Code(ResponseCode),
    Nothing,
}

async fn name_server(say: Say) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let question = Message::from_vec(&buffer[..length]).unwrap();
            if let Some(answer) = answer(&question, &say) {
                socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
            }
        }
    });
    address
}

fn answer(question: &Message, say: &Say) -> Option<Message> {
    let query = question.queries[0].clone();
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    match say {
        Say::Nothing => return None,
        Say::Code(code) => answer.metadata.response_code = *code,
        Say::OnlyAddresses(_) if query.query_type() != RecordType::A => return None,
        Say::Addresses(addresses) | Say::OnlyAddresses(addresses) if query.query_type() == RecordType::A => {
            for address in addresses {
                let data = RData::A(address.parse::<Ipv4Addr>().unwrap().into());
                answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
            }
        }
        Say::Addresses(_) | Say::OnlyAddresses(_) => {}
    }
    answer.add_query(query);
    Some(answer)
}

/// A dispatcher that asks this name server alone, and knows these hosts.
async fn asking(say: Say, hosts: &str) -> Dispatcher {
    let address = name_server(say).await;
    let mut udp = ConnectionConfig::udp();
    udp.port = address.port();
    let server = NameServerConfig::new(address.ip(), true, vec![udp]);
    knowing(ResolverConfig::from_parts(None, Vec::new(), vec![server]), hosts)
}

fn knowing(config: ResolverConfig, hosts: &str) -> Dispatcher {
    let mut known = Hosts::default();
    known.read_hosts_conf(hosts.as_bytes()).unwrap();
    let names = Names::new(config, ResolverOpts::default(), known).unwrap();
    Dispatcher::assembled(DispatchSettings::default(), RootCertStore::empty(), names, limits::IDLE_TIMEOUT_MS).unwrap()
}

#[tokio::test]
async fn of_a_mixed_answer_only_what_may_be_dialled_is_dialled() {
    let (receiver, connections) = obedient().await;
    let url = format!("http://mixed.example:{}/", receiver.port());
    let dispatcher = asking(Say::Addresses(vec!["10.0.0.1", "169.254.169.254", "127.0.0.1"]), "").await;
    let outcome = dispatcher.attempt(job(&url)).await;
    assert_eq!((outcome.class, outcome.remote), (OutcomeClass::Success, Some(receiver.to_string())));
    assert!(outcome.phases.dns_us.is_some());
    let outcome = dispatcher.attempt(job_with(&url, |spec| spec.allow_networks.clear())).await;
    assert_eq!(outcome.class, OutcomeClass::AddressRefused, "{outcome:?}");
    assert!(outcome.sentence.starts_with("mixed.example is 10.0.0.1, a private"), "{outcome:?}");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_zone_that_is_silent_about_the_other_family_is_not_waited_for() {
    let (receiver, _) = obedient().await;
    let url = format!("http://silent.example:{}/", receiver.port());
    let outcome = asking(Say::OnlyAddresses(vec!["127.0.0.1"]), "").await.attempt(job_with(&url, |spec| spec.timeout_ms = 2000)).await;
    assert_eq!(outcome.class, OutcomeClass::Success, "{outcome:?}");
}

#[tokio::test]
async fn when_one_address_refuses_the_next_is_tried() {
    let (receiver, _) = obedient().await;
    let url = format!("http://several.example:{}/", receiver.port());
    let dispatcher = asking(Say::Addresses(vec!["127.0.0.2", "127.0.0.3", "127.0.0.1"]), "").await;
    let outcome = dispatcher.attempt(job(&url)).await;
    assert_eq!((outcome.class, outcome.remote), (OutcomeClass::Success, Some(receiver.to_string())), "{}", outcome.sentence);
}

#[tokio::test]
async fn every_way_in_which_a_name_is_not_resolved_has_its_class() {
    let cases = [
        (Say::Code(ResponseCode::NXDomain), OutcomeClass::DnsNotFound, "the name shop.example does not exist"),
        (Say::Addresses(Vec::new()), OutcomeClass::DnsNotFound, "the name shop.example has no address"),
        (Say::Code(ResponseCode::ServFail), OutcomeClass::DnsFailed, "the name shop.example could not be resolved"),
        (Say::Code(ResponseCode::Refused), OutcomeClass::DnsFailed, "the name shop.example could not be resolved"),
        (Say::Nothing, OutcomeClass::DnsTimeout, "the name shop.example could not be resolved within 400 ms"),
    ];
    for (say, class, words) in cases {
        let outcome = asking(say, "").await.attempt(job_with("http://shop.example/", |spec| spec.timeout_ms = 400)).await;
        assert_eq!(outcome.class, class, "{outcome:?}");
        assert!(outcome.sentence.starts_with(words), "{outcome:?}");
    }
    let outcome = dispatcher().attempt(job("http://nonexistent.invalid/")).await;
    let sentence = "the name nonexistent.invalid does not exist";
    assert_eq!((outcome.class, outcome.sentence.as_str()), (OutcomeClass::DnsNotFound, sentence));
}

#[tokio::test]
async fn the_hosts_file_comes_first_and_asks_nobody() {
    let (receiver, _) = obedient().await;
    let dispatcher = asking(Say::Nothing, "127.0.0.1 crm.internal\n10.0.0.1 database.internal\n").await;
    let outcome = dispatcher.attempt(job(&format!("http://CRM.internal:{}/", receiver.port()))).await;
    assert_eq!(outcome.class, OutcomeClass::Success, "{outcome:?}");
    let outcome = dispatcher.attempt(job("http://database.internal/")).await;
    assert_eq!(outcome.class, OutcomeClass::AddressRefused, "{outcome:?}");
}

#[tokio::test]
async fn without_a_name_server_the_names_in_the_hosts_file_still_resolve() {
    let (receiver, _) = obedient().await;
    let dispatcher = knowing(ResolverConfig::default(), "127.0.0.1 crm.internal");
    let outcome = dispatcher.attempt(job(&format!("http://crm.internal:{}/", receiver.port()))).await;
    assert_eq!(outcome.class, OutcomeClass::Success, "{outcome:?}");
    let outcome = dispatcher.attempt(job("http://shop.example/")).await;
    assert_eq!(outcome.class, OutcomeClass::DnsFailed, "{outcome:?}");
    assert!(outcome.sentence.contains("no name server in /etc/resolv.conf"), "{outcome:?}");
}

#[tokio::test]
async fn only_so_many_addresses_of_an_answer_are_considered() {
    let many = (0..=255).map(|last| &*format!("127.0.7.{last}").leak()).collect::<Vec<_>>();
    let address = name_server(Say::Addresses(many.into_iter().take(70).collect())).await;
    let mut udp = ConnectionConfig::udp();
    udp.port = address.port();
    let server = NameServerConfig::new(address.ip(), true, vec![udp]);
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let names = Names::new(config, ResolverOpts::default(), Hosts::default()).unwrap();
    let found = names.addresses("many.example").await.unwrap();
    assert_eq!(found.len(), limits::RESOLVED_ADDRESSES_MAX);
    assert_eq!(names.addresses("::ffff:10.0.0.1").await.unwrap(), ["::ffff:10.0.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(names.addresses("a..b").await.unwrap_err().class, OutcomeClass::UrlRefused);
}

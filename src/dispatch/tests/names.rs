//! Names: the hosts file, a name server that says anything, and none at all.

use std::net::{IpAddr, Ipv4Addr};

use super::receivers::obedient;
use super::*;
use hickory_resolver::Hosts;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// What a name server says to a question for a name's IPv4 addresses.
#[derive(Clone)]
pub(super) enum Say {
    Addresses(Vec<&'static str>),
    /// Over TCP alone; over UDP that there is more than fits.
    Many(u16),
    /// The one the first time and the other from then on, neither to be remembered.
    Turning(&'static str, &'static str),
    /// Of every name that it is another, and of that one the same again.
    Loop,
    /// And nothing at all to a question for IPv6 addresses.
    OnlyAddresses(Vec<&'static str>),
    Code(ResponseCode),
    Nothing,
}

/// Gives back its address, and how often it was asked for IPv4 addresses.
async fn name_server(say: Say) -> (SocketAddr, Arc<AtomicUsize>) {
    let (socket, listener) = loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
            break (socket, listener);
        }
    };
    let (address, asked) = (socket.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let (counted, over_tcp) = (Arc::clone(&asked), say.clone());
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let question = Message::from_vec(&buffer[..length]).unwrap();
            if let Some(mut answer) = answer(&question, &say, &counted) {
                if matches!(say, Say::Many(_)) {
                    answer.metadata.truncation = true;
                    answer.answers.clear();
                }
                socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_stream(stream, over_tcp.clone()));
        }
    });
    (address, asked)
}

async fn answer_stream(mut stream: TcpStream, say: Say) {
    while let Ok(length) = stream.read_u16().await {
        let mut bytes = vec![0; usize::from(length)];
        stream.read_exact(&mut bytes).await.unwrap();
        let Some(answer) = answer(&Message::from_vec(&bytes).unwrap(), &say, &AtomicUsize::new(0)) else { return };
        let bytes = answer.to_vec().unwrap();
        stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    }
}

fn answer(question: &Message, say: &Say, asked: &AtomicUsize) -> Option<Message> {
    let query = question.queries[0].clone();
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    let is_ipv4 = query.query_type() == RecordType::A;
    let times = if is_ipv4 { asked.fetch_add(1, Ordering::SeqCst) } else { 0 };
    let mut say_ipv4 = |address: Ipv4Addr, ttl| {
        answer.add_answer(Record::from_rdata(query.name().clone(), ttl, RData::A(address.into())));
    };
    match say {
        Say::Nothing => return None,
        Say::Code(code) => answer.metadata.response_code = *code,
        Say::OnlyAddresses(_) if !is_ipv4 => return None,
        Say::Loop => {
            let other = if query.name().to_ascii().starts_with("a.") { "b.example." } else { "a.example." };
            let data = RData::CNAME(CNAME(Name::from_ascii(other).unwrap()));
            answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
        }
        _ if !is_ipv4 => {}
        Say::Addresses(addresses) | Say::OnlyAddresses(addresses) => {
            addresses.iter().for_each(|address| say_ipv4(address.parse().unwrap(), 60));
        }
        Say::Many(count) => (0..*count).map(u16::to_be_bytes).for_each(|[high, low]| say_ipv4(Ipv4Addr::new(127, 7, high, low), 60)),
        Say::Turning(first, then) => say_ipv4(if times == 0 { first } else { then }.parse().unwrap(), 0),
    }
    answer.add_query(query);
    Some(answer)
}

/// Where there is one name server, that can be asked over UDP and TCP.
fn servers(address: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    ResolverConfig::from_parts(None, Vec::new(), vec![NameServerConfig::new(address.ip(), true, connections.into())])
}

/// A dispatcher that asks this name server alone, and knows these hosts; and how often the server is asked.
pub(super) async fn asking(say: Say, hosts: &str) -> (Dispatcher, Arc<AtomicUsize>) {
    let (address, asked) = name_server(say).await;
    (knowing(servers(address), hosts), asked)
}

fn knowing(config: ResolverConfig, hosts: &str) -> Dispatcher {
    let mut known = Hosts::default();
    known.read_hosts_conf(hosts.as_bytes()).unwrap();
    let names = Names::new(config, ResolverOpts::default(), known).unwrap();
    Dispatcher::assembled(DispatchSettings::default(), RootCertStore::empty(), names, Keeping::default()).unwrap()
}

#[tokio::test]
async fn of_a_mixed_answer_only_what_may_be_dialled_is_dialled() {
    let (receiver, connections) = obedient().await;
    let url = format!("http://mixed.example:{}/", receiver.port());
    let (dispatcher, _) = asking(Say::Addresses(vec!["10.0.0.1", "169.254.169.254", "127.0.0.1"]), "").await;
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
    let (dispatcher, _) = asking(Say::OnlyAddresses(vec!["127.0.0.1"]), "").await;
    let outcome = dispatcher.attempt(job(&url)).await;
    assert_eq!(outcome.class, OutcomeClass::Success, "{outcome:?}");
}

#[tokio::test]
async fn when_one_address_refuses_the_next_is_tried() {
    let (receiver, _) = obedient().await;
    let url = format!("http://several.example:{}/", receiver.port());
    let (dispatcher, _) = asking(Say::Addresses(vec!["127.0.0.2", "127.0.0.3", "127.0.0.1"]), "").await;
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
        let (dispatcher, _) = asking(say, "").await;
        let outcome = dispatcher.attempt(job_with("http://shop.example/", |spec| spec.timeout_ms = 400)).await;
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
    let (dispatcher, _) = asking(Say::Nothing, "127.0.0.1 crm.internal\n10.0.0.1 database.internal\n").await;
    let outcome = dispatcher.attempt(job(&format!("http://CRM.internal:{}/", receiver.port()))).await;
    assert_eq!(outcome.class, OutcomeClass::Success, "{outcome:?}");
    let outcome = dispatcher.attempt(job("http://database.internal/")).await;
    assert_eq!(outcome.class, OutcomeClass::AddressRefused, "{outcome:?}");
}

#[tokio::test]
async fn a_line_of_the_hosts_file_that_is_no_utf8_takes_no_other_with_it() {
    let hosts = b"# f\xfcr alle\n10.0.0.7 crm.internal\n10.0.0.8 m\xfcller.internal\n10.0.0.9 last.internal\n";
    let names = Names::from_files(Ok(Vec::new()), Ok(hosts.to_vec())).unwrap();
    for (name, address) in [("crm.internal", "10.0.0.7"), ("last.internal", "10.0.0.9")] {
        assert_eq!(names.addresses(name).await.unwrap(), [address.parse::<IpAddr>().unwrap()]);
    }
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
    let (address, _) = name_server(Say::Many(1000)).await;
    let names = Names::new(servers(address), ResolverOpts::default(), Hosts::default()).unwrap();
    let found = names.addresses("many.example").await.unwrap();
    assert_eq!(found.len(), limits::RESOLVED_ADDRESSES_MAX);
    assert_eq!(names.addresses("::ffff:10.0.0.1").await.unwrap(), ["::ffff:10.0.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(names.addresses("a..b").await.unwrap_err().class, OutcomeClass::UrlRefused);
}

/// Nobody listens at any of them, and of a thousand as many are tried as of any other answer.
#[tokio::test]
async fn a_thousand_addresses_end_in_time_and_are_refused_where_none_may_be_dialled() {
    let (dispatcher, _) = asking(Say::Many(1000), "").await;
    let (unused, _) = obedient().await;
    let url = format!("http://many.example:{}/", unused.port());
    assert_eq!(dispatcher.attempt(job(&url)).await.class, OutcomeClass::ConnectRefused);
    let outcome = dispatcher.attempt(job_with(&url, |spec| spec.allow_networks.clear())).await;
    assert_eq!(outcome.class, OutcomeClass::AddressRefused, "{outcome:?}");
}

#[tokio::test]
async fn names_that_lead_to_each_other_for_ever_have_no_address() {
    let (dispatcher, asked) = asking(Say::Loop, "").await;
    let outcome = dispatcher.attempt(job("http://a.example/")).await;
    let sentence = "the name a.example has no address";
    assert_eq!((outcome.class, outcome.sentence.as_str()), (OutcomeClass::DnsNotFound, sentence));
    assert!(asked.load(Ordering::SeqCst) < 50, "{asked:?}");
}

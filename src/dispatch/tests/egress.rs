//! Egress: what may be dialled, however it is written and whatever a name says next.

use super::receivers::{OK, hearing, obedient, read_request, receiver_at};
use super::*;
use crate::dispatch::tests::names::{Say, asking};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn special_addresses_are_refused_however_they_are_written() {
    let dispatcher = dispatcher();
    let hosts = [
        "10.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0",
        "169.254.169.254",
        "localhost",
        "LOCALHOST.",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::169.254.169.254]",
        "[64:ff9b:1::8.8.8.8]",
        "[2002:7f00:1::]",
        "[fd00::1]",
        "[fe80::1]",
        // As WHATWG reads them: whole numbers, octal, hexadecimal, other digits and dots, percent signs, white space within.
        "0x7f000001",
        "017700000001",
        "0x7F.0x0.0x0.0x1",
        "127.0.0.1.",
        "127.0.1",
        "１２７.０.０.１",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "%31%32%37.0.0.1",
        "127.0.\t0.1",
        "ｌｏｃａｌｈｏｓｔ",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        // IPv4 in IPv6: translated by a host of its own, 6to4, Teredo, ISATAP.
        "[::ffff:0:127.0.0.1]",
        "[2002:a9fe:a9fe::1]",
        "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
        "[fe80::5efe:127.0.0.1]",
    ];
    for host in hosts {
        for allowed in [vec![], vec!["192.168.7.0/24".parse().unwrap()]] {
            let outcome = dispatcher.attempt(job_with(&format!("http://{host}/"), |spec| spec.allow_networks = allowed)).await;
            assert_eq!(outcome.class, OutcomeClass::AddressRefused, "{host}: {outcome:?}");
            assert!(outcome.sentence.contains("allow_networks"), "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn an_exception_counts_for_every_way_to_write_the_address() {
    let (address, _) = obedient().await;
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "localhost"] {
        let outcome = dispatcher().attempt(job(&format!("http://{host}:{}/", address.port()))).await;
        assert_eq!(outcome.class, OutcomeClass::Success, "{host}: {outcome:?}");
    }
}

#[tokio::test]
async fn the_ports_of_other_services_are_not_dialled_unless_they_are_allowed() {
    let dispatcher = dispatcher();
    for port in [1, 22, 25, 1023] {
        let job = job(&format!("http://127.0.0.1:{port}/"));
        let ahead = dispatcher.judge_ahead(&job.webhook.spec).await.unwrap_err();
        let outcome = dispatcher.attempt(job).await;
        assert_eq!((outcome.class, &outcome.sentence), (OutcomeClass::PortRefused, &ahead), "{port}");
        assert!(ahead.starts_with(&format!("port {port} is not dialled")) && ahead.contains("allow_ports"), "{ahead}");
    }
    dispatcher.reconfigure(DispatchSettings { allow_ports: vec![1], ..DispatchSettings::default() });
    assert_eq!(dispatcher.attempt(job("http://127.0.0.1:1/")).await.class, OutcomeClass::ConnectRefused);
    assert_eq!(dispatcher.attempt(job("http://127.0.0.1:25/")).await.class, OutcomeClass::PortRefused);
}

#[tokio::test]
async fn a_name_that_turns_to_loopback_behind_the_check_leads_nowhere() {
    let (inside, connections) = obedient().await;
    let (dispatcher, _) = asking(Say::Turning("8.8.8.8", "127.0.0.1"), "").await;
    let job = job_with(&format!("http://turning.example:{}/", inside.port()), |spec| spec.allow_networks.clear());
    assert_eq!(dispatcher.judge_ahead(&job.webhook.spec).await, Ok(None), "when the webhook is made, it is a public address");
    let outcome = dispatcher.attempt(job).await;
    assert_eq!(outcome.class, OutcomeClass::AddressRefused, "{outcome:?}");
    assert!(outcome.sentence.starts_with("turning.example is 127.0.0.1, a private"), "{outcome:?}");
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_is_dialled_is_what_was_judged_and_a_name_is_asked_for_once_a_connection() {
    let hangs_up = |mut stream: tokio::net::TcpStream, _| async move {
        read_request(&mut stream).await;
        stream.write_all(OK).await.unwrap();
    };
    let allowed = receiver_at("127.0.0.2", hangs_up).await;
    let (dispatcher, asked) = asking(Say::Turning("127.0.0.2", "127.0.0.1"), "").await;
    let url = format!("http://turning.example:{}/", allowed.port());
    let attempt = async || dispatcher.attempt(job_with(&url, |spec| spec.allow_networks = vec!["127.0.0.2/32".parse().unwrap()])).await;
    let outcome = attempt().await;
    assert_eq!((outcome.class, outcome.remote), (OutcomeClass::Success, Some(allowed.to_string())), "{}", outcome.sentence);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "between judging and dialling nobody asks again");
    // The connection was closed, so there is another, and for that the name is judged anew.
    let outcome = attempt().await;
    assert_eq!(outcome.class, OutcomeClass::AddressRefused, "{outcome:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

/// To dial 0.0.0.0 is to reach 127.0.0.1, on Linux: an exception for the one is none for the other.
#[tokio::test]
async fn where_another_address_answers_than_was_dialled_nothing_is_sent() {
    let (address, mut was_heard) = hearing().await;
    let url = format!("http://0.0.0.0:{}/", address.port());
    let outcome = dispatcher().attempt(job_with(&url, |spec| spec.allow_networks = vec!["0.0.0.0/32".parse().unwrap()])).await;
    assert_eq!(outcome.class, OutcomeClass::AddressRefused, "{outcome:?}");
    assert!(outcome.sentence.contains(&format!("but {address} answered")), "{outcome:?}");
    assert_eq!(was_heard.recv().await.unwrap(), "");
}

/// An address of this machine that looks like any other, its public one: whoever judges it can't know, but a connection to it shows. Here it is one of loopback that was not judged.
#[tokio::test]
async fn nothing_is_sent_to_this_machine_through_an_address_that_passed_as_public() {
    let (address, mut was_heard) = hearing().await;
    let dispatcher = dispatcher();
    let progress = progress::Progress::start(10_000);
    let dial = async |allowed: &[&str]| {
        let networks = allowed.iter().map(|network| network.parse().unwrap()).collect();
        let job = job_with("http://crm.example.com/", |spec| spec.allow_networks = networks);
        let connector = dispatcher.connector(&job.webhook.spec, &dispatcher.pools()).unwrap();
        connector.dial("crm.example.com", &[address], &progress).await
    };
    let refused = dial(&[]).await.err().unwrap();
    assert_eq!(refused.class, OutcomeClass::AddressRefused);
    assert!(refused.sentence.starts_with("crm.example.com is 127.0.0.1, an address of the machine on which hookwheel runs"), "{refused}");
    assert_eq!(was_heard.recv().await.unwrap(), "");
    assert_eq!(dial(&["127.0.0.1/32"]).await.unwrap().1, address);
}

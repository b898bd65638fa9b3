//! What a webhook's TLS has of its own: whom it trusts, what it shows, and what receivers say to that; and what is too old to be spoken.

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::receivers::{Identity, receiver, serve, tls_receiver};
use super::*;
use crate::model::TlsIdentity;

const EACH_VERSION: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
const EACH_PROTOCOL: [&str; 2] = ["h2", "http/1.1"];

fn to(address: SocketAddr, tls: Option<TlsIdentity>) -> Job {
    job_with(&format!("https://localhost:{}/", address.port()), |spec| spec.tls = tls.map(Arc::new))
}

/// One with another name, so that issuers can be told apart.
fn called(name: &str) -> Identity {
    Identity::with("localhost", |parameters| parameters.distinguished_name.push(rcgen::DnType::CommonName, name))
}

#[tokio::test]
async fn a_webhooks_own_authorities_are_trusted_besides_the_systems_and_by_it_alone() {
    let (known, own) = (called("known to the system"), called("of the customer's own"));
    let (to_known, to_own) = (tls_receiver(known.acceptor(&[]), serve).await, tls_receiver(own.acceptor(&[]), serve).await);
    let dispatcher = trusting(known.as_roots());
    let with = || Some(TlsIdentity::new(Some(own.as_authorities()), None));
    let cases = [
        (to_own, with(), OutcomeClass::Success),
        (to_known, with(), OutcomeClass::Success),
        (to_known, None, OutcomeClass::Success),
        (to_own, None, OutcomeClass::TlsUnknownIssuer),
    ];
    for (address, tls, class) in cases {
        let outcome = dispatcher.attempt(to(address, tls)).await;
        assert_eq!(outcome.class, class, "{outcome:?}");
    }
    let outcome = super::dispatcher().attempt(to(to_own, with())).await;
    assert_eq!(outcome.class, OutcomeClass::Success, "where the system has no roots at all: {outcome:?}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_asked_for_in_each_version_and_protocol() {
    let (server, client) = (called("server"), called("client"));
    let dispatcher = trusting(server.as_roots());
    for version in EACH_VERSION {
        for protocol in EACH_PROTOCOL {
            let asking = tls_receiver(server.acceptor_of(&[version], &[protocol], Some(&client)), serve).await;
            let outcome = dispatcher.attempt(to(asking, Some(TlsIdentity::new(None, Some(client.as_client()))))).await;
            assert_eq!(outcome.class, OutcomeClass::Success, "{version:?} {protocol}: {outcome:?}");
            let is_http2 = outcome.excerpt.starts_with(b"HTTP/2.0");
            assert_eq!(is_http2, protocol == "h2", "{outcome:?}");
            let not_asking = tls_receiver(server.acceptor_of(&[version], &[protocol], None), serve).await;
            let outcome = dispatcher.attempt(to(not_asking, Some(TlsIdentity::new(None, Some(client.as_client()))))).await;
            assert_eq!(outcome.class, OutcomeClass::Success, "{version:?} {protocol}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn that_a_client_certificate_is_demanded_or_refused_has_its_class_in_each_version_and_protocol() {
    let (server, client, stranger) = (called("server"), called("client"), called("stranger"));
    let dispatcher = trusting(server.as_roots());
    use OutcomeClass::{TlsClientCertificateDemanded, TlsClientCertificateRefused};
    for version in EACH_VERSION {
        for protocol in EACH_PROTOCOL {
            let address = tls_receiver(server.acceptor_of(&[version], &[protocol], Some(&client)), serve).await;
            let outcome = dispatcher.attempt(to(address, None)).await;
            assert_eq!(outcome.class, TlsClientCertificateDemanded, "{version:?} {protocol}: {outcome:?}");
            assert!(outcome.sentence.ends_with("set client_certificate_file and client_key_file"), "{outcome:?}");
            let outcome = dispatcher.attempt(to(address, Some(TlsIdentity::new(None, Some(stranger.as_client()))))).await;
            assert_eq!(outcome.class, TlsClientCertificateRefused, "{version:?} {protocol}: {outcome:?}");
            assert!(
                outcome.sentence.starts_with("localhost does not accept the client certificate of this webhook (it says "),
                "{outcome:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_connection_made_for_one_identity_never_serves_another() {
    let (server, client, stranger) = (called("server"), called("client"), called("stranger"));
    for protocol in EACH_PROTOCOL {
        let address = tls_receiver(server.acceptor_of(rustls::ALL_VERSIONS, &[protocol], Some(&client)), serve).await;
        let dispatcher = trusting(server.as_roots());
        let with = |identity: &Identity| Some(TlsIdentity::new(None, Some(identity.as_client())));
        let mut seen = Vec::new();
        for tls in [with(&client), None, with(&stranger), with(&client)] {
            let outcome = dispatcher.attempt(to(address, tls)).await;
            seen.push((outcome.class, String::from_utf8(outcome.excerpt).unwrap()));
        }
        let classes = seen.iter().map(|(class, _)| *class).collect::<Vec<_>>();
        use OutcomeClass::{Success, TlsClientCertificateDemanded, TlsClientCertificateRefused};
        assert_eq!(classes, [Success, TlsClientCertificateDemanded, TlsClientCertificateRefused, Success], "{seen:?}");
        assert!(seen[0].1.ends_with("on connection 1") && seen[3].1 == seen[0].1, "its own connection is kept for it: {seen:?}");
    }
}

#[tokio::test]
async fn an_end_without_a_word_after_a_certificate_was_asked_for_says_so() {
    let (server, client) = (called("server"), called("client"));
    // TLS 1.2 ends the handshake after it, TLS 1.3 before it: there the end need not be because of it.
    let cases = [(&TLS12, OutcomeClass::TlsClientCertificateDemanded), (&TLS13, OutcomeClass::ConnectionClosed)];
    for (version, class) in cases {
        let acceptor = server.acceptor_of(&[version], &[], Some(&client));
        let address = receiver(move |stream, _| {
            let acceptor = acceptor.clone();
            async move {
                // Its alert stays here: what it wants to write is thrown away once it has answered the first time.
                let (near, far) = tokio::io::duplex(1 << 16);
                let handshake = tokio::spawn(async move { drop(acceptor.accept(far).await) });
                let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (stream.into_split(), tokio::io::split(near));
                let hello = copy_once(&mut from_client, &mut to_server).await;
                let answer = copy_once(&mut from_server, &mut to_client).await;
                assert!(hello > 0 && answer > 0);
                copy_once(&mut from_client, &mut to_server).await;
                drop(handshake.await);
            }
        })
        .await;
        let outcome = trusting(server.as_roots()).attempt(to(address, None)).await;
        assert_eq!(outcome.class, class, "{version:?}: {outcome:?}");
        assert!(outcome.sentence.contains("client certificate") && outcome.sentence.contains("client_certificate_file"), "{outcome:?}");
    }
}

async fn copy_once(from: &mut (impl tokio::io::AsyncRead + Unpin), to: &mut (impl tokio::io::AsyncWrite + Unpin)) -> usize {
    let mut buffer = vec![0; 1 << 16];
    let length = from.read(&mut buffer).await.unwrap();
    to.write_all(&buffer[..length]).await.unwrap();
    length
}

#[tokio::test]
async fn what_is_older_than_tls_1_2_or_has_no_common_cipher_is_incompatible() {
    // TLS 1.1 and ECDHE-RSA-AES128-SHA, as a server of 2012 would choose it.
    let mut hello = vec![0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0xc0, 0x13, 0]);
    // What newer ones say where they know no version, or no cipher, of the client's.
    let protocol_version = vec![0x15, 3, 1, 0, 2, 2, 70];
    let handshake_failure = vec![0x15, 3, 3, 0, 2, 2, 40];
    let insufficient_security = vec![0x15, 3, 3, 0, 2, 2, 71];
    for answer in [hello, protocol_version, handshake_failure, insufficient_security] {
        let sent = answer.clone();
        let address = receiver(move |mut stream, _| {
            let answer = sent.clone();
            async move {
                drop(stream.read(&mut [0; 4096]).await);
                stream.write_all(&answer).await.unwrap();
                while matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {}
            }
        })
        .await;
        let outcome = dispatcher().attempt(to(address, None)).await;
        assert_eq!(outcome.class, OutcomeClass::TlsIncompatible, "{answer:?}: {outcome:?}");
        assert!(outcome.sentence.contains("allow TLS 1.2 or 1.3"), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_webhook_and_its_jobs_show_no_private_key() {
    let client = called("client").as_client();
    let key = client.key.clone();
    let shown = format!("{:?}", to("127.0.0.1:1".parse().unwrap(), Some(TlsIdentity::new(None, Some(client)))));
    assert!(shown.contains("ClientCertificate(crm.pem)"), "{shown}");
    let numbers = format!("{:?}", &key[..8]);
    assert!(!shown.contains(numbers.trim_matches(['[', ']'])), "{shown}");
}

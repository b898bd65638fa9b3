//! TLS on the listener of the real daemon: certificates, their reload, and everything that is reached through it. These tests never trust what they did not make.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version};

use crate::daemon::{Daemon, House, event, until, webhook};
use crate::sockets::activated;

pub(crate) type Line = StreamOwned<ClientConnection, TcpStream>;

/// A certificate for this machine and its key.
pub(crate) struct Made {
    pub(crate) certificate: CertificateDer<'static>,
    pem: String,
    key: String,
}

pub(crate) fn made() -> Made {
    let parameters = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    Made { certificate: certificate.der().clone(), pem: certificate.pem(), key: key.serialize_pem() }
}

impl Made {
    pub(crate) fn put_into(&self, house: &House) {
        fs::write(house.path("tls.pem"), &self.pem).unwrap();
        fs::write(house.path("tls.key"), &self.key).unwrap();
        fs::set_permissions(house.path("tls.key"), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A connection on which this certificate was shown, or why there is none.
    pub(crate) fn dial(
        &self,
        address: SocketAddr,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Result<Line, String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        while session.is_handshaking() {
            session.complete_io(&mut stream).map_err(|error| error.to_string())?;
        }
        Ok(StreamOwned::new(session, stream))
    }

    /// One request on a connection of its own: the whole answer.
    fn ask(&self, address: SocketAddr, request: &str) -> String {
        let mut line = self.dial(address, rustls::ALL_VERSIONS, &[]).unwrap();
        line.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        line.read_to_string(&mut answer).unwrap();
        answer
    }
}

pub(crate) const BOTH: &str = "tls_certificate_file = \"tls.pem\"\ntls_key_file = \"tls.key\"\n";

/// A house whose listener shows that certificate.
pub(crate) fn house(made: &Made, more: &str) -> House {
    let house = House::new("");
    made.put_into(&house);
    configure(&house, BOTH, more);
    house
}

pub(crate) fn configure(house: &House, server: &str, more: &str) {
    let text = format!("[server]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"data\"\nadmin_socket = \"admin.sock\"\n{server}{more}");
    fs::write(house.path("webhooks.toml.new"), text).unwrap();
    fs::rename(house.path("webhooks.toml.new"), house.path("webhooks.toml")).unwrap();
}

fn post(id: &str) -> String {
    let body = event(id);
    format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A request on a connection that stays open.
fn asks_on(line: &mut Line) {
    line.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"alive\n") {
        let mut byte = [0];
        line.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
}

fn status(daemon: &Daemon<'_>) -> serde_json::Value {
    daemon.house().json(&["status"])["configuration"].clone()
}

#[test]
fn events_come_in_over_tls_in_both_versions_and_both_protocols_and_nothing_else_is_spoken() {
    let made = made();
    let house = house(&made, "");
    let daemon = house.start();
    assert!(made.ask(daemon.address, &post("e1")).starts_with("HTTP/1.1 202"));
    for version in [&version::TLS12, &version::TLS13] {
        let line = made.dial(daemon.address, &[version], &["h2", "http/1.1"]).unwrap();
        assert_eq!(line.conn.alpn_protocol(), Some(b"h2".as_slice()), "{version:?}");
    }
    let line = made.dial(daemon.address, rustls::ALL_VERSIONS, &["http/1.1"]).unwrap();
    assert_eq!(line.conn.alpn_protocol(), Some(b"http/1.1".as_slice()));
    // A hello of TLS 1.0, as openssl says it with -tls1: the answer is an alert, never a server's hello.
    let body = [&[3, 1][..], &[7; 32], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
    let length = u8::try_from(body.len()).unwrap();
    let hello = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat();
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    stream.write_all(&hello).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer.first(), Some(&21), "{answer:?}");
    let (status, problem) = daemon.post("application/json", event("e2").as_bytes());
    assert!(status == 400 && problem["detail"].as_str().unwrap().contains("https://"), "{problem}");
    assert!(daemon.stop().success());
}

#[test]
fn a_reload_shows_the_new_certificate_and_leaves_connections_alone_and_a_broken_pair_changes_nothing() {
    let (first, second, third) = (made(), made(), made());
    let house = house(&first, "");
    let daemon = house.start();
    let mut kept = first.dial(daemon.address, rustls::ALL_VERSIONS, &[]).unwrap();
    asks_on(&mut kept);
    // The key of another certificate: what every half-finished renewal looks like.
    fs::write(house.path("tls.pem"), &second.pem).unwrap();
    let refused = house.run(&["reload"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(78) && said.contains("webhooks.toml:6:16: tls_key_file"), "{said}");
    assert_eq!(status(&daemon)["last_reload_successful"], false);
    assert!(first.dial(daemon.address, rustls::ALL_VERSIONS, &[]).is_ok(), "the old one is still shown");
    second.put_into(&house);
    assert!(house.says(&["reload", "--dry-run"]).contains("the certificate of the listener changed"));
    assert!(first.dial(daemon.address, rustls::ALL_VERSIONS, &[]).is_ok());
    house.says(&["reload"]);
    assert!(second.ask(daemon.address, &post("e1")).starts_with("HTTP/1.1 202"));
    assert!(first.dial(daemon.address, rustls::ALL_VERSIONS, &[]).is_err(), "the old one is shown no more");
    third.put_into(&house);
    daemon.signal(Signal::HUP);
    until("the signal's reload", || third.dial(daemon.address, rustls::ALL_VERSIONS, &[]).ok());
    asks_on(&mut kept);
    configure(&house, "", "");
    assert!(house.says(&["reload"]).contains("tls_certificate_file changed, which takes a restart"));
    assert!(third.ask(daemon.address, &post("e2")).starts_with("HTTP/1.1 202"));
    assert!(daemon.stop().success());
}

#[test]
fn the_files_are_checked_before_anything_starts_and_shown_but_for_what_is_in_them() {
    let made = made();
    let house = house(&made, "");
    let check = || {
        let output = house.run(&["check", "--config", house.path("webhooks.toml").to_str().unwrap()]);
        (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    assert!(matches!(check(), (0, said) if !said.contains("warning")));
    fs::set_permissions(house.path("tls.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = check();
    assert!(code == 0 && said.contains("warning: ") && said.contains("every user of this machine may read"), "{said}");
    let daemon = house.start();
    assert!(house.log().contains("every user of this machine may read"));
    let shown = house.says(&["config", "show"]);
    assert!(shown.contains("tls_certificate_file") && shown.contains("tls.key") && shown.contains("webhooks.toml:6"), "{shown}");
    assert!(!shown.contains("PRIVATE"));
    assert!(daemon.stop().success());
    fs::write(house.path("tls.key"), "nothing of the kind").unwrap();
    let (code, said) = check();
    assert!(code == 78 && said.contains("is not PEM: expected text"), "{said}");
    assert_eq!(house.refused().0, 78);
}

/// Deliveries to a sandbox, and `emit`, find their way through TLS; nothing is trusted for it but the listener's own certificate.
#[test]
fn sandboxes_and_commands_work_over_tls() {
    let (first, second) = (made(), made());
    let house = house(&first, "");
    let daemon = house.start();
    let url = house.json(&["sandbox", "new"])["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let elsewhere = url.replace("/sandbox/", "/v1/");
    let retry = "retry = [ {attempts = 1, every = \"50ms\"} ]";
    configure(&house, BOTH, &(webhook("own", &url, retry) + &webhook("not-a-sandbox", &elsewhere, retry)));
    house.says(&["reload"]);
    let listener = format!("https://127.0.0.1:{}", daemon.address.port());
    let ca_file = house.path("tls.pem").display().to_string();
    let emit = ["emit", "email.status.delivered", "--project", "shop.example.com", "--url", &listener];
    let distrusted = house.run(&emit);
    assert!(distrusted.status.code() == Some(69) && String::from_utf8_lossy(&distrusted.stderr).contains("--ca-file"), "{distrusted:?}");
    house.says(&[&emit[..], &["--ca-file", &ca_file]].concat());
    house.drained();
    second.put_into(&house);
    house.says(&["reload"]);
    house.says(&[&emit[..], &["--ca-file", &ca_file]].concat());
    house.drained();
    for delivery in house.json(&["deliveries", "list"])["deliveries"].as_array().unwrap() {
        let expected = if delivery["webhook"] == "own" { "delivered" } else { "dropped" };
        assert_eq!(delivery["state"], expected, "{delivery}");
    }
    let list = second.ask(
        daemon.address,
        &format!("GET {} HTTP/1.1\r\nhost: x\r\naccept: application/json\r\nconnection: close\r\n\r\n", &url[listener.len()..]),
    );
    assert_eq!(list.matches("\"valid\":true").count(), 2, "{list}");
    assert!(daemon.stop().success());
}

/// Whoever only connects has a place among the connections, and so can't have more than those.
#[test]
fn a_handshake_counts_as_a_connection_and_who_comes_beyond_is_told_so_over_tls() {
    let made = made();
    let house = house(&made, "[limits]\nmax_connections = 1\n");
    let daemon = house.start();
    let stuck = TcpStream::connect(daemon.address).unwrap();
    let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = made.ask(daemon.address, request);
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("1 connection is open, "), "{answer}");
    drop(stuck);
    until("the place is free again", || made.ask(daemon.address, request).starts_with("HTTP/1.1 200").then_some(()));
    assert!(daemon.stop().success());
}

#[test]
fn a_socket_that_systemd_passed_speaks_tls_as_well() {
    let made = made();
    let house = house(&made, "");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let daemon = house.start_with_output(activated(&house, [Some(listener.into()), None]));
    assert!(made.ask(address, &post("e1")).starts_with("HTTP/1.1 202"));
    assert!(daemon.stop().success());
}

//! TLS to a receiver that has a private authority and lets in whom it knows, through file, socket and commands. It never looks at the handshake.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;

use crate::daemon::{House, event, until, webhook};

/// An authority that makes certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(parameters, key), certificate }
    }

    fn certify(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Writes a certificate for `name` and its key where a webhook finds them.
    fn equip(&self, house: &House, name: &str) -> KeyPair {
        let (certificate, key) = self.certify(name);
        fs::write(house.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(house.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        key
    }
}

/// Answers 200 to whomever `clients` certified.
fn receiver(server: &Authority, clients: &Authority) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(clients.certificate.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let (certificate, key) = server.certify("localhost");
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_client_cert_verifier(verifier).with_single_cert(vec![certificate.der().clone()], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                let mut stream = rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream);
                let mut request = Vec::new();
                while !request.ends_with(b"}}") {
                    let mut buffer = [0; 4096];
                    match stream.read(&mut buffer) {
                        Ok(length @ 1..) => request.extend_from_slice(&buffer[..length]),
                        // Read to the end below TLS, so that the alert is not lost to a reset.
                        _ => return while matches!(stream.sock.read(&mut buffer), Ok(1..)) {},
                    }
                }
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
                stream.conn.send_close_notify();
                drop(stream.flush());
            });
        }
    });
    address
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_webhook_with_an_authority_and_a_certificate_of_its_own_is_delivered_to_and_its_key_is_never_told() {
    let (server, clients, strangers) = (Authority::new("the bank's"), Authority::new("for customers"), Authority::new("somebody else's"));
    let address = receiver(&server, &clients);
    let url = format!("https://localhost:{}/", address.port());
    let house = House::new("");
    fs::write(house.path("ca.pem"), server.certificate.pem()).unwrap();
    let keys = ["filed", "added"].map(|name| clients.equip(&house, name));
    let files = "ca_file = \"ca.pem\"\nclient_certificate_file = \"filed.pem\"\nclient_key_file = \"filed.key\"\n";
    house.configure(&webhook("filed", &url, files));
    let daemon = house.start();
    let [ca, certificate, key, other_key] = ["ca.pem", "added.pem", "added.key", "filed.key"].map(|name| house.path(name));
    let add = |key: &Path| {
        let what =
            ["webhooks", "add", "--id", "added", "--title", "Added", "--project", "shop.example.com", "--url", &url, "--events", "*"];
        let files = ["--ca-file", text(&ca), "--client-certificate-file", text(&certificate), "--client-key-file", text(key)];
        house.run(&[&what[..], &files[..], &["--json"]].concat())
    };
    let refused = add(&other_key);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && said.contains("does not belong to the first certificate in"), "{said}");
    assert!(add(&key).status.success());
    let shown = house.json(&["webhooks", "show", "added"]);
    assert_eq!([&shown["ca_file"], &shown["client_key_file"]], [text(&ca), text(&key)]);
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).1["deliveries"], 2);
    until("both are delivered", || (house.json(&["status"])["counters"]["delivered"] == 2).then_some(()));

    strangers.equip(&house, "added");
    let reloaded = house.says(&["reload"]);
    assert!(reloaded.contains("changed added: client certificate") && !reloaded.contains("changed filed"), "{reloaded}");
    let class = |id: &str| {
        let tried = house.run(&["webhooks", "test", id, "--json"]);
        serde_json::from_slice::<serde_json::Value>(&tried.stdout).unwrap()["outcome"].as_str().unwrap().to_owned()
    };
    assert_eq!([class("filed"), class("added")], ["success", "tls_client_certificate_refused"]);
    house.says(&["webhooks", "edit", "added", "--unset", "client_certificate_file", "--unset", "client_key_file"]);
    assert_eq!(class("added"), "tls_client_certificate_demanded");
    house.says(&["webhooks", "edit", "added", "--unset", "ca_file"]);
    assert_eq!(class("added"), "tls_unknown_issuer");

    let told = [house.log(), house.says(&["webhooks", "export", "filed", "--with-secrets"]), house.says(&["config", "show"])].concat();
    assert!(told.contains("client_key_file = ") && told.contains("filed.key"), "{told}");
    for key in keys {
        let pem = key.serialize_pem();
        assert!(pem.lines().skip(1).filter(|line| !line.starts_with('-')).all(|line| !told.contains(line)), "{told}");
    }
}

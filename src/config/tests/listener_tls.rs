//! `tls_certificate_file` and `tls_key_file`: what is read from them, and each way in which they are no good.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;
use crate::time::UnixMillis;

/// 2026, in which a certificate of these tests is good.
const NOW: UnixMillis = UnixMillis(1_795_428_000_000);
const BOTH: &str = "tls_certificate_file = \"tls.pem\"\ntls_key_file = \"tls.key\"";

/// A certificate and its key, in PEM.
fn made(change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    change(&mut parameters);
    let key = KeyPair::generate().unwrap();
    (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

struct Place {
    directory: TempDir,
    environment: Environment,
}

impl Place {
    fn new(certificate: &str, key: &str) -> Self {
        let place = Self { directory: TempDir::new().unwrap(), environment: Environment::default() };
        place.write("tls.pem", certificate);
        place.write("tls.key", key);
        place
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    }

    fn load(&self, lines: &str) -> Result<Config, String> {
        let path = self.directory.path().join("webhooks.toml");
        Config::parse(&path, &format!("[server]\n{lines}\n"), &self.environment).map_err(|mistakes| self.shortened(&mistakes.to_string()))
    }

    fn shortened(&self, text: &str) -> String {
        text.replace(&*self.directory.path().to_string_lossy(), "DIR")
    }

    fn warnings(&self) -> Vec<String> {
        self.load(BOTH).unwrap().warnings(NOW).iter().map(|warning| self.shortened(warning)).collect()
    }
}

#[test]
fn a_chain_and_its_key_are_read_from_beside_the_file_or_from_the_credentials() {
    let (own, key) = made(|_| {});
    let (other, _) = made(|_| {});
    let mut place = Place::new(&format!("{own}{other}"), &key);
    let tls = place.load(BOTH).unwrap().server.tls.unwrap();
    assert_eq!(tls.certified.cert.len(), 2);
    assert_eq!(tls.key_file, place.directory.path().join("tls.key"));
    assert!(!format!("{tls:?}").contains("PRIVATE"), "{tls:?}");
    assert_eq!(place.warnings(), Vec::<String>::new());
    assert_eq!(place.load("").unwrap().server.tls, None);

    fs::remove_file(place.directory.path().join("tls.key")).unwrap();
    place.environment.credentials_directory = Some(place.directory.path().join("credentials").into());
    place.write("credentials/tls.key", &key);
    assert!(place.load(BOTH).unwrap().server.tls.unwrap().key_file.ends_with("credentials/tls.key"));
}

#[test]
fn what_is_wrong_with_them_is_told_with_its_place_and_repeats_nothing_of_the_key() {
    let (certificate, key) = made(|_| {});
    let (other, other_key) = made(|_| {});
    let cut = key.replace("-----END PRIVATE KEY-----\n", "");
    let cases: [(&str, &str, &str); 9] = [
        (
            &certificate,
            &other_key,
            "3:16: tls_key_file: the private key in DIR/tls.key does not belong to the first certificate in DIR/tls.pem",
        ),
        (
            &format!("{other}{certificate}"),
            &key,
            "3:16: tls_key_file: the private key in DIR/tls.key does not belong to the first certificate",
        ),
        (&certificate, "", "3:16: tls_key_file: DIR/tls.key is not PEM: expected text with a line"),
        (&certificate, &certificate, "3:16: tls_key_file: DIR/tls.key has no private key: expected a part"),
        (&certificate, &cut, "3:16: tls_key_file: DIR/tls.key is broken PEM: a part of it has no line"),
        (
            &certificate,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "3:16: tls_key_file: the private key in DIR/tls.key is encrypted",
        ),
        (&key, &key, "2:24: tls_certificate_file: DIR/tls.pem has no certificate: expected a part"),
        (&certificate.repeat(17), &key, "2:24: tls_certificate_file: DIR/tls.pem has 17 certificates; a chain of 16"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &key,
            "2:24: tls_certificate_file: the first certificate of DIR/tls.pem can't be used",
        ),
    ];
    for (certificate, private_key, expected) in cases {
        let told = Place::new(certificate, private_key).load(BOTH).unwrap_err();
        assert!(told.starts_with(&format!("DIR/webhooks.toml:{expected}")), "{told}");
        assert!(!told.contains(key.lines().nth(1).unwrap()), "{told}");
    }
    let place = Place::new(&certificate, &key);
    let alone = place.load("tls_certificate_file = \"tls.pem\"").unwrap_err();
    assert_eq!(alone, "DIR/webhooks.toml:2:24: tls_certificate_file: the key that belongs to it is missing: set tls_key_file, too");
    let alone = place.load("tls_key_file = \"tls.key\"").unwrap_err();
    assert_eq!(alone, "DIR/webhooks.toml:2:16: tls_key_file: the certificate that belongs to it is missing: set tls_certificate_file, too");
    let absent = place.load("tls_certificate_file = \"no.pem\"\ntls_key_file = \"no.key\"").unwrap_err();
    assert_eq!(absent.lines().filter(|line| line.contains("can't be read: No such file")).count(), 2, "{absent}");
}

#[test]
fn a_certificate_whose_time_is_not_now_and_a_key_for_all_to_read_are_warned_of() {
    for (change, expected) in [
        ((2001, 2002), "the certificate in DIR/tls.pem expired at 2002-01-01T00:00:00.000Z; clients refuse it"),
        ((4000, 4001), "the certificate in DIR/tls.pem is not valid before 4000-01-01T00:00:00.000Z"),
    ] {
        // One that openssl makes by itself is an authority's, which must not hide it.
        for is_ca in [rcgen::IsCa::NoCa, rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained)] {
            let (certificate, key) = made(|parameters| {
                parameters.not_before = rcgen::date_time_ymd(change.0, 1, 1);
                parameters.not_after = rcgen::date_time_ymd(change.1, 1, 1);
                parameters.is_ca = is_ca;
            });
            let warnings = Place::new(&certificate, &key).warnings();
            assert!(warnings.len() == 1 && warnings[0].contains(expected), "{warnings:?}");
        }
    }
    let (certificate, key) = made(|_| {});
    let place = Place::new(&certificate, &key);
    fs::set_permissions(place.directory.path().join("tls.key"), Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        place.warnings(),
        ["DIR/webhooks.toml:3: tls_key_file: every user of this machine may read DIR/tls.key; `chmod o-rwx DIR/tls.key` mends it"]
    );
}

#[test]
fn the_same_is_warned_of_where_webhooks_show_a_certificate_and_where_secrets_are_sealed() {
    let (certificate, key) = made(|parameters| parameters.not_after = rcgen::date_time_ymd(2002, 1, 1));
    let place = Place::new(&certificate, &key);
    place.write("sealing.key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    let webhook = |id: &str| {
        format!(
            "[[webhook]]\nid = \"{id}\"\ntitle = \"CRM\"\nproject = \"example.com\"\nurl = \"https://crm.example.com/\"\nevents = [\"*\"]\n\
             client_certificate_file = \"tls.pem\"\nclient_key_file = \"tls.key\"\n"
        )
    };
    let lines = format!("key_file = \"sealing.key\"\n{}{}", webhook("crm"), webhook("shop"));
    let warnings = || place.load(&lines).unwrap().warnings(NOW).iter().map(|warning| place.shortened(warning)).collect::<Vec<_>>();
    let expired = "DIR/webhooks.toml: webhook crm: client_certificate_file: the certificate in DIR/tls.pem expired at 2002-01-01T00:00:00.000Z; \
                   receivers refuse it. Renew it, then `hookwheel reload`";
    assert_eq!(warnings(), [expired]);
    for name in ["sealing.key", "tls.key"] {
        fs::set_permissions(place.directory.path().join(name), Permissions::from_mode(0o644)).unwrap();
    }
    let open = |what: &str, file: &str| {
        format!("DIR/webhooks.toml: {what}: every user of this machine may read DIR/{file}; `chmod o-rwx DIR/{file}` mends it")
    };
    let expected = [&*open("key_file in [server]", "sealing.key"), expired, &*open("webhook crm: client_key_file", "tls.key")];
    assert_eq!(warnings(), expected);
}

//! What lies outside of the text: the file itself, secrets in files, variables and credentials.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::model::Secret;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A directory with a configuration of `CRM` and these lines.
struct Place {
    directory: TempDir,
    environment: Environment,
}

impl Place {
    fn new() -> Self {
        Self { directory: TempDir::new().unwrap(), environment: Environment::default() }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn load(&self, lines: &str) -> Result<Config, String> {
        let path = self.write("webhooks.toml", format!("{CRM}{lines}\n"));
        Config::load(&path, &self.environment)
            .map_err(|mistakes| mistakes.to_string().replace(&*self.directory.path().to_string_lossy(), "DIR"))
    }

    fn secret(&self, lines: &str) -> Option<Secret> {
        self.load(lines).unwrap().webhooks.remove(0).secret
    }
}

#[test]
fn a_secret_is_in_the_file_beside_it_or_in_a_variable() {
    let mut place = Place::new();
    let expected = Secret::parse(SECRET).unwrap();
    place.write("crm.secret", format!("{SECRET}\n"));
    place.environment.variable = |name| (name == "CRM_SECRET").then(|| SECRET.to_owned());
    assert_eq!(place.secret(""), None);
    for line in [format!("secret = \"{SECRET}\""), "secret_file = \"crm.secret\"".into(), "secret_env = \"CRM_SECRET\"".into()] {
        assert_eq!(place.secret(&line), Some(expected.clone()), "{line}");
    }
}

#[test]
fn the_keys_that_seal_are_in_a_file_of_their_own_or_a_credential_and_are_never_repeated() {
    const KEY: &str = "a2V5IHRoYXQgc2VhbHMsIGV4YWN0bHkgMzIgYnl0ZXM=";
    let mut place = Place::new();
    place.environment.credentials_directory = Some(place.directory.path().join("credentials").into());
    place.write("credentials/hookwheel-key", format!("{KEY}\n\n{KEY}\n"));
    place.write("wrong", format!("{KEY}x"));
    place.write("empty", "\n");
    let load = |name: &str| place.load(&format!("[server]\nkey_file = {name:?}"));
    let config = load("hookwheel-key").unwrap();
    assert_eq!(
        (config.server.sealing_keys.len(), config.server.key_file),
        (2, Some(place.directory.path().join("credentials/hookwheel-key")))
    );
    assert!(!format!("{:?}", load("hookwheel-key").unwrap()).contains(&KEY[..8]));
    for (name, words) in
        [("wrong", "in DIR/wrong: expected base64 of 32 random bytes"), ("empty", "is empty"), ("missing", "can't be read")]
    {
        let said = load(name).unwrap_err();
        assert!(said.contains("key_file: ") && said.contains(words) && !said.contains(&KEY[..8]), "{said}");
    }
}

#[test]
fn a_plain_name_that_is_not_beside_the_file_is_a_credential() {
    let mut place = Place::new();
    place.environment.credentials_directory = Some(place.directory.path().join("credentials").into());
    place.write("credentials/crm", SECRET);
    assert_eq!(place.secret("secret_file = \"crm\""), Some(Secret::parse(SECRET).unwrap()));
    assert!(place.load("secret_file = \"./crm\"").unwrap_err().contains("DIR/./crm can't be read"));

    let own = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    place.write("crm", own);
    assert_eq!(place.secret("secret_file = \"crm\""), Some(Secret::parse(own).unwrap()), "what is beside the file goes first");
}

#[test]
fn what_is_wrong_with_a_secret_is_told_without_repeating_it() {
    let place = Place::new();
    place.write("short", "whsec_c2hvcnQ=");
    place.write("large", "x".repeat(5000));
    place.write("binary", [0xff, 0xfe]);
    let refused = |line: &str| place.load(line).unwrap_err();
    let key = SECRET.trim_start_matches("whsec_");
    let cases = [
        (format!("secret = \"{key}\""), "a secret begins with"),
        ("secret = \"whsec_c2hvcnQ=\"".into(), "24 to 64 bytes"),
        (format!("secret = [\"{key}\"]"), "secret: expected text in quotes"),
        (format!("secret = {SECRET}"), "text needs quotes around it"),
        (format!("secret_file = \"{SECRET}\""), "can't be read"),
        (format!("secret_env = \"{SECRET}=\""), "expected the name of an environment variable"),
        (format!("secrte = \"{SECRET}\""), "did you mean \"secret\"?"),
        ("secret_file = \"short\"".into(), "in DIR/short: a secret has 24 to 64 bytes"),
        ("secret_file = \"large\"".into(), "larger than 4096 bytes"),
        ("secret_file = \"binary\"".into(), "in DIR/binary: this is not text"),
        ("secret_file = \".\"".into(), "is not a file"),
        ("secret_file = \"/no/such/file\"".into(), "/no/such/file can't be read"),
        ("secret_env = \"NOT_SET\"".into(), "the environment variable NOT_SET is not set"),
    ];
    for (line, expected) in cases {
        let told = refused(&line);
        assert!(told.contains(expected) && told.starts_with("DIR/webhooks.toml:8:"), "{line}: {told}");
        assert!(!told.contains(key) && !told.contains("c2hvcnQ"), "{told}");
    }
    let both = refused(&format!("secret = \"{SECRET}\"\nsecret_env = \"NOT_SET\""));
    assert_eq!(both, "DIR/webhooks.toml:9:14: secret_env: there is secret already; a webhook has one secret");
}

#[test]
fn what_can_not_be_read_is_one_clear_mistake() {
    let place = Place::new();
    let load = |path: &Path| Config::load(path, &place.environment).unwrap_err().to_string();
    let directory = place.directory.path();
    let told = load(directory);
    assert!(told.starts_with(&format!("{}: this is a directory; expected a file such as", directory.display())), "{told}");
    let absent = directory.join("absent.toml");
    assert_eq!(load(&absent), format!("{}: can't be read: No such file or directory (os error 2)", absent.display()));
    let binary = place.write("binary.toml", b"# \xc3\xa4\n# \xc3\xa4\xff\n");
    assert_eq!(load(&binary), format!("{}:2:4: the byte 0xFF is not UTF-8; save the file as UTF-8", binary.display()));
    let cut = place.write("cut.toml", b"# \xc3");
    assert_eq!(load(&cut), format!("{}:1:3: the byte 0xC3 is not UTF-8; save the file as UTF-8", cut.display()));
}

#[test]
fn an_explicit_path_is_taken_as_it_is_and_else_the_first_that_exists() {
    assert_eq!(find(Some(Path::new("no/such.toml"))), Ok(PathBuf::from("no/such.toml")));
    let place = Place::new();
    let absent = place.directory.path().join("absent.toml");
    let (first, second) = (place.write("first.toml", ""), place.write("second.toml", ""));
    assert_eq!(find_among([&first, &second]), Ok(first));
    assert_eq!(find_among([&absent, &second]), Ok(second));
    assert!(find_among([&absent, &absent]).unwrap_err().ends_with("name the configuration with --config"));
}

#[test]
fn relative_paths_begin_beside_the_file() {
    let place = Place::new();
    let path = place.write("webhooks.toml", "[server]\ndata_dir = \"data\"\n");
    assert_eq!(Config::load(&path, &place.environment).unwrap().server.data_dir, place.directory.path().join("data"));
}

/// A certificate that signed itself and its key, both PEM.
fn identity() -> (String, String) {
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(vec!["crm.example.com".to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

const CLIENT: &str = "client_certificate_file = \"crm.pem\"\nclient_key_file = \"crm.key\"";

#[test]
fn tls_files_are_read_beside_the_file_and_what_changed_in_them_is_another_identity() {
    let place = Place::new();
    let ((certificate, key), (authority, _)) = (identity(), identity());
    place.write("crm.pem", format!("what is before it is not looked at\n{certificate}{authority}"));
    place.write("crm.key", &key);
    place.write("certificates/ca.pem", format!("{authority}{certificate}"));
    let load = || place.load(&format!("ca_file = \"certificates/ca.pem\"\n{CLIENT}")).unwrap().webhooks.remove(0);
    let first = load();
    let tls = first.tls.clone().unwrap();
    assert_eq!((tls.authorities.as_ref().unwrap().certificates.len(), tls.client.as_ref().unwrap().chain.len()), (2, 2));
    assert_eq!(first.ca_file(), Some(place.directory.path().join("certificates/ca.pem").display().to_string()));
    assert_eq!(load(), first);
    let (other, other_key) = identity();
    place.write("crm.pem", format!("{other_key}{other}"));
    place.write("crm.key", format!("{other}{other_key}"));
    let second = load();
    assert!(second != first && second.tls.unwrap().fingerprint() != tls.fingerprint(), "the files have the same names and other content");
}

#[test]
fn many_webhooks_with_the_same_tls_files_share_what_stands_there() {
    let place = Place::new();
    place.write("ca.pem", identity().0);
    let config = place.load(&format!("ca_file = \"ca.pem\"\n{}ca_file = \"ca.pem\"", CRM.replace("crm", "other"))).unwrap();
    let [one, other] = [0, 1].map(|index| config.webhooks[index].tls.clone().unwrap());
    assert!(std::sync::Arc::ptr_eq(&one, &other));
}

#[test]
fn what_is_wrong_with_a_tls_file_is_said_with_its_name_and_without_a_word_of_it() {
    let place = Place::new();
    let ((certificate, key), (other, _)) = (identity(), identity());
    place.write("crm.pem", &certificate);
    place.write("other.pem", &other);
    place.write("crm.key", &key);
    place.write("empty.pem", "");
    place.write("text.pem", "hello");
    place.write("der.pem", [0x30, 0x82, 1, 2]);
    place.write("cut.pem", &certificate[..100]);
    place.write("cut.key", &key[..100]);
    place.write("rubbish.pem", "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n");
    place.write("no.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    place.write("no.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    place.write("encrypted.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    place.write("large.pem", vec![b'-'; 1_048_577]);
    let client = |certificate: &str, key: &str| format!("client_certificate_file = \"{certificate}\"\nclient_key_file = \"{key}\"");
    let cases = [
        ("ca_file = \"gone.pem\"".to_owned(), "8:11: ca_file: DIR/gone.pem can't be read: No such file"),
        ("ca_file = \".\"".to_owned(), "8:11: ca_file: DIR/. is not a file"),
        ("ca_file = 7".to_owned(), "8:11: ca_file: expected a path in quotes"),
        (
            "ca_file = \"empty.pem\"".to_owned(),
            "8:11: ca_file: DIR/empty.pem is not PEM: expected text with a line \"-----BEGIN CERTIFICATE-----\"",
        ),
        ("ca_file = \"text.pem\"".to_owned(), "8:11: ca_file: DIR/text.pem is not PEM: expected text"),
        ("ca_file = \"der.pem\"".to_owned(), "8:11: ca_file: DIR/der.pem is not PEM but DER, it seems; `openssl x509 -inform der"),
        ("ca_file = \"crm.key\"".to_owned(), "8:11: ca_file: DIR/crm.key has no certificate: expected a part that begins with"),
        ("ca_file = \"cut.pem\"".to_owned(), "8:11: ca_file: DIR/cut.pem is broken PEM: a part of it has no line that begins with"),
        ("ca_file = \"rubbish.pem\"".to_owned(), "8:11: ca_file: DIR/rubbish.pem is broken PEM: between the lines"),
        ("ca_file = \"no.pem\"".to_owned(), "8:11: ca_file: the first certificate of DIR/no.pem is none that could be trusted"),
        ("ca_file = \"large.pem\"".to_owned(), "8:11: ca_file: DIR/large.pem is larger than 1048576 bytes"),
        ("client_certificate_file = \"crm.pem\"".to_owned(), "8:27: client_certificate_file: client_key_file is missing"),
        ("client_key_file = \"crm.key\"".to_owned(), "8:19: client_key_file: client_certificate_file is missing"),
        (client("crm.pem", "crm.pem"), "9:19: client_key_file: DIR/crm.pem has no private key"),
        (client("crm.pem", "cut.key"), "9:19: client_key_file: DIR/cut.key is broken PEM"),
        (client("crm.pem", "no.key"), "9:19: client_key_file: the private key in DIR/no.key can't be used"),
        (client("crm.pem", "encrypted.key"), "9:19: client_key_file: the private key in DIR/encrypted.key is encrypted with a passphrase"),
        (
            client("other.pem", "crm.key"),
            "9:19: client_key_file: the private key in DIR/crm.key does not belong to the first certificate in DIR/other.pem",
        ),
    ];
    for (lines, expected) in cases {
        let told = place.load(&lines).unwrap_err();
        assert!(told.starts_with(&format!("DIR/webhooks.toml:{expected}")), "{lines}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        let told = told.to_string();
        assert!(key.lines().skip(1).all(|line| line.starts_with('-') || !told.contains(&line[..16])), "{told}");
    }
    let plain = place.write("webhooks.toml", format!("{}{CLIENT}\n", CRM.replace("https:", "http:")));
    let told = Config::load(&plain, &place.environment).unwrap_err().to_string();
    assert!(told.contains("client_certificate_file: there is no TLS where the url begins with http:"), "{told}");
}

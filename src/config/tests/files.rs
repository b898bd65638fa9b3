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
        ("secret_file = \"binary\"".into(), "can't be read"),
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

//! What clients and operators write. It never writes anything itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use hookwheel::config::pem::{self, Unfit};
use hookwheel::config::{self, Config, Environment};
use hookwheel::dispatch::{Job, request};
use hookwheel::model::blacklist::Entry;
use hookwheel::model::{
    Address, Catalog, Definition, DeliveryId, EventId, EventTypeName, Moment, Project, Remark, SandboxToken, Secret, Selector, Webhook,
    WebhookId, WebhookNumber, WebhookSpec, submission,
};
use hookwheel::store::history::FollowPlace;
use hookwheel::store::journal::segment;
use hookwheel::time::UnixMillis;
use rustls::RootCertStore;
use serde_json::value::RawValue;

use super::NOW;

/// Whatever is accepted is a JSON object that says what it is of, and says the same the next time.
pub(super) fn event(bytes: &[u8]) {
    static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::built_in);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let parse = || submission::parse(text, &CATALOG, NOW, || EventId::parse("evt_fresh").expect("it is one"));
    match parse() {
        Ok(event) => {
            let body = serde_json::from_slice::<BTreeMap<&str, &RawValue>>(&event.body).expect("the body is a JSON object");
            let text = |name: &str| serde_json::from_str::<String>(body[name].get()).expect("a text");
            assert!(body["data"].get().starts_with('{') && body["data"].get().ends_with('}'));
            assert_eq!(text("type"), event.event_type.as_str());
            // Written as it was submitted.
            assert_eq!(Project::parse(&text("project")).as_ref(), Ok(&event.project));
            let again = parse().expect("it was parsed before");
            assert_eq!((again.fields_hash, again.body), (event.fields_hash, event.body));
        }
        Err(mistakes) => assert!(mistakes.iter().all(|mistake| !mistake.is_empty()) && !mistakes.is_empty()),
    }
}

/// Every mistake has its place in the text; every webhook that is accepted can be requested, and says the same over the admin socket; and what is read despite mistakes is what is there without any.
pub(super) fn config(bytes: &[u8]) {
    let (path, environment) = (Path::new("webhooks.toml"), Environment::default());
    // What `--last-good` makes of it.
    let server = config::server_in(path, &String::from_utf8_lossy(bytes), &environment);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::parse(path, text, &environment) {
        Ok(config) => {
            assert_eq!(config.server, server);
            for spec in &config.webhooks {
                requestable(spec);
                let again = config.webhook(&config.definition_of(spec)).expect("what the file may say, the socket may");
                assert_eq!((&again.url, &again.selectors), (&spec.url, &spec.selectors));
                assert_eq!(BTreeSet::from_iter(&again.headers), BTreeSet::from_iter(&spec.headers), "their order is nobody's concern");
            }
        }
        Err(mistakes) => {
            let lines = text.lines().count() + 1;
            assert!(!mistakes.list.is_empty());
            let is_within = |(line, column): (usize, usize)| (1..=lines).contains(&line) && column >= 1;
            assert!(mistakes.list.iter().all(|mistake| mistake.position.is_none_or(is_within)), "{mistakes}");
        }
    }
}

/// A file that is named for certificates, for a key, and for both. What is said of it names it, on one line, and repeats no line of it.
pub(super) fn pem_file(bytes: &[u8]) {
    let file = Path::new("some.pem");
    let mut told = Vec::new();
    let certificates = pem::certificates_in(bytes, file).map_err(|sentence| told.push(sentence)).ok();
    let key = pem::private_key_in(bytes, file).map_err(|sentence| told.push(sentence)).ok();
    assert!(certificates.as_ref().is_none_or(|certificates| !certificates.is_empty()));
    for certificate in certificates.iter().flatten() {
        // As one of `ca_file`; most are none that can be trusted.
        let _ = RootCertStore::empty().add(certificate.clone());
    }
    if let (Some(chain), Some(key)) = (certificates, key)
        && let Err(Unfit::Certificate(sentence) | Unfit::Key(sentence)) = pem::certified(file, chain, file, key)
    {
        told.push(sentence);
    }
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter(|line| line.len() >= 40).collect::<Vec<_>>();
    for sentence in told {
        assert!(sentence.contains("some.pem") && !sentence.contains(char::is_control), "{sentence:?}");
        assert!(!lines.iter().any(|line| sentence.contains(*line)), "{sentence:?}");
    }
}

/// A webhook as the admin socket is told of it.
pub(super) fn definition(bytes: &[u8]) {
    static BASE: LazyLock<Config> =
        LazyLock::new(|| Config::parse(Path::new("webhooks.toml"), "", &Environment::default()).expect("an empty file is a configuration"));
    let Ok(definition) = serde_json::from_slice::<Definition>(bytes) else { return };
    match BASE.webhook(&definition) {
        Ok(spec) => {
            requestable(&spec);
            assert_eq!(BASE.webhook(&BASE.definition_of(&spec)).expect("it was accepted before").url, spec.url);
        }
        Err(mistakes) => assert!(!mistakes.is_empty()),
    }
}

/// No header holds what ends a line, and none of the webhook's stands in the place of one of ours.
fn requestable(spec: &WebhookSpec) {
    let secrets = vec![Secret::from_bytes(vec![7; 32]).expect("32 bytes are enough")];
    let webhook = Arc::new(Webhook { number: WebhookNumber(1), spec: spec.clone(), secrets });
    let event_id = EventId::parse("evt_1").expect("it is one");
    let job = Job { webhook, event_id, body: Arc::from(&b"{}"[..]), attempt: 1, sent_at: NOW };
    let request = request::build(&job).expect("a webhook that was accepted can be requested");
    for (name, value) in request.headers() {
        assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{name}");
    }
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature", "content-type"] {
        assert_eq!(request.headers().get_all(name).iter().count(), 1, "{name}");
    }
}

pub(super) fn selector(bytes: &[u8]) {
    static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::built_in);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(selector) = Selector::parse(text) else { return };
    assert_eq!(Selector::parse(selector.as_str()).as_ref(), Ok(&selector));
    // Of one that no type fits, something is said.
    let fits = CATALOG.types().iter().any(|known| selector.matches(&known.name));
    assert!(fits || selector.mistake(&CATALOG, None).is_some(), "{selector}");
}

/// What has a text form of its own says the same after it was written and read.
pub(super) fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    fn same<T: PartialEq + std::fmt::Debug, E: std::fmt::Debug>(
        parse: impl Fn(&str) -> Result<T, E>,
        text: &str,
        write: impl Fn(&T) -> String,
    ) {
        let Ok(first) = parse(text) else { return };
        let written = write(&first);
        assert_eq!(parse(&written).expect("what was written can be read"), first, "{written:?}");
    }
    same(EventId::parse, text, ToString::to_string);
    same(EventTypeName::parse, text, ToString::to_string);
    same(Project::parse, text, ToString::to_string);
    same(WebhookId::parse, text, ToString::to_string);
    same(SandboxToken::parse, text, ToString::to_string);
    same(Address::parse, text, |address| address.as_str().to_owned());
    same(|text| text.parse::<DeliveryId>(), text, ToString::to_string);
    same(Secret::parse, text, |secret| secret.expose_text().to_string());
    same(|text| text.parse::<Moment>(), text, ToString::to_string);
    same(|text| text.parse::<FollowPlace>(), text, ToString::to_string);
    same(|text| segment::parse_file_name(text).ok_or(()), text, |number| segment::file_name(*number));
}

/// An entry that was imported can be exported and imported again.
pub(super) fn blacklist_line(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let by = Remark::parse("the operator").expect("it is one");
    let Ok(Some(entry)) = Entry::parse_line(text, NOW, &by) else { return };
    let line = serde_json::to_string(&entry).expect("an entry can be written");
    assert_eq!(Entry::parse_line(&line, UnixMillis(1), &by), Ok(Some(entry)), "{line}");
}

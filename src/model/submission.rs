//! An event as a client wrote it: parsed, or refused with every mistake in words. It never makes up an id or a time; those are arguments.
//!
//! * `data` is kept to the letter, numbers included; only white space between its tokens goes. So every receiver gets what the client wrote.
//! * The delivered body is made here, once: `type`, `timestamp` (as submitted, else the time of acceptance), `project` in the form that people read, `data`.
//! * An event of a type that fills the Black List must name somebody in `data.email`. Where that is no mail address, the event is as good as any other
//!   (it happened), and lists nothing.
//! * "The same content" compares the fields as submitted: type, project, timestamp, and the tokens of `data`.

use std::borrow::Cow;
use std::sync::Arc;

use aws_lc_rs::digest;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::blacklist::Reason;
use super::catalog::CHANNEL_OF_DAEMON;
use super::{Address, Catalog, EventId, EventType, EventTypeName, FieldsHash, NewEvent, Project};
use crate::limits::EVENT_MESSAGE_MAX;
use crate::time::UnixMillis;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(rename = "type", borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    project: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// An event as clients submit it, for the description of the API: [`parse`] reads it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SubmittedEvent {
    /// Its type, one of the catalogue (`hookwheel catalog`).
    #[schemars(rename = "type")]
    pub event_type: EventTypeName,
    /// Its project.
    pub project: Project,
    /// The idempotency key within its project; made by the server when it is left out.
    pub id: Option<EventId>,
    /// When it happened, in RFC 3339; the time of acceptance when it is left out.
    #[schemars(extend("format" = "date-time"))]
    pub timestamp: Option<String>,
    /// Anything. `email.status.bounced` and `email.contact.list_unsubscribed` need `email` in it.
    pub data: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Addressed<'a> {
    #[serde(borrow, default)]
    email: Option<Cow<'a, str>>,
}

/// Parses one event. `fresh_id` is the id it gets when it has none, `now` the wall clock.
///
/// # Errors
/// Every mistake, each a sentence.
pub fn parse(text: &str, catalog: &Catalog, now: UnixMillis, fresh_id: impl FnOnce() -> EventId) -> Result<NewEvent, Vec<String>> {
    let fields = fields_of(text).map_err(|mistake| vec![mistake])?;
    let mut mistakes = Vec::new();
    let mut keep = |result: Result<(), String>| mistakes.extend(result.err());
    let event_type = type_of(&fields.event_type, catalog);
    keep(event_type.as_ref().map(drop).map_err(Clone::clone));
    let event_type = event_type.ok();
    let project = Project::parse(&fields.project).and_then(refuse_that_of_daemon);
    keep(project.as_ref().map(drop).map_err(Clone::clone));
    let id = fields.id.as_deref().map(EventId::parse).transpose();
    keep(id.as_ref().map(drop).map_err(Clone::clone));
    keep(fields.timestamp.as_deref().map_or(Ok(()), check_timestamp));
    let blacklisted = check_data(fields.data.get(), event_type);
    keep(blacklisted.as_ref().map(drop).map_err(Clone::clone));
    let (Some(event_type), Ok(project), Ok(id), Ok(blacklisted), true) = (event_type, project, id, blacklisted, mistakes.is_empty()) else {
        return Err(mistakes);
    };
    let data = compact(fields.data.get());
    let fields_hash = hash_of(&[event_type.name.as_str(), project.as_str(), fields.timestamp.as_deref().unwrap_or_default(), &data]);
    let timestamp = fields.timestamp.map_or_else(|| now.to_string(), Cow::into_owned);
    Ok(NewEvent {
        id_by_client: id.is_some(),
        id: id.unwrap_or_else(fresh_id),
        event_type: event_type.name.clone(),
        body: body_of(&event_type.name, &timestamp, &project, &data),
        project,
        fields_hash,
        blacklisted,
    })
}

/// An event of the daemon itself. `data` is a JSON object.
#[must_use]
pub fn of_daemon(event_type: EventTypeName, at: UnixMillis, data: &Value, id: EventId) -> NewEvent {
    let (project, timestamp, data) = (Project::of_daemon(), at.to_string(), data.to_string());
    NewEvent {
        id,
        id_by_client: false,
        body: body_of(&event_type, &timestamp, &project, &data),
        fields_hash: hash_of(&[event_type.as_str(), project.as_str(), &timestamp, &data]),
        event_type,
        project,
        blacklisted: None,
    }
}

fn type_of<'a>(text: &str, catalog: &'a Catalog) -> Result<&'a EventType, String> {
    match catalog.get(text) {
        Some(event_type) if !event_type.name.is_of_daemon() => Ok(event_type),
        None if text.split('.').next() != Some(CHANNEL_OF_DAEMON) => Err(catalog.unknown_type(text)),
        _ => Err(format!("{} can't be posted: the daemon itself tells of what is in the channel {CHANNEL_OF_DAEMON}", super::shown(text))),
    }
}

fn refuse_that_of_daemon(project: Project) -> Result<Project, String> {
    let why = || format!("events of the project {project} can't be posted: it is the daemon's own");
    if project.is_of_daemon() { Err(why()) } else { Ok(project) }
}

/// The delivered body.
fn body_of(event_type: &EventTypeName, timestamp: &str, project: &Project, data: &str) -> Arc<[u8]> {
    let [event_type, timestamp, project] = [event_type.as_str(), timestamp, &project.to_unicode()].map(json_string);
    format!(r#"{{"type":{event_type},"timestamp":{timestamp},"project":{project},"data":{data}}}"#).into_bytes().into()
}

fn fields_of(text: &str) -> Result<Fields<'_>, String> {
    let in_words = |error: serde_json::Error| {
        let what = if error.is_data() { "an event" } else { "JSON" };
        // It may name a field as long as a request.
        format!("not {what}: {error}").chars().take(EVENT_MESSAGE_MAX).collect::<String>()
    };
    // serde would also take an array with the values of the fields in their order.
    if !text.trim_start().starts_with('{') {
        serde_json::from_str::<IgnoredAny>(text).map_err(in_words)?;
        return Err("not an event: expected a JSON object".to_owned());
    }
    serde_json::from_str(text).map_err(in_words)
}

/// RFC 3339, section 5.6, in the form that every client writes: a `T` between date and time, and an offset.
fn check_timestamp(text: &str) -> Result<(), String> {
    let wrong = || format!("{} is not a timestamp: expected RFC 3339, such as 2026-11-23T10:00:00Z", super::shown(text));
    let bytes = text.as_bytes();
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let fits = |(byte, form): (&u8, &u8)| if *form == b'd' { byte.is_ascii_digit() } else { byte.eq_ignore_ascii_case(form) };
    if bytes.len() <= shape.len() || !bytes.iter().zip(shape).all(fits) {
        return Err(wrong());
    }
    let rest = text.get(shape.len()..).ok_or_else(wrong)?;
    let offset = match rest.strip_prefix('.') {
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 { return Err(wrong()) } else { &fraction[digits..] }
        }
        None => rest,
    };
    let is_numeric = |offset: &[u8]| matches!(offset, [b'+' | b'-', h, i, b':', m, n] if [h, i, m, n].iter().all(|digit| digit.is_ascii_digit()) && [*h, *i] <= *b"23");
    if !offset.eq_ignore_ascii_case("z") && !is_numeric(offset.as_bytes()) {
        return Err(wrong());
    }
    let timestamp = text.parse::<jiff::Timestamp>().map_err(|_| wrong())?;
    // A leap second is the last of a day in UTC (section 5.7); jiff takes a second 60 anywhere and makes it 59.
    let is_last_of_day = timestamp.as_second().rem_euclid(86_400) == 86_399;
    if text.get(17..19) == Some("60") && !is_last_of_day { Err(wrong()) } else { Ok(()) }
}

/// The address that goes on the Black List, where the type has one.
fn check_data(data: &str, event_type: Option<&EventType>) -> Result<Option<Address>, String> {
    if !data.starts_with('{') {
        return Err("data must be a JSON object".to_owned());
    }
    let Some(event_type) = event_type.filter(|event_type| Reason::of_type(&event_type.name).is_some()) else {
        return Ok(None);
    };
    let addressed = serde_json::from_str::<Addressed<'_>>(data).ok().and_then(|addressed| addressed.email);
    match addressed.filter(|email| !email.trim().is_empty()) {
        Some(email) => Ok(Address::parse(email.trim()).ok()),
        None => Err(format!("{} needs data.email, a string: the address goes on the project's Black List", event_type.name)),
    }
}

/// JSON without the white space between its tokens. The text is known to be JSON.
fn compact(json: &str) -> String {
    let mut compacted = Vec::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            in_string = byte == b'"';
        }
        compacted.push(byte);
    }
    String::from_utf8(compacted).expect("only ASCII bytes were left out of UTF-8")
}

fn json_string(text: &str) -> String {
    Value::from(text).to_string()
}

/// Each field goes in with its length before it, so that fields can't run into each other.
fn hash_of(fields: &[&str]) -> FieldsHash {
    let mut context = digest::Context::new(&digest::SHA256);
    for field in fields {
        context.update(&(field.len() as u64).to_le_bytes());
        context.update(field.as_bytes());
    }
    let hash = context.finish();
    std::array::from_fn(|index| hash.as_ref()[index])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_428_000_000);

    fn parsed(text: &str) -> Result<NewEvent, Vec<String>> {
        parse(text, &Catalog::built_in(), NOW, || EventId::parse("evt_fresh").unwrap())
    }

    fn body(event: &NewEvent) -> &str {
        std::str::from_utf8(&event.body).unwrap()
    }

    #[test]
    fn every_good_sample_is_taken_and_its_body_says_the_same() {
        for line in include_str!("../../tests/data/events.ndjson").lines() {
            let event = parsed(line).unwrap();
            let (submitted, delivered): (serde_json::Value, serde_json::Value) =
                (serde_json::from_str(line).unwrap(), serde_json::from_str(body(&event)).unwrap());
            for field in ["type", "timestamp", "data", "project"] {
                assert_eq!(delivered[field], submitted[field], "{line}");
            }
            assert_eq!(event.id_by_client, submitted.get("id").is_some());
            assert!(body(&event).starts_with(r#"{"type":""#));
        }
    }

    #[test]
    fn every_bad_sample_is_refused_for_its_own_reason() {
        let expected = [
            "missing field `project`",
            "not JSON",
            "did you mean \"email.status.delivered\"?",
            "data must be a JSON object",
            "is not an id",
            "is not a timestamp",
            "is not a project",
            "unknown field `extra`",
            "needs data.email",
            "duplicate field `type`",
            "",
            "expected a JSON object",
        ];
        let samples = include_str!("../../tests/data/bad-events.tsv").lines().skip(1);
        let samples = samples.map(|line| line.split('\t').next().unwrap()).collect::<Vec<_>>();
        assert_eq!(samples.len(), expected.len());
        for (sample, words) in samples.into_iter().zip(expected) {
            let mistakes = parsed(sample).unwrap_err();
            assert!(mistakes.len() == 1 && mistakes[0].contains(words), "{sample}: {mistakes:?}");
        }
    }

    #[test]
    fn two_types_name_the_address_that_goes_on_the_black_list() {
        let listed = |event_type: &str, data: &str| {
            let event = parsed(&format!(r#"{{"type":"{event_type}","project":"shop.example.com","data":{data}}}"#)).unwrap();
            event.blacklisted.map(|address| address.as_str().to_owned())
        };
        let data = r#"{"email":" User@MÜLLER.example ","code":"550"}"#;
        for listing in ["email.status.bounced", "email.contact.list_unsubscribed"] {
            assert_eq!(listed(listing, data).as_deref(), Some("User@xn--mller-kva.example"));
            assert_eq!(listed(listing, r#"{"email":"nobody"}"#), None, "what is no address lists nothing");
        }
        assert_eq!(listed("email.status.delivered", data), None);
    }

    #[test]
    fn the_values_of_an_event_in_an_array_are_no_event() {
        let mistakes = parsed(r#" ["sms.status.delivered","shop.example.com","a",null,{}]"#).unwrap_err();
        assert_eq!(mistakes, ["not an event: expected a JSON object"]);
    }

    #[test]
    fn every_mistake_of_an_event_is_named_at_once() {
        let mistakes =
            parsed(r#"{"type":"email.status.bounced","project":"x","id":"a b","timestamp":"now","data":{"email":5}}"#).unwrap_err();
        assert_eq!(mistakes.len(), 4, "{mistakes:?}");
    }

    #[test]
    fn what_the_daemon_tells_itself_is_posted_by_nobody_else() {
        let refused = |event_type: &str, project: &str| {
            parsed(&format!(r#"{{"type":"{event_type}","project":"{project}","data":{{}}}}"#)).unwrap_err().join("; ")
        };
        assert!(refused("hookwheel.webhook.paused", "shop.example.com").contains("the daemon itself tells"));
        assert!(refused("hookwheel.not.known", "shop.example.com").contains("the daemon itself tells"));
        assert!(refused("sms.status.delivered", "hookwheel").contains("it is the daemon's own"));
        assert!(refused("hookwheel.disk.low", "HOOKWHEEL").contains("; events of the project"));
        let data = serde_json::json!({ "free_bytes": 1 });
        let name = EventTypeName::parse("hookwheel.disk.low").unwrap();
        let told = of_daemon(name, NOW, &data, EventId::parse("evt_1").unwrap());
        assert_eq!(
            body(&told),
            r#"{"type":"hookwheel.disk.low","timestamp":"2026-11-23T10:00:00.000Z","project":"hookwheel","data":{"free_bytes":1}}"#
        );
    }

    #[test]
    fn numbers_and_spelling_are_kept_and_white_space_between_tokens_is_not() {
        let event = parsed("{\"type\":\"sms.status.delivered\",\"project\":\"SHOP.example.com\",\"data\": { \"a\" : 1.0e2 ,\n\"b\":\"x \\\" \\\\\", \"c\":12345678901234567890123 } }").unwrap();
        let expected = r#"{"type":"sms.status.delivered","timestamp":"2026-11-23T10:00:00.000Z","project":"shop.example.com","data":{"a":1.0e2,"b":"x \" \\","c":12345678901234567890123}}"#;
        assert_eq!(body(&event), expected);
        assert_eq!(event.id.as_str(), "evt_fresh");
    }

    #[test]
    fn the_same_content_is_the_same_fields() {
        let hash = |text: &str| parsed(text).unwrap().fields_hash;
        let base =
            r#"{"type":"sms.status.delivered","project":"shop.example.com","id":"a","timestamp":"2026-11-23T10:00:00Z","data":{"a":1}}"#;
        assert_eq!(hash(base), hash(&base.replace(r#"{"a":1}"#, "{ \"a\": 1 }").replace("shop", "SHOP")));
        for (from, to) in
            [("sms.status.delivered", "sms.message.clicked"), ("shop", "news"), ("10:00:00Z", "10:00:00+00:00"), (r#""a":1"#, r#""a":2"#)]
        {
            assert_ne!(hash(base), hash(&base.replacen(from, to, 1)), "{to}");
        }
        assert_ne!(hash(base), hash(&base.replace(r#""timestamp":"2026-11-23T10:00:00Z","#, "")));
    }

    #[test]
    fn timestamps_are_rfc_3339() {
        for good in [
            "2026-11-23T10:00:00Z",
            "2026-11-23t10:00:00z",
            "2026-11-23T10:00:00.123456789+05:30",
            "2024-02-29T23:59:59-00:00",
            "2016-12-31T15:59:60-08:00",
        ] {
            assert_eq!(check_timestamp(good), Ok(()), "{good}");
        }
        for wrong in [
            "",
            "yesterday",
            "2026-11-23",
            "2026-11-23 10:00:00Z",
            "2026-11-23T10:00:00",
            "2026-11-23T10:00Z",
            "2026-02-30T10:00:00Z",
            "2026-11-23T10:00:00.Z",
            "2026-11-23T10:00:00+0530",
            "2026-11-23T25:00:00Z",
            "2026-11-23T10:00:00Zé",
            "2026-11-23T10:00:00+24:00",
            "2026-11-23T10:00:00-25:59",
            "2026-11-23T10:15:60Z",
        ] {
            assert!(check_timestamp(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn compacting_changes_no_value(keys in proptest::collection::vec("\\PC{0,8}", 0..5), number in any::<f64>()) {
            let number = if number.is_finite() { number } else { 0.5 };
            let value: serde_json::Value = keys.iter().map(|key| (key.clone(), serde_json::json!([number, key, " ", {"in": null}]))).collect::<serde_json::Map<_, _>>().into();
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(compact(&pretty), value.to_string());
        }

        #[test]
        fn arbitrary_text_is_refused_and_no_panic(text in "\\PC{0,60}") {
            prop_assert!(parsed(&text).is_err());
        }
    }
}

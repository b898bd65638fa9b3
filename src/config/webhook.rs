//! `[[webhook]]`: who wants which events, where. It never resolves or dials what it names.

use std::collections::HashMap;
use std::path::Path;

use ipnet::IpNet;
use url::Url;

use super::delivery::DeliverySettings;
use super::environment::Environment;
use super::mistakes::Report;
use super::notation;
use super::raw::{self, Section};
use super::{secret, settings::EgressSettings, tls};
use crate::limits::{HEADER_LENGTH_MAX, HEADERS_MAX, URL_LENGTH_MAX};
use crate::model::{Catalog, Origin, Project, SandboxToken, Selector, WebhookId, WebhookSpec, port_refusal};

const ID: &str = "1 to 64 of a-z 0-9 - in quotes";
const TITLE: &str = "a title in quotes";
const URL: &str = "a URL in quotes, such as \"https://crm.example.com/hooks/mail\"";
const EVENTS: &str = "a list of event types, such as [\"email.*\", \"sms.status.delivered\"]";
/// What a project looks like.
pub(super) const PROJECT: &str = "a domain in quotes, such as \"shop.example.com\"";

/// Headers that say how the request itself is made: hookwheel sets them, or they concern one connection only (RFC 9110, 7.6.1).
const HEADERS_TAKEN: [&str; 15] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
const HEADER_PREFIXES_TAKEN: [&str; 2] = ["webhook-", "hookwheel-"];

/// What the other sections say that every webhook depends on.
pub(super) struct Surroundings<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) delivery: &'a DeliverySettings,
    pub(super) egress: &'a EgressSettings,
    pub(super) config_directory: &'a Path,
    pub(super) environment: &'a Environment,
}

/// What the webhooks before this one had.
#[derive(Default)]
struct Seen {
    places: HashMap<WebhookId, String>,
    identities: tls::Known,
}

/// Every `[[webhook]]`. One with a mistake is left out: the report has it.
pub(super) fn webhooks(file: &mut Section<'_>, around: &Surroundings<'_>, report: &mut Report<'_>) -> Vec<WebhookSpec> {
    let mut seen = Seen::default();
    let mut webhooks = Vec::new();
    for section in file.sections("webhook", report) {
        webhooks.extend(webhook(section, around, &mut seen, report));
    }
    webhooks
}

fn webhook(mut section: Section<'_>, around: &Surroundings<'_>, seen: &mut Seen, report: &mut Report<'_>) -> Option<WebhookSpec> {
    let place = report.place(section.offset());
    let id = id(&mut section, &place, &mut seen.places, report);
    let title = section.parsed("title", TITLE, report, notation::label);
    let project = section.parsed("project", PROJECT, report, Project::parse);
    let url = section.parsed("url", URL, report, |text| url(text, around.egress));
    let selectors = selectors(&mut section, around.catalog, project.as_ref(), report);
    let secret = secret::secret(&mut section, around.config_directory, around.environment, report);
    let signing = secret::signing(&mut section, secret.as_ref(), report);
    let headers = headers(&mut section, report);
    let paused = section.flag("paused", report);
    let allow_networks = allow_networks(&mut section, &around.egress.allow_networks, report);
    let tls = tls::identity(&mut section, url.as_ref(), around, &mut seen.identities, report);
    let delivery = around.delivery.overridden(&mut section, report);
    section.finish(&["id", "title", "project", "url", "events"], report);
    Some(WebhookSpec {
        id: id?,
        title: title?,
        project: project?,
        url: url?,
        selectors: selectors?,
        secret,
        signing,
        headers,
        paused: paused.unwrap_or(false),
        allow_networks,
        tls,
        timeout_ms: delivery.timeout_ms,
        success: delivery.success,
        schedule: delivery.schedule,
        max_in_flight: delivery.max_in_flight,
        rate: delivery.rate,
        ordered: delivery.ordered,
        origin: Origin::File,
        place: Some(place),
    })
}

fn id(section: &mut Section<'_>, place: &str, places: &mut HashMap<WebhookId, String>, report: &mut Report<'_>) -> Option<WebhookId> {
    let (text, span) = section.text("id", ID, report)?;
    let id = WebhookId::parse(text).map_err(|sentence| report.wrong(span.start, format!("id: {sentence}"))).ok()?;
    if let Some(first) = places.get(&id) {
        report.wrong(span.start, format!("id: {text:?} is taken by the webhook at {first}; every webhook needs an id of its own"));
        return None;
    }
    places.insert(id.clone(), place.to_owned());
    Some(id)
}

/// An absolute `http` or `https` URL. What is not sent (a fragment) or would be sent in clear sight (a password) is refused.
fn url(text: &str, egress: &EgressSettings) -> Result<Url, String> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("https") => {}
        Some("http") if !egress.require_https => {}
        Some("http") => return Err("[egress] require_https refuses \"http://\"; write \"https://\"".into()),
        Some(other) => return Err(format!("expected \"http://\" or \"https://\", found {:?}", format!("{other}://"))),
        None => return Err(format!("expected {URL}; it has to begin with \"http://\" or \"https://\"")),
    }
    if text.chars().count() > URL_LENGTH_MAX {
        return Err(format!("longer than {URL_LENGTH_MAX} characters"));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("there is white space in it; write %20 for a space".into());
    }
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a user name or password in the URL is not sent; use headers = { \"Authorization\" = \"Basic …\" }".into());
    }
    if url.fragment().is_some() {
        return Err("what follows \"#\" is never sent; leave it out".into());
    }
    // A URL may hold what a request line may not: `{` in a host, say.
    if let Err(error) = url.as_str().parse::<hyper::Uri>() {
        return Err(format!(
            "it can't be requested: {error}; write what is not a letter, a digit or one of \"-._~\" as % and two hexadecimal digits"
        ));
    }
    if url.port() == Some(0) {
        return Err("nothing can be reached at port 0".into());
    }
    // A sandbox is on hookwheel's own port, whichever that is; whether it is one is seen when it is dialled.
    let refusal = url.port_or_known_default().and_then(|port| port_refusal(port, &egress.allow_ports));
    if let Some(sentence) = refusal.filter(|_| SandboxToken::of_path(url.path()).is_none()) {
        return Err(sentence);
    }
    Ok(url)
}

/// What is wanted of the project's events; where that is mistaken, of any domain's.
fn selectors(section: &mut Section<'_>, catalog: &Catalog, project: Option<&Project>, report: &mut Report<'_>) -> Option<Vec<Selector>> {
    let (list, offset) = section.list("events", EVENTS, report)?;
    if list.is_empty() {
        report.wrong(offset, "events: the list is empty; \"*\" stands for every event type");
    }
    let mut selectors = Vec::new();
    for value in list.iter() {
        let Some(text) = raw::text(value, "events", "an event type or a selector such as \"email.*\"", report) else { continue };
        let checked = Selector::parse(text).and_then(|selector| match selector.mistake(catalog, project) {
            Some(sentence) => Err(sentence),
            None => Ok(selector),
        });
        match checked {
            Ok(selector) => selectors.push(selector),
            Err(sentence) => report.wrong(value.span().start, format!("events: {sentence}")),
        }
    }
    Some(selectors)
}

/// The general networks, and those of the webhook itself.
fn allow_networks(section: &mut Section<'_>, general: &[IpNet], report: &mut Report<'_>) -> Vec<IpNet> {
    let mut networks = general.to_vec();
    for network in notation::networks(section, "allow_networks", report) {
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    networks
}

/// `headers = { "X-Tenant" = "42" }`. Values may be confidential, so no message repeats one.
fn headers(section: &mut Section<'_>, report: &mut Report<'_>) -> Vec<(String, String)> {
    let Some(value) = section.value("headers") else { return Vec::new() };
    let Some(table) = value.get_ref().as_table() else {
        report.wrong(value.span().start, "headers: expected a table such as { \"X-Tenant\" = \"42\" }");
        return Vec::new();
    };
    if table.len() > HEADERS_MAX {
        report.wrong(value.span().start, format!("headers: {} of them; at most {HEADERS_MAX} are possible", table.len()));
    }
    let mut entries = table.iter().collect::<Vec<_>>();
    entries.sort_by_key(|(name, _)| name.span().start);
    let mut headers = Vec::<(String, String)>::new();
    for (name, value) in entries {
        let lower = name.get_ref().to_ascii_lowercase();
        if let Some(sentence) = header_name_mistake(&lower) {
            report.wrong(name.span().start, format!("headers: {sentence}"));
        } else if headers.iter().any(|(taken, _)| *taken == lower) {
            report.wrong(name.span().start, format!("headers: {lower:?} is set twice; upper and lower case are the same here"));
        }
        match header_value(value.get_ref().as_str()) {
            Ok(text) => headers.push((lower, text)),
            Err(sentence) => report.wrong(value.span().start, format!("headers: {lower:?}: {sentence}")),
        }
    }
    headers
}

/// A token (RFC 9110, 5.6.2) that is not among those that hookwheel sets.
fn header_name_mistake(lower: &str) -> Option<String> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if lower.is_empty() || lower.len() > HEADER_LENGTH_MAX || !lower.bytes().all(is_token) {
        return Some(format!("{lower:?} is not the name of an HTTP header"));
    }
    let taken = HEADERS_TAKEN.contains(&lower) || HEADER_PREFIXES_TAKEN.iter().any(|prefix| lower.starts_with(prefix));
    taken.then(|| format!("{lower:?} can't be set here: hookwheel sets it itself, or it would break the request"))
}

/// Visible ASCII, spaces and tabs between (RFC 9110, 5.5).
fn header_value(text: Option<&str>) -> Result<String, String> {
    let text = text.ok_or("expected text in quotes")?;
    let good = |b: u8| b == b'\t' || (b' '..=b'~').contains(&b);
    if text.len() > HEADER_LENGTH_MAX || !text.bytes().all(good) || text.trim() != text {
        return Err(format!("expected at most {HEADER_LENGTH_MAX} printable ASCII characters, with no space at either end"));
    }
    Ok(text.to_owned())
}

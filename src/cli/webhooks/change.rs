//! `webhooks add`, `edit`, `remove`, `rotate-secret`, `export`: what changes webhooks, and what carries them elsewhere. It asks before anything is lost.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use hyper::Method;
use hyper::body::Bytes;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::arguments::{Add, Definition as Named, Edit, Export, Remove, RotateSecret};
use super::{dialogue, list_all, pause_sentence, render_detail};
use crate::cli::Output;
use crate::cli::asking::{self, Asker};
use crate::cli::client::{Body, Client};
use crate::cli::failure::Failure;
use crate::cli::screen::{Screen, Tone};
use crate::cli::text::{counted, escaped};
use crate::limits::SECRET_FILE_SIZE_MAX;
use crate::model::report::{SecretRotated, WebhookDetail, WebhookRemoved};
use crate::model::{Definition, EventType, Origin, WebhookId};

/// `webhooks add`
pub(super) fn add(arguments: &Add, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut definition = definition_of(&arguments.definition)?;
    if let Some(id) = &arguments.id {
        definition.set("id", id.as_str());
    }
    if arguments.paused {
        definition.set("paused", true);
    }
    let missing = ["title", "project", "url", "events"].into_iter().filter(|key| definition.get(key).is_none()).collect::<Vec<_>>();
    if !missing.is_empty() {
        if !asking::is_possible() {
            let options = missing.iter().map(|key| format!("--{key}")).collect::<Vec<_>>().join(", ");
            return Err(Failure::Usage(format!(
                "{options} must be named, for nobody can be asked here; see hookwheel webhooks add --help"
            )));
        }
        let catalog = daemon.get::<Vec<EventType>>("/v1/catalog")?;
        dialogue::complete(&mut definition, &catalog, &mut Asker::new(&mut io::stdin().lock(), output.stderr))?;
    }
    let added = daemon.post::<WebhookDetail>("/v1/webhooks", Some(json_body(&definition)))?;
    warn(&added, output);
    output.show(&added, |added, screen| {
        let headline = screen.paint(Tone::Good, &format!("added {}", added.summary.id));
        format!("{headline}\n\n{}", render_detail(added, screen))
    })
}

/// `webhooks edit`
pub(super) fn edit(arguments: &Edit, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let id = &arguments.webhook.id;
    let mut patch = definition_of(&arguments.definition)?;
    for key in &arguments.unset {
        patch.set(key, Value::Null);
    }
    if patch == Definition::default() {
        return Err(Failure::Usage("nothing to change: name what changes, such as --url; see hookwheel webhooks edit --help".into()));
    }
    let edited = daemon.send::<WebhookDetail>(Method::PATCH, &format!("/v1/webhooks/{id}"), Some(json_body(&patch)))?;
    warn(&edited, output);
    output.show(&edited, render_detail)
}

/// `webhooks remove`
pub(super) fn remove(arguments: &Remove, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let id = &arguments.webhook.id;
    let path = format!("/v1/webhooks/{id}");
    let webhook = daemon.get::<WebhookDetail>(&path)?.summary;
    // One that stands in the file is refused anyway, with its place.
    if webhook.place.is_none() {
        let pending = counted(webhook.pending, "pending delivery", "pending deliveries");
        asking::confirmed(&format!("Remove {id} ({}) for good? {pending} will be cancelled.", webhook.title), arguments.yes, output)?;
    }
    let removed = daemon.send::<WebhookRemoved>(Method::DELETE, &path, None)?;
    output.show(&removed, |removed, screen| {
        let cancelled = counted(removed.cancelled, "pending delivery is", "pending deliveries are");
        screen.paint(Tone::Good, &format!("removed {}; {cancelled} cancelled", removed.id)) + "\n"
    })
}

/// `webhooks rotate-secret`
pub(super) fn rotate_secret(arguments: &RotateSecret, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let body = Body::json(&json!({ "grace_ms": arguments.grace }));
    let path = format!("/v1/webhooks/{}/rotate-secret", arguments.webhook.id);
    let rotated = daemon.post::<SecretRotated>(&path, Some(body))?;
    output.show(&rotated, render_rotated)
}

fn render_rotated(rotated: &SecretRotated, screen: &Screen) -> String {
    let old = match rotated.old_secret_until {
        Some(until) => format!("the old one signs, too, until {until}"),
        None => "the old one signs no more".to_owned(),
    };
    let (warning, key) = match (&rotated.public_key, &rotated.secret) {
        (Some(key), _) => ("The receiver checks signatures with this public key from now on:", key.as_str()),
        (None, secret) => {
            ("The new secret is shown once, now. Keep it where the receiver checks signatures:", secret.as_deref().unwrap_or_default())
        }
    };
    let warning = screen.paint(Tone::Waiting, warning);
    format!("{} has a new secret; {old}\n\n{warning}\n  {}\n", rotated.id, screen.paint(Tone::Plain, key))
}

/// `webhooks export`
pub(super) fn export(arguments: &Export, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let ids = match arguments.ids.is_empty() {
        false => arguments.ids.clone(),
        true => list_all(daemon)?.into_iter().filter(|webhook| webhook.origin == Origin::Admin).map(|webhook| webhook.id).collect(),
    };
    let fetch = |id: &WebhookId| daemon.get(&format!("/v1/webhooks/{id}/definition?with_secret={}", arguments.with_secrets));
    let definitions = ids.iter().map(fetch).collect::<Result<Vec<Definition>, _>>()?;
    if definitions.is_empty() {
        output.remark("no webhook was added: all stand in the file, or there are none; name one to export it");
    }
    let with_secrets = arguments.with_secrets;
    output.show(&definitions, |definitions, _| {
        definitions.iter().map(|definition| escaped(render_export(definition, with_secrets))).collect()
    })
}

fn render_export(definition: &Definition, with_secrets: bool) -> String {
    if with_secrets {
        return format!("{}\n", definition.to_toml());
    }
    let mut definition = definition.clone();
    let headers = definition.take("headers");
    let mut text = definition.to_toml();
    if let Some(Value::Object(headers)) = headers {
        let names = headers.keys().map(|name| format!("{} = \"…\"", Value::from(name.as_str()))).collect::<Vec<_>>().join(", ");
        text.push_str(&format!("# headers = {{ {names} }}    # their values are told by --with-secrets\n"));
    }
    text.push_str("# its secret stays what it is while this id stays; --with-secrets tells it\n\n");
    text
}

fn warn(webhook: &WebhookDetail, output: &mut Output<'_>) {
    webhook.warnings.iter().for_each(|warning| output.remark(&format!("warning: {warning}")));
    let pauses = webhook.summary.pauses.iter().map(|pause| pause_sentence(pause, &output.screen)).collect::<Vec<_>>();
    pauses.iter().for_each(|pause| output.remark(pause));
}

fn json_body(definition: &Definition) -> Body {
    Body::Json(Bytes::from(definition.to_json()))
}

/// What the options say, under the keys of the file.
fn definition_of(named: &Named) -> Result<Definition, Failure> {
    let mut definition = Definition::default();
    let texts =
        [("title", &named.title), ("project", &named.project), ("url", &named.url), ("timeout", &named.timeout), ("rate", &named.rate)];
    for (key, text) in texts {
        if let Some(text) = text {
            definition.set(key, text.as_str());
        }
    }
    let lists = [("events", &named.events), ("allow_networks", &named.allow_networks)];
    for (key, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        definition.set(key, list.iter().map(|text| Value::from(text.trim())).collect::<Vec<_>>());
    }
    if !named.success.is_empty() {
        let status = |text: &String| text.trim().parse::<u16>().map_or_else(|_| Value::from(text.trim()), Value::from);
        definition.set("success", named.success.iter().map(status).collect::<Vec<_>>());
    }
    if !named.retry.is_empty() {
        let step = |(attempts, every): &(u32, String)| json!({ "attempts": attempts, "every": every });
        definition.set("retry", named.retry.iter().map(step).collect::<Vec<_>>());
    }
    if !named.headers.is_empty() {
        let headers = named.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        definition.set("headers", headers.collect::<Map<_, _>>());
    }
    if let Some(max_in_flight) = named.max_in_flight {
        definition.set("max_in_flight", max_in_flight);
    }
    if let Some(signing) = named.signing {
        definition.set("signing", signing.as_str());
    }
    if named.ordered {
        definition.set("ordered", true);
    }
    let files = [
        ("ca_file", &named.ca_file),
        ("client_certificate_file", &named.client_certificate_file),
        ("client_key_file", &named.client_key_file),
    ];
    for (key, file) in files {
        if let Some(file) = file {
            definition.set(key, from_here(file)?);
        }
    }
    if let Some(path) = &named.secret_file {
        definition.set("secret", secret(path)?.trim());
    }
    Ok(definition)
}

/// A path as somebody means it who stands here: the daemon stands elsewhere.
fn from_here(path: &Path) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::Refused(format!("can't tell where {} is: {error}", path.display()));
    let whole = std::path::absolute(path).map_err(failed)?;
    whole.into_os_string().into_string().map_err(|path| Failure::Refused(format!("{} is not UTF-8", path.display())))
}

fn secret(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let failed = |error: io::Error| Failure::Refused(format!("can't read the secret from {}: {error}", path.display()));
    let mut text = Zeroizing::new(String::new());
    if path == Path::new("-") {
        io::stdin().lock().take(SECRET_FILE_SIZE_MAX).read_to_string(&mut text).map_err(failed)?;
    } else {
        File::open(path).map_err(failed)?.take(SECRET_FILE_SIZE_MAX).read_to_string(&mut text).map_err(failed)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::arguments::Webhooks;
    use super::*;
    use crate::cli::arguments::{Arguments, Command};
    use crate::cli::screen::PIPE;

    #[test]
    fn an_export_that_a_terminal_would_obey_is_escaped_and_reads_back_as_it_was() {
        let json = r#"{"id":"crm","title":"a\"\\'\u009b\u202e\u007fb","headers":{"X-\u200e":"\u2028"}}"#;
        let text = escaped(render_export(&Definition::parse(json).unwrap(), true));
        assert!(text.contains(r"\u009b\u202e") && text.is_ascii(), "{text}");
        let table: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(serde_json::to_value(&table["webhook"][0]).unwrap(), serde_json::from_str::<Value>(json).unwrap());
    }

    #[test]
    fn options_become_the_keys_of_the_file() {
        let line = "hookwheel webhooks add --id crm --title CRM --project shop.example.com --url https://x.example/ --events email.*,sms.status.delivered \
                    --header X-Tenant=4=2 --allow-network 10.0.0.0/8 --timeout 5s --success 200,2xx --retry 3x100s,1x5m --max-in-flight 3 --rate 50/s --ordered \
                    --ca-file /etc/ca.pem --client-certificate-file /etc/crm.pem --client-key-file /etc/crm.key";
        let Command::Webhooks(Webhooks::Add(add)) = Arguments::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("another command")
        };
        insta::assert_snapshot!(definition_of(&add.definition).unwrap().to_toml(), @r#"
        [[webhook]]
        title = "CRM"
        project = "shop.example.com"
        url = "https://x.example/"
        events = ["email.*", "sms.status.delivered"]
        allow_networks = ["10.0.0.0/8"]
        ca_file = "/etc/ca.pem"
        client_certificate_file = "/etc/crm.pem"
        client_key_file = "/etc/crm.key"
        headers = { X-Tenant = "4=2" }
        max_in_flight = 3
        ordered = true
        rate = "50/s"
        retry = [{ attempts = 3, every = "100s" }, { attempts = 1, every = "5m" }]
        success = [200, "2xx"]
        timeout = "5s"
        "#);
    }

    #[test]
    fn an_export_without_secrets_can_be_pasted_and_says_what_is_left_out() {
        let text = r#"{"id":"crm","title":"CRM","headers":{"X-Tenant":"…"},"rate":"5/s"}"#;
        let definition = Definition::parse(text).unwrap();
        insta::assert_snapshot!(render_export(&definition, false), @r#"
        [[webhook]]
        id = "crm"
        title = "CRM"
        rate = "5/s"
        # headers = { "X-Tenant" = "…" }    # their values are told by --with-secrets
        # its secret stays what it is while this id stays; --with-secrets tells it
        "#);
    }

    #[test]
    fn a_new_secret_is_shown_with_what_becomes_of_the_old_one() {
        let id = WebhookId::parse("crm").unwrap();
        let rotated = SecretRotated { id, secret: Some("whsec_c2VjcmV0".into()), public_key: None, old_secret_until: Some(PIPE.now) };
        insta::assert_snapshot!(render_rotated(&rotated, &PIPE), @"
        crm has a new secret; the old one signs, too, until 2026-11-23T10:00:00.000Z

        The new secret is shown once, now. Keep it where the receiver checks signatures:
          whsec_c2VjcmV0
        ");
        let rotated = SecretRotated { secret: None, public_key: Some("whpk_cHVibGlj".into()), old_secret_until: None, ..rotated };
        insta::assert_snapshot!(render_rotated(&rotated, &PIPE), @"
        crm has a new secret; the old one signs no more

        The receiver checks signatures with this public key from now on:
          whpk_cHVibGlj
        ");
    }
}

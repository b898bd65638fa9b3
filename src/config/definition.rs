//! A webhook that does not stand in the file, judged by the same rules, and one that does, written as the admin socket would be told of it. It never stores one.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::environment::Environment;
use super::mistakes::Report;
use super::raw::{self, Section};
use super::{Config, notation, webhook};
use crate::model::{Definition, Origin, RetrySchedule, Signing, SuccessRule, WebhookSpec};

/// What names a file or a variable of the daemon's whose content the daemon would tell again: who may use the socket need not be one who may read those.
const FILE_ONLY: [&str; 2] = ["secret_file", "secret_env"];

impl Config {
    /// The webhook that a definition describes, with what `[delivery]` and `[egress]` say merged in.
    ///
    /// # Errors
    /// Every mistake in it, a sentence each.
    pub fn webhook(&self, definition: &Definition) -> Result<WebhookSpec, Vec<String>> {
        if let Some(key) = FILE_ONLY.into_iter().find(|key| definition.get(key).is_some()) {
            return Err(vec![format!("{key} is possible in webhooks.toml only; leave it out, and hookwheel makes a secret")]);
        }
        let text = definition.to_toml();
        let mut report = Report::new(&self.path, &text);
        let readable = raw::report_syntax(&text, &mut report);
        let table = raw::table(&readable);
        let environment = Environment::default();
        let around = webhook::Surroundings {
            catalog: &self.catalog,
            delivery: &self.delivery,
            egress: &self.egress,
            config_directory: self.path.parent().unwrap_or(&self.path),
            environment: &environment,
        };
        let spec = webhook::webhooks(&mut Section::whole(&table), &around, &mut report).pop();
        match (report.into_mistakes(), spec) {
            (None, Some(spec)) => Ok(WebhookSpec { origin: Origin::Admin, place: None, ..spec }),
            (None, None) => Err(vec!["the definition is empty".into()]),
            (Some(mistakes), _) => Err(mistakes.list.into_iter().map(|mistake| mistake.message).collect()),
        }
    }

    /// What would have to be said to have this webhook: every key that differs from its default.
    #[must_use]
    pub fn definition_of(&self, spec: &WebhookSpec) -> Definition {
        let mut definition = Definition::default();
        definition.set("id", spec.id.as_str());
        definition.set("title", spec.title.as_str());
        definition.set("project", spec.project.as_str());
        definition.set("url", spec.url.as_str());
        definition.set("events", spec.selectors.iter().map(|selector| Value::from(selector.as_str())).collect::<Vec<_>>());
        if let Some(secret) = &spec.secret {
            definition.set("secret", secret.expose_text().as_str());
        }
        if !spec.headers.is_empty() {
            definition.set(
                "headers",
                spec.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect::<serde_json::Map<_, _>>(),
            );
        }
        for (key, differs, value) in self.optional_keys(spec) {
            if differs {
                definition.set(key, value);
            }
        }
        definition
    }

    /// What a webhook may say besides what it is, whether it is different from the default, and what it is.
    pub(super) fn optional_keys(&self, spec: &WebhookSpec) -> [(&'static str, bool, Value); 12] {
        let own = spec.allow_networks.iter().filter(|network| !self.egress.allow_networks.contains(network));
        let own = own.map(|network: &IpNet| Value::from(network.to_string())).collect::<Vec<_>>();
        let default = &self.delivery;
        [
            ("signing", spec.signing != Signing::default(), json!(spec.signing)),
            ("timeout", spec.timeout_ms != default.timeout_ms, json!(notation::duration(spec.timeout_ms))),
            ("success", spec.success != default.success, success(&spec.success)),
            ("retry", spec.schedule != default.schedule, retry(&spec.schedule)),
            ("max_in_flight", spec.max_in_flight != default.max_in_flight, json!(spec.max_in_flight)),
            ("rate", spec.rate != default.rate, json!(spec.rate.map(|rate| rate.to_string()))),
            ("ordered", spec.ordered != default.ordered, json!(spec.ordered)),
            ("allow_networks", !own.is_empty(), Value::from(own)),
            ("paused", spec.paused, json!(spec.paused)),
            ("ca_file", spec.ca_file().is_some(), json!(spec.ca_file())),
            ("client_certificate_file", spec.client_certificate_file().is_some(), json!(spec.client_certificate_file())),
            ("client_key_file", spec.client_key_file().is_some(), json!(spec.client_key_file())),
        ]
    }
}

/// `[200, "2xx"]`
pub(super) fn success(rule: &SuccessRule) -> Value {
    let written = |range: &std::ops::RangeInclusive<u16>| match (range.start(), range.end()) {
        (start, end) if start == end => json!(start),
        (start, _) => json!(format!("{}xx", start / 100)),
    };
    rule.0.iter().map(written).collect()
}

/// `[{attempts = 3, every = "100s"}]`
pub(super) fn retry(schedule: &RetrySchedule) -> Value {
    schedule.steps.iter().map(|step| json!({ "attempts": step.attempts, "every": notation::duration(step.interval_ms) })).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const FILE: &str = r#"
[delivery]
timeout = "5s"
[egress]
allow_networks = ["10.0.0.0/8"]
[[webhook]]
id = "crm"
title = "CRM"
project = "shop.example.com"
url = "https://crm.example.com/"
events = ["email.*", "sms.status.delivered"]
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
headers = { "X-Tenant" = "42" }
allow_networks = ["192.168.1.0/24"]
success = [200, "3xx"]
retry = [ {attempts = 2, every = "90s"} ]
max_in_flight = 2
rate = "50/s"
ordered = true
paused = true
"#;

    fn config(text: &str) -> Config {
        Config::parse(Path::new("webhooks.toml"), text, &Environment::default()).unwrap()
    }

    #[test]
    fn the_keys_that_are_described_are_those_that_are_read() {
        let config = config(FILE);
        let schema = schemars::schema_for!(Definition).to_value();
        let described = schema["properties"].as_object().unwrap().keys().collect::<Vec<_>>();
        let mut definition = config.definition_of(&config.webhooks[0]);
        definition.set("timeout", "3s");
        definition.set("signing", "v1");
        let directory = tempfile::tempdir().unwrap();
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(vec!["crm.example.com".to_owned()]).unwrap();
        let file = directory.path().join("crm.pem").display().to_string();
        std::fs::write(&file, cert.pem() + &signing_key.serialize_pem()).unwrap();
        super::super::tls::KEYS.iter().for_each(|key| definition.set(key, file.as_str()));
        let again = config.definition_of(&config.webhook(&definition).unwrap());
        assert!(
            super::super::tls::KEYS.iter().all(|key| again.text(key) == Some(&file)),
            "the files are named again, and what is in them is not told"
        );
        assert!(!again.to_json().contains("BEGIN"));
        assert!(described.iter().all(|key| definition.get(key).is_some()), "{described:?} has one that the test does not set");
        for key in definition.keys() {
            assert!(described.contains(&key), "{key} is not described");
        }
    }

    #[test]
    fn a_webhook_of_the_file_and_its_definition_say_the_same() {
        let config = config(FILE);
        let definition = config.definition_of(&config.webhooks[0]);
        insta::assert_snapshot!(definition.to_toml(), @r#"
        [[webhook]]
        id = "crm"
        title = "CRM"
        project = "shop.example.com"
        url = "https://crm.example.com/"
        events = ["email.*", "sms.status.delivered"]
        allow_networks = ["192.168.1.0/24"]
        headers = { x-tenant = "42" }
        max_in_flight = 2
        ordered = true
        paused = true
        rate = "50/s"
        retry = [{ attempts = 2, every = "90s" }]
        secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        success = [200, "3xx"]
        "#);
        let again = config.webhook(&definition).unwrap();
        assert_eq!(again, WebhookSpec { origin: Origin::Admin, place: None, ..config.webhooks[0].clone() });
        assert_eq!(again.timeout_ms, 5000, "defaults come from the file");
    }

    #[test]
    fn mistakes_are_those_of_the_file_without_a_place() {
        let config = config("");
        let mistakes = |text| config.webhook(&Definition::parse(text).unwrap()).unwrap_err();
        let told =
            mistakes(r#"{"id":"CRM","tittle":"x","project":"localhost","url":"ftp://x","events":["email.statos.*"],"max_in_flight":1.5}"#);
        assert_eq!(told.len(), 6, "{told:#?}");
        assert!(told.iter().any(|one| one.contains("did you mean \"title\"")), "{told:#?}");
        assert!(mistakes(r#"{"secret_file":"/etc/shadow"}"#)[0].starts_with("secret_file is possible in webhooks.toml only"));
        assert!(mistakes("{}")[0].contains("has no \"id\""));
        assert!(mistakes(r#"{"id":"a]]\n[[webhook","title":null}"#).iter().any(|one| one.contains("is not a webhook id")));
    }
}

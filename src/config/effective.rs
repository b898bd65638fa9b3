//! What the configuration comes to: each value with the place that it comes from. It never tells a secret.

use ipnet::IpNet;
use serde_json::{Value, json};
use toml::de::DeTable;

use super::definition::{retry, success};
use super::mistakes::Report;
use super::{Config, notation, raw};
use crate::model::TokenScope;
use crate::model::report::ConfigValue;

impl Config {
    /// Every value in force, and of each webhook what it has different. What is confidential is left out.
    #[must_use]
    pub fn effective(&self) -> Vec<ConfigValue> {
        let text = &self.source.0;
        let table = raw::table(text);
        let report = Report::new(&self.path, text);
        let place = |section: &str, key: &str| {
            let value = table.get(section)?.get_ref().as_table()?.get(key)?;
            Some(report.place(value.span().start))
        };
        let mut values = Vec::new();
        for (section, key, value) in self.general() {
            let source = place(section, key).unwrap_or_else(|| "default".to_owned());
            values.push(ConfigValue { section: section.to_owned(), key: key.to_owned(), value, source });
        }
        self.add_webhooks(&table, &report, &mut values);
        for token in &self.tokens {
            let projects = match &token.scope {
                TokenScope::AllProjects => json!(["*"]),
                TokenScope::Projects(projects) => projects.iter().map(|project| Value::from(project.to_string())).collect(),
            };
            let source = token.place.clone().unwrap_or_default();
            values.push(ConfigValue { section: format!("token {}", token.name), key: "projects".into(), value: projects, source });
        }
        values
    }

    fn general(&self) -> Vec<(&'static str, &'static str, Value)> {
        let Self { server, limits, ingest, egress, history, delivery, .. } = self;
        let networks = |networks: &[IpNet]| networks.iter().map(|network| Value::from(network.to_string())).collect::<Value>();
        vec![
            ("server", "listen", json!(server.listen.to_string())),
            ("server", "admin_socket", json!(server.admin_socket.display().to_string())),
            ("server", "data_dir", json!(server.data_dir.display().to_string())),
            ("server", "tls_certificate_file", json!(server.tls.as_ref().map(|tls| tls.certificate_file.display().to_string()))),
            ("server", "tls_key_file", json!(server.tls.as_ref().map(|tls| tls.key_file.display().to_string()))),
            ("server", "key_file", json!(server.key_file.as_ref().map(|path| path.display().to_string()))),
            ("delivery", "timeout", json!(notation::duration(delivery.timeout_ms))),
            ("delivery", "success", success(&delivery.success)),
            ("delivery", "retry", retry(&delivery.schedule)),
            ("delivery", "max_in_flight", json!(delivery.max_in_flight)),
            ("delivery", "rate", json!(delivery.rate.map(|rate| rate.to_string()))),
            ("delivery", "ordered", json!(delivery.ordered)),
            ("delivery", "orphan_grace", json!(notation::duration(self.orphan_grace_ms))),
            ("limits", "max_in_flight", json!(limits.max_in_flight)),
            ("limits", "max_pending", json!(limits.max_pending)),
            ("limits", "max_pending_per_webhook", json!(limits.max_pending_per_webhook)),
            ("limits", "max_event_size", json!(notation::size(limits.max_event_size as u64))),
            ("limits", "max_connections", json!(limits.max_connections)),
            ("ingest", "idempotency", json!(notation::duration(ingest.idempotency_ms))),
            ("egress", "allow_networks", networks(&egress.allow_networks)),
            ("egress", "allow_ports", json!(egress.allow_ports)),
            ("egress", "require_https", json!(egress.require_https)),
            ("history", "keep", json!(notation::duration(history.keep_ms))),
            ("history", "max_size", json!(notation::size(history.max_size_bytes))),
        ]
    }

    fn add_webhooks(&self, table: &DeTable<'_>, report: &Report<'_>, values: &mut Vec<ConfigValue>) {
        let sections = table.get("webhook").and_then(|value| value.get_ref().as_array()).into_iter().flatten();
        let sections = sections.filter_map(|section| section.get_ref().as_table());
        for section in sections {
            let id = section.get("id").and_then(|id| id.get_ref().as_str()).unwrap_or_default();
            let Some(spec) = self.webhooks.iter().find(|spec| spec.id.as_str() == id) else { continue };
            for (key, _, value) in self.optional_keys(spec) {
                // What is written and the same as the default still comes from here.
                let Some(written) = section.get(key) else { continue };
                let source = report.place(written.span().start);
                values.push(ConfigValue { section: format!("webhook {id}"), key: key.to_owned(), value, source });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Environment;

    #[test]
    fn each_value_names_the_place_that_it_comes_from() {
        let text = "[limits]\nmax_pending = 77\n\n[delivery]\ntimeout = \"1500ms\"\nsuccess = [\"2xx\"]\n[[webhook]]\nid = \"crm\"\ntitle = \"CRM\"\nproject = \"shop.example.com\"\nurl = \"https://x.example/\"\nevents = [\"*\"]\nrate = \"5/s\"\nordered = false\nheaders = { authorization = \"hidden\" }\n[[token]]\nname = \"platform\"\nsha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\nprojects = [\"*\"]\n";
        let config = Config::parse(Path::new("webhooks.toml"), text, &Environment::default()).unwrap();
        let values = config.effective();
        let of = |section: &str, key: &str| {
            let found = values.iter().find(|value| value.section == section && value.key == key).unwrap();
            (found.value.clone(), found.source.as_str())
        };
        assert_eq!(of("limits", "max_pending"), (json!(77), "webhooks.toml:2"));
        assert_eq!(of("limits", "max_pending_per_webhook"), (json!(77), "default"));
        assert_eq!(of("limits", "max_event_size"), (json!("64KiB"), "default"));
        assert_eq!(of("delivery", "timeout"), (json!("1500ms"), "webhooks.toml:5"));
        assert_eq!(of("delivery", "success"), (json!(["2xx"]), "webhooks.toml:6"));
        assert_eq!(of("delivery", "rate"), (Value::Null, "default"));
        assert_eq!(of("history", "max_size"), (json!("10GiB"), "default"));
        assert_eq!(of("webhook crm", "rate"), (json!("5/s"), "webhooks.toml:13"));
        assert_eq!(of("webhook crm", "ordered"), (json!(false), "webhooks.toml:14"));
        assert_eq!(of("token platform", "projects"), (json!(["*"]), "webhooks.toml:16"));
        assert!(!format!("{values:?}").contains("hidden"));
    }

    #[test]
    fn what_a_webhook_says_and_would_be_so_anyway_is_shown_as_what_it_is() {
        let text = "[egress]\nallow_networks = [\"10.0.0.0/8\"]\n[[webhook]]\nid = \"crm\"\ntitle = \"CRM\"\nproject = \"shop.example.com\"\nurl = \"https://x.example/\"\nevents = [\"*\"]\nallow_networks = []\nsigning = \"v1\"\npaused = false\ntimeout = \"10s\"\n";
        let config = Config::parse(Path::new("webhooks.toml"), text, &Environment::default()).unwrap();
        let values = config.effective().into_iter().filter(|value| value.section == "webhook crm");
        let shown = values.map(|value| (value.key, value.value)).collect::<std::collections::BTreeMap<_, _>>();
        let expected = [("allow_networks", json!([])), ("paused", json!(false)), ("signing", json!("v1")), ("timeout", json!("10s"))];
        assert_eq!(shown, expected.map(|(key, value)| (key.to_owned(), value)).into());
    }
}

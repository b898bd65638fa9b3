//! `catalog` and `events`: what kinds of events there are, who would get one, and what was accepted. They never post any.

pub(super) mod list;

use serde_json::json;

use super::Output;
use super::client::{Body, Client};
use super::failure::Failure;
use super::screen::{Screen, Tone, Toned, uncoloured};
use crate::model::report::Explanation;
use crate::model::{EventType, EventTypeName, Project};

/// `catalog`
pub(super) fn catalog(daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let types = daemon.get::<Vec<EventType>>("/v1/catalog")?;
    output.show(&types, |types, screen| render_catalog(types, screen))
}

/// `events explain`
pub(super) fn explain(event_type: &EventTypeName, project: &Project, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let question = Body::json(&json!({ "type": event_type, "project": project }));
    let explanation = daemon.post::<Explanation>("/v1/explain", Some(question))?;
    output.show(&explanation, render_explanation)
}

fn render_catalog(types: &[EventType], screen: &Screen) -> String {
    let mut rows: Vec<Vec<Toned>> = Vec::new();
    let mut heading = String::new();
    for event_type in types {
        let own_heading = format!("{} · {}", event_type.channel, event_type.group);
        if heading != own_heading {
            heading = own_heading;
            if !rows.is_empty() {
                rows.push(vec![uncoloured("")]);
            }
            let remark = event_type.name.is_of_daemon().then(|| uncoloured("told by the daemon itself, in the project hookwheel"));
            rows.push([(Tone::Label, heading.clone())].into_iter().chain(remark).collect());
        }
        rows.push([event_type.name.as_str(), &event_type.label, &event_type.description].map(uncoloured).to_vec());
    }
    screen.rows(rows, &[0], 0)
}

fn render_explanation(explanation: &Explanation, screen: &Screen) -> String {
    let matching = explanation.webhooks.iter().filter(|webhook| webhook.matches).count();
    let all = explanation.webhooks.len();
    let headline = format!("{} of {}: {matching} of {all} webhooks would get it", explanation.event_type, explanation.project);
    let headline = screen.paint(if matching == 0 { Tone::Waiting } else { Tone::Good }, &headline);
    if explanation.webhooks.is_empty() {
        return format!("{headline}\nthere are no webhooks yet: add a [[webhook]] to webhooks.toml, then `hookwheel reload`\n");
    }
    let rows = explanation.webhooks.iter().map(|webhook| {
        let answer = if webhook.matches { (Tone::Good, "yes".to_owned()) } else { (Tone::Waiting, "no".to_owned()) };
        vec![uncoloured(webhook.id.as_str()), answer, uncoloured(webhook.because.as_str())]
    });
    format!("{headline}\n\n{}", screen.table(&["WEBHOOK", "GETS IT", "BECAUSE"], rows.collect(), &[0]))
}

#[cfg(test)]
mod tests {
    use super::super::screen::PIPE;
    use super::*;
    use crate::model::Catalog;

    #[test]
    fn the_catalogue_is_told_by_channel_and_group() {
        let catalog = Catalog::built_in();
        let text = render_catalog(&catalog.all().cloned().collect::<Vec<_>>(), &PIPE);
        let beginning =
            text.lines().take(7).map(|line| line.chars().take(70).collect::<String>().trim_end().to_owned() + "\n").collect::<String>();
        insta::assert_snapshot!(beginning, @"
        Email · Message Status
        email.status.delivered                Message is delivered
        email.status.rejected                 Message is rejected
        email.status.bounced                  Message is bounced

        Email · Contact Event
        email.contact.subscribed              Contact subscribes to Email
        ");
        assert_eq!(text.lines().filter(|line| line.contains('.') && !line.contains(" · ")).count(), 43 + 5);
        let marked = text.lines().filter(|line| line.starts_with("hookwheel · ") && line.contains("told by the daemon itself")).count();
        assert_eq!(marked, 3, "{text}");
    }

    #[test]
    fn an_explanation_names_every_webhook_with_its_reason() {
        let explanation = serde_json::from_value::<Explanation>(json!({
            "type": "email.status.bounced", "project": "shop.example.com", "webhooks": [
                { "id": "crm", "matches": true, "because": "its selector email.* wants it" },
                { "id": "billing", "matches": false, "because": "it belongs to bank.example.net" }
            ]
        }))
        .unwrap();
        insta::assert_snapshot!(render_explanation(&explanation, &PIPE), @"
        email.status.bounced of shop.example.com: 1 of 2 webhooks would get it

        WEBHOOK  GETS IT  BECAUSE
        crm      yes      its selector email.* wants it
        billing  no       it belongs to bank.example.net
        ");
        let nobody = Explanation { webhooks: Vec::new(), ..explanation };
        assert!(render_explanation(&nobody, &PIPE).contains("[[webhook]]"));
    }
}

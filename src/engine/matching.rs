//! Which webhooks want an event, and why the others do not. It never looks at what is pending.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::report::ExplainedWebhook;
use crate::model::{Catalog, EventTypeName, Project, Webhook, WebhookNumber};

/// An index from project and type to the webhooks that want it, so that accepting an event costs what it matches, not what is configured.
#[derive(Default)]
pub struct Matching {
    by_project: HashMap<Project, HashMap<EventTypeName, Vec<WebhookNumber>>>,
}

impl Matching {
    /// Builds the index over every type of `catalog`. `webhooks` are those that take new events.
    #[must_use]
    pub fn new<'a>(catalog: &Catalog, webhooks: impl IntoIterator<Item = &'a Arc<Webhook>>) -> Self {
        let mut by_project: HashMap<Project, HashMap<EventTypeName, Vec<WebhookNumber>>> = HashMap::new();
        for webhook in webhooks {
            let types = by_project.entry(webhook.spec.project.clone()).or_default();
            for event_type in
                catalog.types_of(&webhook.spec.project).iter().filter(|event_type| webhook.spec.selector_for(&event_type.name).is_some())
            {
                types.entry(event_type.name.clone()).or_default().push(webhook.number);
            }
        }
        Self { by_project }
    }

    /// The webhooks that want events of that type and project.
    #[must_use]
    pub fn wanting(&self, project: &Project, event_type: &EventTypeName) -> &[WebhookNumber] {
        self.by_project.get(project).and_then(|types| types.get(event_type)).map_or(&[], Vec::as_slice)
    }
}

/// Whether `webhook` wants such an event, and why, in words.
#[must_use]
pub fn explain(webhook: &Webhook, event_type: &EventTypeName, project: &Project) -> ExplainedWebhook {
    let spec = &webhook.spec;
    let (matches, because) = if spec.project != *project {
        (false, format!("it belongs to the project {}, not to {project}", spec.project))
    } else if event_type.is_of_daemon() != project.is_of_daemon() {
        (false, format!("there is never such an event in the project {project}"))
    } else if let Some(selector) = spec.selector_for(event_type) {
        (true, format!("its events include {:?}", selector.as_str()))
    } else {
        let wanted = spec.selectors.iter().map(|selector| format!("{:?}", selector.as_str())).collect::<Vec<_>>().join(", ");
        (false, format!("its events are {wanted}, none of which is {event_type}"))
    };
    ExplainedWebhook { id: spec.id.clone(), matches, because }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::webhook;
    use crate::model::Selector;

    #[test]
    fn the_index_agrees_with_the_explanation_for_every_type_and_project() {
        let catalog = Catalog::built_in();
        let with = |number, project: &str, selectors: &[&str]| {
            let mut made = webhook(number);
            made.spec.project = Project::parse(project).unwrap();
            made.spec.selectors = selectors.iter().map(|text| Selector::parse(text).unwrap()).collect();
            Arc::new(made)
        };
        let webhooks = [
            with(1, "shop.example.com", &["*"]),
            with(2, "shop.example.com", &["email.*", "sms.status.delivered"]),
            with(3, "news.example.org", &["*.status.delivered"]),
            with(4, "hookwheel", &["hookwheel.webhook.*"]),
        ];
        let matching = Matching::new(&catalog, &webhooks);
        let mut matches = 0;
        for project in ["shop.example.com", "news.example.org", "other.example", "hookwheel"].map(|text| Project::parse(text).unwrap()) {
            for event_type in catalog.all() {
                let wanting = matching.wanting(&project, &event_type.name);
                for one in &webhooks {
                    let explained = explain(one, &event_type.name, &project);
                    assert_eq!(explained.matches, wanting.contains(&one.number), "{explained:?}");
                    matches += usize::from(explained.matches);
                }
            }
        }
        assert_eq!(matches, 43 + 12 + 5 + 3);
    }

    #[test]
    fn the_explanation_names_the_reason() {
        let mut crm = webhook(1);
        crm.spec.selectors = vec![Selector::parse("email.*").unwrap()];
        let name = |text| EventTypeName::parse(text).unwrap();
        let project = crm.spec.project.clone();
        assert_eq!(explain(&crm, &name("email.message.read"), &project).because, "its events include \"email.*\"");
        assert_eq!(
            explain(&crm, &name("sms.message.clicked"), &project).because,
            "its events are \"email.*\", none of which is sms.message.clicked"
        );
        let other = Project::parse("müller-bücher.example").unwrap();
        assert!(explain(&crm, &name("email.message.read"), &other).because.ends_with("not to müller-bücher.example"));
    }
}

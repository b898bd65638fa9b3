//! Which webhooks want an event, and why the others do not. It never looks at what is pending.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::report::ExplainedWebhook;
use crate::model::{Catalog, EventTypeName, Project, Webhook, WebhookNumber};

/// An index from project and type to the webhooks that want it, so that accepting an event costs what it matches, not what is configured.
#[derive(Default)]
pub struct Matching {
    /// Each type's place in [`Wanted::ends`].
    types: HashMap<EventTypeName, usize>,
    by_project: HashMap<Project, Wanted>,
}

/// The webhooks of one project, type by type, in one piece: projects are many.
struct Wanted {
    numbers: Box<[WebhookNumber]>,
    /// Where in `numbers` each type ends, which is where the next one begins.
    ends: Box<[usize]>,
}

impl Matching {
    /// Builds the index over every type of `catalog`. `webhooks` are those that take new events.
    #[must_use]
    pub fn new<'a>(catalog: &Catalog, webhooks: impl IntoIterator<Item = &'a Arc<Webhook>>) -> Self {
        let types = catalog.all().enumerate().map(|(index, event_type)| (event_type.name.clone(), index)).collect();
        let mut of_projects: HashMap<&Project, Vec<&Webhook>> = HashMap::new();
        for webhook in webhooks {
            of_projects.entry(&webhook.spec.project).or_default().push(webhook);
        }
        let by_project =
            of_projects.into_iter().map(|(project, webhooks)| (project.clone(), Wanted::new(catalog, project, &webhooks))).collect();
        Self { types, by_project }
    }

    /// The webhooks that want events of that type and project.
    #[must_use]
    pub fn wanting(&self, project: &Project, event_type: &EventTypeName) -> &[WebhookNumber] {
        let Some((wanted, index)) = self.by_project.get(project).zip(self.types.get(event_type)) else { return &[] };
        let begin = index.checked_sub(1).map_or(0, |before| wanted.ends[before]);
        &wanted.numbers[begin..wanted.ends[*index]]
    }
}

impl Wanted {
    fn new(catalog: &Catalog, project: &Project, webhooks: &[&Webhook]) -> Self {
        let (mut numbers, mut ends) = (Vec::new(), Vec::new());
        for event_type in catalog.all() {
            // Those of the daemon are its own project's, and that has no others.
            let is_possible = event_type.name.is_of_daemon() == project.is_of_daemon();
            let wanting = webhooks.iter().filter(|webhook| is_possible && webhook.spec.selector_for(&event_type.name).is_some());
            numbers.extend(wanting.map(|webhook| webhook.number));
            ends.push(numbers.len());
        }
        Self { numbers: numbers.into(), ends: ends.into() }
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

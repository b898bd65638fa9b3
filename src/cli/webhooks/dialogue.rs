//! `webhooks add`, question by question: title, project, URL, and the events channel by channel. It never asks for what was named already.

use crate::cli::asking::Asker;
use crate::cli::failure::Failure;
use crate::model::{Definition, EventType, Project};

/// Asks for what is missing in a definition.
///
/// # Errors
/// When the answers end.
pub(super) fn complete(definition: &mut Definition, catalog: &[EventType], asker: &mut Asker<'_>) -> Result<(), Failure> {
    let some = |text: &str| if text.is_empty() { Err("it needs one".to_owned()) } else { Ok(text.to_owned()) };
    if definition.get("title").is_none() {
        definition.set("title", asker.ask_until("Title", "", some)?);
    }
    if definition.get("project").is_none() {
        let project = asker.ask_until("Project domain", "", Project::parse)?;
        definition.set("project", project.as_str());
    }
    if definition.get("url").is_none() {
        let url = |text: &str| match text.split_once("://") {
            Some(("http" | "https", rest)) if !rest.is_empty() => Ok(text.to_owned()),
            _ => Err("expected such as https://crm.example.com/hooks/mail".to_owned()),
        };
        definition.set("url", asker.ask_until("Endpoint URL", "", url)?);
    }
    if definition.get("events").is_none() {
        // What the daemon tells about itself is a project of its own, with events of its own.
        let is_of_daemon =
            definition.text("project").and_then(|text| Project::parse(text).ok()).is_some_and(|project| project.is_of_daemon());
        let types = catalog.iter().filter(|event_type| event_type.name.is_of_daemon() == is_of_daemon).cloned().collect::<Vec<_>>();
        let events = loop {
            let events = events(&types, asker)?;
            if !events.is_empty() {
                break events;
            }
            asker.tell("  select at least one event")?;
        };
        definition.set("events", events);
    }
    Ok(())
}

/// Asks channel by channel: all of it, nothing of it, or some.
fn events(catalog: &[EventType], asker: &mut Asker<'_>) -> Result<Vec<String>, Failure> {
    let mut selected = Vec::new();
    asker.tell("Events; for each channel: a selects all, also types that come later; Enter none; or the numbers of some, such as 1,3")?;
    for types in catalog.chunk_by(|one, next| one.name.segments()[0] == next.name.segments()[0]) {
        let Some(first) = types.first() else { continue };
        let [channel, ..] = first.name.segments();
        asker.tell(&format!("  {}", first.channel))?;
        let mut group = "";
        for (index, event_type) in types.iter().enumerate() {
            if event_type.group != group {
                group = &event_type.group;
                asker.tell(&format!("    {group}"))?;
            }
            asker.tell(&format!("      {:>2}  {}", index + 1, event_type.label))?;
        }
        selected
            .extend(asker.ask_until(&format!("  {}: a, numbers, or Enter", first.channel), "", |answer| picked(answer, channel, types))?);
    }
    Ok(selected)
}

fn picked(answer: &str, channel: &str, types: &[EventType]) -> Result<Vec<String>, String> {
    match answer.to_ascii_lowercase().as_str() {
        "" | "n" | "none" => Ok(Vec::new()),
        "a" | "all" | "*" => Ok(vec![format!("{channel}.*")]),
        numbers => numbers
            .split([',', ' '])
            .filter(|number| !number.is_empty())
            .map(|number| {
                let index = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                let event_type = index.and_then(|index| types.get(index));
                event_type
                    .map(|event_type| event_type.name.to_string())
                    .ok_or_else(|| format!("there is no {number:?}; expected numbers from 1 to {}", types.len()))
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Catalog;

    #[test]
    fn the_questions_are_those_of_the_form_and_select_all_is_one_letter() {
        let catalog = Catalog::built_in().types().to_vec();
        let answers =
            "\nCRM sync\nlocalhost\nshop.example.com\ncrm.example.com\nhttps://crm.example.com/hooks\n\n\n\n\n\na\n1,9\n1 3\n\nnone\n\n";
        let (mut input, mut prompt) = (std::io::Cursor::new(answers), Vec::new());
        let mut definition = Definition::default();
        complete(&mut definition, &catalog, &mut Asker::new(&mut input, &mut prompt)).unwrap();
        insta::assert_snapshot!(definition.to_toml(), @r#"
        [[webhook]]
        title = "CRM sync"
        project = "shop.example.com"
        url = "https://crm.example.com/hooks"
        events = ["email.*", "sms.status.delivered", "sms.contact.unsubscribed"]
        "#);
        let asked = String::from_utf8(prompt).unwrap();
        for words in [
            "it needs one",
            "is not a project",
            "expected such as https://",
            "select at least one event",
            "there is no \"9\"",
            "Contact Event",
        ] {
            assert!(asked.contains(words), "{words}: {asked}");
        }
    }

    #[test]
    fn in_the_daemons_own_project_its_own_events_are_asked_for() {
        let catalog = Catalog::built_in().all().cloned().collect::<Vec<_>>();
        let (mut input, mut prompt) = (std::io::Cursor::new("1,4\n"), Vec::new());
        let mut definition = Definition::parse(r#"{"title":"Pager","project":"hookwheel","url":"https://pager.example/"}"#).unwrap();
        complete(&mut definition, &catalog, &mut Asker::new(&mut input, &mut prompt)).unwrap();
        assert!(definition.to_toml().contains(r#"events = ["hookwheel.webhook.paused", "hookwheel.delivery.dropped"]"#), "{definition:?}");
        assert!(!String::from_utf8(prompt).unwrap().contains("Email"));
    }

    #[test]
    fn what_was_named_is_not_asked_for() {
        let mut definition =
            Definition::parse(r#"{"title":"CRM","project":"shop.example.com","url":"https://x.example/","events":["*"]}"#).unwrap();
        let (mut input, mut prompt) = (std::io::Cursor::new(""), Vec::new());
        complete(&mut definition, &[], &mut Asker::new(&mut input, &mut prompt)).unwrap();
        assert!(prompt.is_empty());
    }
}

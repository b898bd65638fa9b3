//! `[[event_type]]`: types of the operator's own, beside the built-in ones. It never changes a built-in one.

use super::mistakes::Report;
use super::notation;
use super::raw::Section;
use crate::model::catalog::{channel_label, group_label};
use crate::model::{Catalog, EventType, EventTypeName};

const TYPE: &str = "an event type in quotes, such as \"whatsapp.status.delivered\"";
const LABEL: &str = "a few words in quotes";

/// The catalogue: the built-in types and every `[[event_type]]`.
pub(super) fn catalog(file: &mut Section<'_>, report: &mut Report<'_>) -> Catalog {
    let mut catalog = Catalog::built_in();
    for mut section in file.sections("event_type", report) {
        let offset = section.offset();
        let name = section.parsed("type", TYPE, report, EventTypeName::parse);
        let label = section.parsed("label", LABEL, report, notation::label);
        let description = section.text("description", LABEL, report).map(|(text, _)| text.trim().to_owned());
        section.finish(&["type", "label"], report);
        let Some(name) = name else { continue };
        let [channel, group, _] = name.segments();
        let (channel, group) = (channel_label(channel), group_label(group));
        let added = EventType { channel, group, label: label.unwrap_or_default(), description: description.unwrap_or_default(), name };
        if let Err(sentence) = catalog.add(added) {
            report.wrong(offset, sentence);
        }
    }
    catalog
}

//! What a list of the history is narrowed to, and the small summaries by which whole blocks and files of rows are skipped. It reads nothing.

use std::collections::HashSet;

use super::row::{EndPlace, EndedRow, EventRow, Fields, Names, state_number};
use crate::model::{DeliveryState, EventTypeName, Project, Selector, Sequence, WebhookNumber};
use crate::time::UnixMillis;

/// Which ends of deliveries somebody wants to see; the default is all of them.
#[derive(Clone, Debug, Default)]
pub struct WantedEnds {
    /// Of these webhooks.
    pub webhooks: Option<HashSet<WebhookNumber>>,
    /// Of this project.
    pub project: Option<Project>,
    /// Of types that this selector wants.
    pub event_type: Option<Selector>,
    /// That ended so.
    pub state: Option<DeliveryState>,
    /// At this moment or later.
    pub since: Option<UnixMillis>,
    /// Before this moment.
    pub until: Option<UnixMillis>,
    /// Behind this one, in the order of the list.
    pub after: Option<EndPlace>,
}

/// Which events somebody wants to see; the default is all of them.
#[derive(Clone, Debug, Default)]
pub struct WantedEvents {
    /// Of this project.
    pub project: Option<Project>,
    /// Of types that this selector wants.
    pub event_type: Option<Selector>,
    /// Behind this one, in the order of the list: accepted before it.
    pub after: Option<Sequence>,
}

/// What occurs in some rows: a bit for each state, and one of a few for each webhook, project and type. A bit that is not set says that it does not occur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mask {
    pub(super) states: u32,
    pub(super) webhooks: Bits,
    pub(super) projects: Bits,
    pub(super) types: u64,
}

/// 256 bits; a number has that of its remainder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits([u64; 4]);

impl Bits {
    const ALL: Self = Self([u64::MAX; 4]);

    fn set(&mut self, number: u32) {
        self.0[(number / 64 % 4) as usize] |= 1 << (number % 64);
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).any(|(one, other)| one & other != 0)
    }
}

impl Mask {
    pub(super) const SIZE: usize = 76;

    pub(super) const ANYTHING: Self = Self { states: u32::MAX, webhooks: Bits::ALL, projects: Bits::ALL, types: u64::MAX };

    /// `webhook` is where the row's webhook stands among those of its file.
    pub(super) fn add_end(&mut self, row: &EndedRow, webhook: u32) {
        self.states |= 1 << state_number(row.state);
        self.webhooks.set(webhook);
        self.projects.set(row.project);
        self.types |= 1 << (row.event_type % 64);
    }

    pub(super) fn add_event(&mut self, row: &EventRow) {
        (self.states, self.webhooks) = (u32::MAX, Bits::ALL);
        self.projects.set(row.project);
        self.types |= 1 << (row.event_type % 64);
    }

    /// Whether a row with this summary may be one that `wanted` stands for.
    pub(super) fn may_hold(&self, wanted: &Self) -> bool {
        self.states & wanted.states != 0
            && self.types & wanted.types != 0
            && self.webhooks.overlaps(&wanted.webhooks)
            && self.projects.overlaps(&wanted.projects)
    }

    pub(super) fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.states.to_le_bytes());
        for word in self.webhooks.0.iter().chain(&self.projects.0).chain([&self.types]) {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
    }

    pub(super) fn get(fields: &mut Fields<'_>) -> Option<Self> {
        let mut mask = Self { states: fields.u32()?, ..Self::default() };
        for word in mask.webhooks.0.iter_mut().chain(&mut mask.projects.0).chain([&mut mask.types]) {
            *word = fields.u64()?;
        }
        Some(mask)
    }
}

/// A wish in the numbers of one file, or of what is in memory.
pub(super) struct Narrowed {
    /// What rows that are wanted can look like.
    pub(super) mask: Mask,
    types: Option<HashSet<u32>>,
    project: Option<u32>,
}

impl Narrowed {
    /// `None` when no row with these names can be wanted.
    fn by_names(names: &Names, project: Option<&Project>, event_type: Option<&Selector>) -> Option<Self> {
        let mut narrowed = Self { mask: Mask::ANYTHING, types: None, project: None };
        if let Some(project) = project {
            let number = names.projects.find(project)?;
            narrowed.project = Some(number);
            narrowed.mask.projects = Bits::default();
            narrowed.mask.projects.set(number);
        }
        if let Some(selector) = event_type {
            let numbered = (0_u32..).zip(names.types.list());
            let types = numbered.filter(|(_, name)| selector.matches(name)).map(|(number, _)| number).collect::<HashSet<_>>();
            narrowed.mask.types = types.iter().fold(0, |mask, number| mask | 1 << (number % 64));
            if types.is_empty() {
                return None;
            }
            narrowed.types = Some(types);
        }
        Some(narrowed)
    }

    fn fits(&self, event_type: u32, project: u32) -> bool {
        self.project.is_none_or(|wanted| wanted == project) && self.types.as_ref().is_none_or(|types| types.contains(&event_type))
    }
}

impl WantedEnds {
    /// This wish in the numbers of a file with these names; `known` are its webhooks in order, where that is known.
    pub(super) fn narrowed(&self, names: &Names, known: Option<&[WebhookNumber]>) -> Option<Narrowed> {
        let mut narrowed = Narrowed::by_names(names, self.project.as_ref(), self.event_type.as_ref())?;
        if let Some(state) = self.state {
            narrowed.mask.states = 1 << state_number(state);
        }
        if let (Some(wanted), Some(known)) = (&self.webhooks, known) {
            let positions = wanted.iter().filter_map(|number| known.binary_search(number).ok());
            narrowed.mask.webhooks = Bits::default();
            for position in positions {
                narrowed.mask.webhooks.set(u32::try_from(position).ok()?);
            }
        }
        Some(narrowed)
    }

    /// Whether everything but the names is as wanted.
    pub(super) fn fits_apart_from_names(&self, row: &EndedRow) -> bool {
        self.state.is_none_or(|state| state == row.state)
            && self.webhooks.as_ref().is_none_or(|webhooks| webhooks.contains(&row.key.webhook))
            && self.since.is_none_or(|since| row.at >= since)
            && self.until.is_none_or(|until| row.at < until)
            && self.after.is_none_or(|after| row.place() < after)
    }

    /// Whether names decide.
    pub(super) fn needs_names(&self) -> bool {
        self.project.is_some() || self.event_type.is_some()
    }

    /// Whether the names are as wanted; of an event that is gone nothing is, where names decide.
    pub(super) fn fits_names(&self, event_type: Option<&EventTypeName>, project: Option<&Project>) -> bool {
        self.project.as_ref().is_none_or(|wanted| project == Some(wanted))
            && self.event_type.as_ref().is_none_or(|wanted| event_type.is_some_and(|event_type| wanted.matches(event_type)))
    }

    /// Whether this is wanted.
    pub(super) fn fits(&self, row: &EndedRow, narrowed: &Narrowed) -> bool {
        self.fits_apart_from_names(row) && narrowed.fits(row.event_type, row.project)
    }

    /// No end that is wanted is later than this.
    pub(super) fn latest(&self) -> UnixMillis {
        let until = self.until.map_or(UnixMillis(u64::MAX), |until| UnixMillis(until.0.saturating_sub(1)));
        self.after.map_or(until, |(at, _)| at.min(until))
    }

    /// No end that is wanted is earlier than this.
    pub(super) fn earliest(&self) -> UnixMillis {
        self.since.unwrap_or_default()
    }
}

impl WantedEvents {
    /// This wish in the numbers of a file with these names.
    pub(super) fn narrowed(&self, names: &Names) -> Option<Narrowed> {
        Narrowed::by_names(names, self.project.as_ref(), self.event_type.as_ref())
    }

    /// Whether this is wanted.
    pub(super) fn fits(&self, row: &EventRow, narrowed: &Narrowed) -> bool {
        self.after.is_none_or(|after| row.sequence < after) && narrowed.fits(row.event_type, row.project)
    }

    /// No event that is wanted has a higher number than this.
    pub(super) fn latest(&self) -> Sequence {
        self.after.map_or(Sequence(u64::MAX), |after| Sequence(after.0.saturating_sub(1)))
    }
}

const _: () = assert!(Mask::SIZE == 4 + 32 + 32 + 8);

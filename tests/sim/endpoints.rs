//! Receivers that are well, fail, hang, flap, ask for patience, are gone, or are away for hours. They never know who sends.

use hookwheel::model::{Outcome, OutcomeClass};

use crate::random::Rng;

/// How a receiver behaves for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Well,
    Fails(u16),
    Hangs,
    Away,
    /// So many of a hundred attempts fail.
    Flaps(u64),
    Busy {
        retry_after_ms: u64,
    },
    Gone,
    CutsShort,
}

impl Mood {
    pub(crate) fn any(rng: &mut Rng) -> Self {
        match rng.below(14) {
            0..=4 => Self::Well,
            5 => Self::Fails(*rng.pick(&[500, 503, 302, 201, 404])),
            6 => Self::Hangs,
            7 | 8 => Self::Away,
            9 | 10 => Self::Flaps(rng.between(20, 90)),
            11 => Self::Busy { retry_after_ms: *rng.pick(&[0, 1000, 200_000, 5_000_000, u64::MAX]) },
            12 => Self::CutsShort,
            _ if rng.one_in(3) => Self::Gone,
            _ => Self::Well,
        }
    }

    /// What an attempt ends in, and how long it takes.
    pub(crate) fn answer(self, rng: &mut Rng, timeout_ms: u64) -> (Outcome, u64) {
        let quick = rng.between(1, 400);
        match self {
            Self::Well => (status(200), quick),
            Self::Fails(code) => (status(code), quick),
            Self::Hangs => (Outcome::new(OutcomeClass::ResponseTimeout, "nothing came"), timeout_ms),
            Self::Away => (Outcome::new(OutcomeClass::ConnectRefused, "refused"), rng.between(0, 3)),
            Self::Flaps(percent) if rng.percent(percent) => (status(503), quick),
            Self::Flaps(_) => (status(200), quick),
            Self::Busy { retry_after_ms } => (Outcome { retry_after_ms: Some(retry_after_ms), ..status(429) }, quick),
            Self::Gone => (status(410), quick),
            Self::CutsShort => (Outcome::new(OutcomeClass::ResponseCutShort, "half a response"), quick),
        }
    }
}

fn status(code: u16) -> Outcome {
    let class = match code {
        200 => OutcomeClass::Success,
        410 => OutcomeClass::Gone,
        300..=399 => OutcomeClass::Redirect,
        _ => OutcomeClass::Status,
    };
    Outcome { status: Some(code), ..Outcome::new(class, format!("the receiver answered {code}")) }
}

//! A moment as people name it: a time, or how long ago. It never asks what time it is.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::UnixMillis;

/// A time in RFC 3339, or an age such as `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = r"^([0-9]{1,11}[smhd]|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].+)$", "examples" = ["2h", "2026-11-23T10:00:00Z"]))]
pub enum Moment {
    /// This time.
    At(UnixMillis),
    /// So many milliseconds ago.
    AgoMs(u64),
}

impl Moment {
    /// The time that is meant, when it is `now`.
    #[must_use]
    pub const fn resolve(self, now: UnixMillis) -> UnixMillis {
        match self {
            Self::At(moment) => moment,
            Self::AgoMs(milliseconds) => UnixMillis(now.0.saturating_sub(milliseconds)),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no moment: expected an age such as 90s, 15m, 2h or 3d, or a time such as 2026-11-23T10:00:00Z");
        let unit_ms = text.chars().last().and_then(|unit| match unit {
            's' => Some(1000),
            'm' => Some(60_000),
            'h' => Some(3_600_000),
            'd' => Some(86_400_000),
            _ => None,
        });
        if let Some(unit_ms) = unit_ms {
            let digits =
                text.get(..text.len() - 1).filter(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()));
            let count = digits.and_then(|digits| digits.parse::<u64>().ok()).ok_or_else(wrong)?;
            return count.checked_mul(unit_ms).map(Self::AgoMs).ok_or_else(wrong);
        }
        let timestamp = text.parse::<jiff::Timestamp>().map_err(|_| wrong())?;
        u64::try_from(timestamp.as_millisecond()).map(|moment| Self::At(UnixMillis(moment))).map_err(|_| wrong())
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(moment) => moment.fmt(formatter),
            Self::AgoMs(milliseconds) => write!(formatter, "{}s", milliseconds / 1000),
        }
    }
}

impl TryFrom<String> for Moment {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_times_are_understood_and_survive_their_text() {
        let now = UnixMillis(1_795_428_000_000);
        for (text, ago_ms) in [("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("3d", 259_200_000), ("2026-11-23T09:59:59.500Z", 500)]
        {
            let moment = text.parse::<Moment>().unwrap();
            assert_eq!(moment.resolve(now), UnixMillis(now.0 - ago_ms), "{text}");
            assert_eq!(moment.to_string().parse::<Moment>(), Ok(moment));
        }
        assert_eq!(Moment::AgoMs(u64::MAX).resolve(now), UnixMillis(0));
    }

    #[test]
    fn what_is_no_moment_is_refused_with_what_is() {
        for wrong in
            ["", "h", "2", "-2h", "2.5h", "2 h", "yesterday", "99999999999999999999d", "18446744073709551615d", "1969-01-01T00:00:00Z", "ü"]
        {
            assert!(wrong.parse::<Moment>().unwrap_err().contains("expected an age"), "{wrong}");
        }
    }
}

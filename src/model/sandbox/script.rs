//! How a sandbox answers, as its owner told it. It never answers anything itself.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{SANDBOX_DELAY_MAX_MS, SANDBOX_FAIL_FIRST_MAX, SANDBOX_RETRY_AFTER_MAX_S};

/// How a sandbox answers. The default is 200 at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// The status; left out: 200, and 500 for what fails on purpose (503 with `retry_after_s`).
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// Every answer waits so many milliseconds.
    #[schemars(range(max = SANDBOX_DELAY_MAX_MS))]
    pub delay_ms: u64,
    /// Attempts of each delivery that fail before one succeeds; 0: `status` holds for all.
    #[schemars(range(max = SANDBOX_FAIL_FIRST_MAX))]
    pub fail_first: u32,
    /// What fails, fails by a closed connection instead of an answer; without `fail_first`, everything does.
    pub drop: bool,
    /// `Retry-After` of every answer that is no success, in seconds.
    #[schemars(range(max = SANDBOX_RETRY_AFTER_MAX_S))]
    pub retry_after_s: Option<u32>,
}

/// A script that was checked: the only way to make a sandbox behave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Script", into = "Script")]
pub struct Behaviour(Script);

/// What a sandbox does with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SandboxAnswer {
    /// The status; none: the connection is closed without an answer.
    pub status: Option<u16>,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
}

impl Behaviour {
    /// What the script says.
    #[must_use]
    pub const fn script(&self) -> &Script {
        &self.0
    }

    /// What is done with the attempt of that number, from 1.
    #[must_use]
    pub fn answer_to(&self, attempt: u32) -> SandboxAnswer {
        let Script { fail_first, drop, retry_after_s, .. } = self.0;
        let (success, failure) = self.statuses();
        if fail_first > 0 && attempt > fail_first {
            return SandboxAnswer { status: Some(success), retry_after_s: None };
        }
        if drop {
            return SandboxAnswer { status: None, retry_after_s: None };
        }
        if fail_first > 0 {
            return SandboxAnswer { status: Some(failure), retry_after_s };
        }
        SandboxAnswer { status: Some(self.0.status.unwrap_or(200)), retry_after_s }
    }

    /// The status after the failures, and that of the failures.
    fn statuses(&self) -> (u16, u16) {
        let failure = if self.0.retry_after_s.is_some() { 503 } else { 500 };
        match self.0.status {
            Some(status) if status < 300 => (status, failure),
            Some(status) => (200, status),
            None => (200, failure),
        }
    }
}

impl TryFrom<Script> for Behaviour {
    type Error = String;

    fn try_from(script: Script) -> Result<Self, String> {
        let Script { status, delay_ms, fail_first, drop, retry_after_s } = script;
        if let Some(status) = status.filter(|status| !(200..=599).contains(status)) {
            return Err(format!("the status {status} can't be answered: expected 200 to 599"));
        }
        if delay_ms > SANDBOX_DELAY_MAX_MS {
            return Err(format!("a delay of {delay_ms} ms is too long: at most {} s", SANDBOX_DELAY_MAX_MS / 1000));
        }
        if fail_first > SANDBOX_FAIL_FIRST_MAX {
            return Err(format!("{fail_first} failures are too many: at most {SANDBOX_FAIL_FIRST_MAX}"));
        }
        if drop && retry_after_s.is_some() {
            return Err("a connection that is dropped carries no Retry-After: choose one of the two".into());
        }
        if drop && status.is_some_and(|status| fail_first == 0 || status >= 300) {
            return Err("a connection that is dropped carries no status: choose one of the two".into());
        }
        let fails = fail_first > 0 || status.is_some_and(|status| status >= 300);
        match retry_after_s {
            Some(_) if !fails => Err("Retry-After goes with a failure: add fail-first, or a status such as 503 or 429".into()),
            Some(seconds) if seconds > SANDBOX_RETRY_AFTER_MAX_S => {
                Err(format!("a Retry-After of {seconds} s is too long: at most {SANDBOX_RETRY_AFTER_MAX_S} s"))
            }
            _ => Ok(Self(script)),
        }
    }
}

impl From<Behaviour> for Script {
    fn from(behaviour: Behaviour) -> Self {
        behaviour.0
    }
}

/// In a few words: `answers 200`, `fails attempts 1 to 2 with 503, Retry-After 5 s, then answers 200, each after 2 s`.
impl fmt::Display for Behaviour {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Script { status, delay_ms, fail_first, drop, retry_after_s } = self.0;
        let (success, failure) = self.statuses();
        let which = if fail_first == 1 { "attempt 1".to_owned() } else { format!("attempts 1 to {fail_first}") };
        match (fail_first, drop) {
            (0, true) => formatter.write_str("drops every connection")?,
            (0, false) => write!(formatter, "answers {}", status.unwrap_or(200))?,
            (_, true) => write!(formatter, "drops {which}")?,
            (_, false) => write!(formatter, "fails {which} with {failure}")?,
        }
        if let Some(seconds) = retry_after_s {
            write!(formatter, ", Retry-After {seconds} s")?;
        }
        if fail_first > 0 {
            write!(formatter, ", then answers {success}")?;
        }
        match delay_ms {
            0 => Ok(()),
            whole if whole.is_multiple_of(1000) => write!(formatter, ", each after {} s", whole / 1000),
            _ => write!(formatter, ", each after {delay_ms} ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behaviour(json: &str) -> Result<Behaviour, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn a_script_says_what_each_attempt_gets() {
        let cases = [
            ("{}", "answers 200", ["200", "200", "200"]),
            (r#"{"status":404}"#, "answers 404", ["404"; 3]),
            (r#"{"fail_first":2}"#, "fails attempts 1 to 2 with 500, then answers 200", ["500", "500", "200"]),
            (r#"{"fail_first":1,"status":204}"#, "fails attempt 1 with 500, then answers 204", ["500", "204", "204"]),
            (r#"{"fail_first":1,"status":429}"#, "fails attempt 1 with 429, then answers 200", ["429", "200", "200"]),
            (
                r#"{"fail_first":1,"retry_after_s":5}"#,
                "fails attempt 1 with 503, Retry-After 5 s, then answers 200",
                ["503 5", "200", "200"],
            ),
            (r#"{"status":503,"retry_after_s":5}"#, "answers 503, Retry-After 5 s", ["503 5"; 3]),
            (r#"{"drop":true}"#, "drops every connection", ["dropped"; 3]),
            (r#"{"drop":true,"fail_first":1}"#, "drops attempt 1, then answers 200", ["dropped", "200", "200"]),
            (r#"{"delay_ms":2000}"#, "answers 200, each after 2 s", ["200"; 3]),
            (r#"{"delay_ms":250}"#, "answers 200, each after 250 ms", ["200"; 3]),
        ];
        for (json, words, expected) in cases {
            let behaviour = behaviour(json).unwrap();
            let told = [1, 2, 3].map(|attempt| match behaviour.answer_to(attempt) {
                SandboxAnswer { status: None, .. } => "dropped".to_owned(),
                SandboxAnswer { status: Some(status), retry_after_s: None } => status.to_string(),
                SandboxAnswer { status: Some(status), retry_after_s: Some(seconds) } => format!("{status} {seconds}"),
            });
            assert_eq!((behaviour.to_string().as_str(), told), (words, expected.map(str::to_owned)), "{json}");
        }
    }

    #[test]
    fn a_script_that_makes_no_sense_is_refused_with_what_to_do() {
        let cases = [
            (r#"{"status":199}"#, "200 to 599"),
            (r#"{"status":600}"#, "200 to 599"),
            (r#"{"delay_ms":60001}"#, "at most 60 s"),
            (r#"{"fail_first":101}"#, "at most 100"),
            (r#"{"retry_after_s":5}"#, "fail-first"),
            (r#"{"drop":true,"fail_first":1,"retry_after_s":5}"#, "choose one"),
            (r#"{"drop":true,"status":500}"#, "choose one"),
            (r#"{"fail_first":1,"retry_after_s":100000}"#, "at most"),
            (r#"{"dorp":true}"#, "unknown field"),
        ];
        for (json, expected) in cases {
            let error = behaviour(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}

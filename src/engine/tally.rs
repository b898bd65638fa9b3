//! What was counted of one webhook since the start, and since when it has been failing. It decides nothing.

use crate::time::UnixMillis;

/// What a lane counted since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Deliveries delivered.
    pub delivered: u64,
    /// Deliveries dropped.
    pub dropped: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// The last failure in words, when nothing succeeded since.
    pub trouble: Option<String>,
    /// When the first failure came that no success followed.
    pub trouble_since: Option<UnixMillis>,
}

impl Tally {
    /// Notes a failure.
    pub fn failed(&mut self, sentence: String, now: UnixMillis) {
        self.trouble = Some(sentence);
        self.trouble_since.get_or_insert(now);
    }

    /// Notes a success.
    pub fn succeeded(&mut self) {
        (self.trouble, self.trouble_since) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_as_old_as_its_first_failure_and_ends_with_a_success() {
        let mut tally = Tally::default();
        tally.failed("one".into(), UnixMillis(5));
        tally.failed("two".into(), UnixMillis(9));
        assert_eq!((tally.trouble.as_deref(), tally.trouble_since), (Some("two"), Some(UnixMillis(5))));
        tally.succeeded();
        assert_eq!(tally, Tally::default());
    }
}

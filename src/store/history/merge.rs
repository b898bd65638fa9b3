//! Lists from many sources, the highest rows first, reading no more of each than is needed. It never holds more than one run of a source.

use std::collections::BinaryHeap;

use super::index::IndexError;

/// An index that gives nothing.
#[derive(Debug, thiserror::Error)]
#[error("the index of segment {segment}: {error}")]
pub(super) struct Trouble {
    pub(super) segment: u32,
    pub(super) error: IndexError,
}

/// Rows with where they stand, the highest first.
pub(super) type Run<S> = Vec<(<S as Source>::Place, <S as Source>::Row)>;

/// Rows that come in runs; all of one run stand higher than all of the next.
pub(super) trait Source {
    /// By which rows are sorted.
    type Place: Ord + Copy;
    /// What comes out.
    type Row;

    /// None of its rows stands higher.
    fn highest(&self) -> Self::Place;

    /// The next run, the highest row first and never empty; `None` at the end.
    fn next_run(&mut self) -> Result<Option<Run<Self>>, Trouble>;
}

/// A source that was begun, with the rest of its present run.
struct Begun<S: Source> {
    source: S,
    run: std::vec::IntoIter<(S::Place, S::Row)>,
    head: Option<S::Row>,
}

impl<S: Source> Begun<S> {
    /// Brings the next row to the head, and says where it stands.
    fn advance(&mut self) -> Result<Option<S::Place>, Trouble> {
        let mut next = self.run.next();
        if next.is_none() {
            self.run = self.source.next_run()?.unwrap_or_default().into_iter();
            next = self.run.next();
        }
        let (place, head) = next.unzip();
        self.head = head;
        Ok(place)
    }
}

/// The `limit` highest rows of all sources together.
///
/// # Errors
/// [`Trouble`] of a source.
pub(super) fn highest<S: Source>(mut waiting: Vec<S>, limit: usize) -> Result<Vec<S::Row>, Trouble> {
    waiting.sort_by_key(Source::highest);
    let mut begun: Vec<Begun<S>> = Vec::new();
    let mut heads = BinaryHeap::new();
    let mut found = Vec::new();
    while found.len() < limit {
        while waiting.last().is_some_and(|next| heads.peek().is_none_or(|(place, _)| next.highest() >= *place)) {
            let Some(source) = waiting.pop() else { break };
            let mut one = Begun { source, run: Vec::new().into_iter(), head: None };
            if let Some(place) = one.advance()? {
                heads.push((place, begun.len()));
                begun.push(one);
            }
        }
        let Some((_, index)) = heads.pop() else { break };
        found.extend(begun[index].head.take());
        if let Some(place) = begun[index].advance()? {
            heads.push((place, index));
        }
    }
    Ok(found)
}

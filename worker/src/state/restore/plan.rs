//! Which part of a changelog a store needs.

use crate::log::{Bounds, TopicId};
use crate::state::{Position, WipeReason};

/// What to do before a store is at its changelog's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restore {
    UpToDate,
    Replay(Span),
    /// Its rows don't belong to this changelog: [`Stores::wipe`](crate::state::Stores::wipe), then replay.
    WipeAndReplay(WipeReason, Span),
}

/// Offsets of a changelog, `from` included, `to` not. Both may be equal: then only the position is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub topic_id: TopicId,
    pub from: i64,
    pub to: i64,
}

impl Restore {
    /// `stored` is the store's position, the rest is the changelog as it is now. Its end has to be asked *after* the committed offset of
    /// the task's input, or updates that this offset stands for are missed.
    pub fn plan(stored: Option<Position>, topic_id: TopicId, bounds: Bounds) -> Self {
        let rebuild = Span { topic_id, from: bounds.start, to: bounds.end };
        let Some(stored) = stored else {
            return Self::Replay(rebuild);
        };
        if is_other(stored.topic_id, topic_id) {
            Self::WipeAndReplay(WipeReason::OtherChangelog, rebuild)
        } else if !(bounds.start..=bounds.end).contains(&stored.next_offset) {
            Self::WipeAndReplay(WipeReason::OffsetOutOfRange, rebuild)
        } else if stored.next_offset == bounds.end {
            Self::UpToDate
        } else {
            Self::Replay(Span { from: stored.next_offset, ..rebuild })
        }
    }
}

/// Ids that aren't known can't differ.
fn is_other(stored: TopicId, now: TopicId) -> bool {
    let unknown = TopicId::default();
    stored != now && stored != unknown && now != unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: TopicId = [1; 16];
    const BOUNDS: Bounds = Bounds { start: 10, end: 20 };

    fn plan(stored: Option<i64>, bounds: Bounds) -> Restore {
        let position = |next_offset| Position { topic_id: CHANGELOG, next_offset, leader_epoch: 0, written_at: 0 };
        Restore::plan(stored.map(position), CHANGELOG, bounds)
    }

    fn span(from: i64, to: i64) -> Span {
        Span { topic_id: CHANGELOG, from, to }
    }

    #[test]
    fn a_new_store_needs_all_of_it_even_if_that_is_nothing() {
        assert_eq!(plan(None, BOUNDS), Restore::Replay(span(10, 20)));
        assert_eq!(plan(None, Bounds { start: 20, end: 20 }), Restore::Replay(span(20, 20)));
    }

    #[test]
    fn a_store_within_the_log_needs_the_rest() {
        assert_eq!(plan(Some(10), BOUNDS), Restore::Replay(span(10, 20)));
        assert_eq!(plan(Some(19), BOUNDS), Restore::Replay(span(19, 20)));
        assert_eq!(plan(Some(20), BOUNDS), Restore::UpToDate);
    }

    #[test]
    fn a_store_outside_of_the_log_is_rebuilt() {
        let rebuilt = Restore::WipeAndReplay(WipeReason::OffsetOutOfRange, span(10, 20));
        assert_eq!(plan(Some(9), BOUNDS), rebuilt, "the log has lost records that it needs");
        assert_eq!(plan(Some(21), BOUNDS), rebuilt, "the log was cut: it has rows of records that aren't there");
    }

    #[test]
    fn the_store_of_a_changelog_that_was_made_anew_is_rebuilt_wherever_it_stood() {
        let stored = Position { topic_id: [2; 16], next_offset: 15, leader_epoch: 0, written_at: 0 };
        let rebuilt = Restore::WipeAndReplay(WipeReason::OtherChangelog, span(10, 20));
        assert_eq!(Restore::plan(Some(stored), CHANGELOG, BOUNDS), rebuilt);
        assert_eq!(Restore::plan(Some(Position { next_offset: 20, ..stored }), CHANGELOG, BOUNDS), rebuilt);
    }

    #[test]
    fn an_unknown_topic_id_is_no_reason_to_rebuild() {
        let stored = Position { topic_id: TopicId::default(), next_offset: 20, leader_epoch: 0, written_at: 0 };
        assert_eq!(Restore::plan(Some(stored), CHANGELOG, BOUNDS), Restore::UpToDate);
        assert_eq!(Restore::plan(Some(Position { topic_id: CHANGELOG, ..stored }), TopicId::default(), BOUNDS), Restore::UpToDate);
    }
}

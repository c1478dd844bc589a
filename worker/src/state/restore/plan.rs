//! Which part of a changelog a store needs.

use std::time::Duration;

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
    /// When the end was asked, in milliseconds since the epoch: whoever gets there was there then.
    pub asked_at: i64,
}

/// A changelog as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChangelogFacts {
    pub topic_id: TopicId,
    /// The end has to be asked *after* the committed offset of the task's input, or updates that this offset stands for are missed.
    pub bounds: Bounds,
    /// When they were asked, in milliseconds since the epoch.
    pub asked_at: i64,
    /// Where the leader's epoch ends that the store has read last, if the log knows it.
    pub epoch_end: Option<i64>,
    /// How long a tombstone is certainly kept, if that is known.
    pub tombstone_life: Option<Duration>,
}

impl Restore {
    /// What a store at this position needs.
    pub fn plan(stored: Option<Position>, changelog: &ChangelogFacts) -> Self {
        let ChangelogFacts { topic_id, bounds, asked_at, .. } = *changelog;
        let rebuild = Span { topic_id, from: bounds.start, to: bounds.end, asked_at };
        let Some(stored) = stored else {
            return Self::Replay(rebuild);
        };
        match misfit(&stored, changelog) {
            Some(reason) => Self::WipeAndReplay(reason, rebuild),
            None if stored.next_offset == bounds.end => Self::UpToDate,
            None => Self::Replay(Span { from: stored.next_offset, ..rebuild }),
        }
    }
}

/// Why the rest of the changelog would not make the store what the changelog says.
fn misfit(stored: &Position, changelog: &ChangelogFacts) -> Option<WipeReason> {
    let ChangelogFacts { topic_id, bounds, epoch_end, .. } = *changelog;
    if is_other(stored.topic_id, topic_id) {
        Some(WipeReason::OtherChangelog)
    } else if !(bounds.start..=bounds.end).contains(&stored.next_offset) {
        Some(WipeReason::OffsetOutOfRange)
    } else if epoch_end.is_some_and(|end| end < stored.next_offset) {
        Some(WipeReason::LogDiverged)
    } else if stored.next_offset < bounds.end && changelog.may_lack_tombstones(stored.written_at) {
        Some(WipeReason::TombstonesExpired)
    } else {
        None
    }
}

impl ChangelogFacts {
    /// Whether a tombstone behind a position that was the end at `written_at` may have come and gone since. Half of its life is left
    /// for the clocks, and for the restore itself.
    fn may_lack_tombstones(&self, written_at: i64) -> bool {
        let age = self.asked_at.saturating_sub(written_at);
        self.tombstone_life.is_some_and(|life| written_at > 0 && age > (life / 2).as_millis() as i64)
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
    use crate::time::secs;

    const CHANGELOG: TopicId = [1; 16];
    const BOUNDS: Bounds = Bounds { start: 10, end: 20 };
    const FACTS: ChangelogFacts =
        ChangelogFacts { topic_id: CHANGELOG, bounds: BOUNDS, asked_at: 100_000, epoch_end: None, tombstone_life: None };

    fn at(next_offset: i64) -> Position {
        Position { topic_id: CHANGELOG, next_offset, leader_epoch: 0, written_at: 1_000 }
    }

    fn plan(stored: Option<i64>, bounds: Bounds) -> Restore {
        Restore::plan(stored.map(at), &ChangelogFacts { bounds, ..FACTS })
    }

    fn span(from: i64, to: i64) -> Span {
        Span { topic_id: CHANGELOG, from, to, asked_at: 100_000 }
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
        for next_offset in [15, 20] {
            let stored = Position { topic_id: [2; 16], ..at(next_offset) };
            let rebuilt = Restore::WipeAndReplay(WipeReason::OtherChangelog, span(10, 20));
            assert_eq!(Restore::plan(Some(stored), &FACTS), rebuilt);
        }
    }

    #[test]
    fn an_unknown_topic_id_is_no_reason_to_rebuild() {
        let stored = Position { topic_id: TopicId::default(), ..at(20) };
        assert_eq!(Restore::plan(Some(stored), &FACTS), Restore::UpToDate);
        let unknown = ChangelogFacts { topic_id: TopicId::default(), ..FACTS };
        assert_eq!(Restore::plan(Some(at(20)), &unknown), Restore::UpToDate);
    }

    #[test]
    fn a_store_that_has_read_beyond_the_end_of_its_epoch_has_rows_of_records_that_are_gone() {
        let planned = |stored, epoch_end| Restore::plan(Some(at(stored)), &ChangelogFacts { epoch_end, ..FACTS });
        let rebuilt = Restore::WipeAndReplay(WipeReason::LogDiverged, span(10, 20));
        assert_eq!((planned(16, Some(15)), planned(20, Some(19))), (rebuilt, rebuilt));
        assert_eq!(planned(15, Some(15)), Restore::Replay(span(15, 20)));
        assert_eq!(planned(16, None), Restore::Replay(span(16, 20)), "an epoch that the log doesn't know says nothing");
    }

    #[test]
    fn a_store_that_may_lack_tombstones_is_rebuilt_unless_nothing_has_come_since() {
        let planned = |stored, written_at, life: Option<u64>| {
            let facts = ChangelogFacts { tombstone_life: life.map(secs), ..FACTS };
            Restore::plan(Some(Position { written_at, ..at(stored) }), &facts)
        };
        let (rebuilt, replay) =
            (Restore::WipeAndReplay(WipeReason::TombstonesExpired, span(10, 20)), Restore::Replay(span(15, 20)));
        assert_eq!((planned(15, 89_999, Some(20)), planned(15, 90_000, Some(20))), (rebuilt, replay), "older than half of 20 s");
        assert_eq!(planned(20, 1_000, Some(20)), Restore::UpToDate, "it had passed all that there is");
        assert_eq!(planned(15, 1_000, None), replay, "a life that isn't known");
        assert_eq!(planned(15, 0, Some(20)), replay, "an age that isn't known");
        assert_eq!(planned(15, 200_000, Some(20)), replay, "a clock that was wrong");
    }
}

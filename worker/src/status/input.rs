//! One input partition of a task: how far it is, what it dropped, and that it stands still.

use std::sync::Mutex;

use super::basics::{Counter, Gauge};
use crate::time::TopicPartition;

/// One input partition.
pub(crate) struct InputMeter {
    pub partition: TopicPartition,
    pub agent: &'static str,
    pub records: Counter,
    /// The committed offset: of the next record to read.
    pub committed: Gauge,
    /// The log's end when it was last asked, or behind the last record that was read: whichever was later.
    pub end: Gauge,
    /// The last record that was read.
    pub last: Gauge,
    /// Times that a fetch was begun.
    pub fetches: Counter,
    drops: [Counter; DropReason::ALL.len()],
    silence: Mutex<Option<Silence>>,
}

/// What is said of an input that has records and stands still, when nothing else says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Silence {
    pub sentence: String,
    /// The worker is unready for it.
    pub too_long: bool,
}

impl InputMeter {
    pub fn new(partition: TopicPartition, agent: &'static str) -> Self {
        Self {
            partition,
            agent,
            records: Counter::default(),
            committed: Gauge::default(),
            end: Gauge::default(),
            last: Gauge::default(),
            fetches: Counter::default(),
            drops: Default::default(),
            silence: Mutex::default(),
        }
    }

    /// A fetch begins, at the committed offset: nothing of it was read yet.
    pub fn begin_fetch(&self) {
        self.fetches.add(1);
        self.last.set(-1);
    }

    /// What is to be said of it from now on.
    pub fn say(&self, silence: Option<Silence>) {
        let before = std::mem::replace(&mut *self.silence.lock().unwrap(), silence.clone());
        match (before, silence) {
            (None, Some(Silence { sentence, .. })) => tracing::warn!("{sentence}"),
            (Some(_), None) => tracing::info!("{}: its silence is over", self.partition),
            _ => {}
        }
    }

    /// Nothing is said of it any more: it is no longer this task's, or begins anew.
    pub fn say_nothing(&self) {
        *self.silence.lock().unwrap() = None;
    }

    pub fn silence(&self) -> Option<Silence> {
        self.silence.lock().unwrap().clone()
    }

    pub fn dropped(&self, reason: DropReason, n: u64) {
        self.drops[reason as usize].add(n);
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].get()
    }

    /// A record was read, so the log goes further than it. Without this a lag would be 0 whenever a commit is newer than the last
    /// question for the end, which is most of the time while few records flow.
    pub fn saw(&self, offset: i64) {
        self.last.set(offset);
        if (0..=offset).contains(&self.end.get()) {
            self.end.set(offset + 1);
        }
    }

    /// The offsets aren't known.
    pub(super) fn forget(&self) {
        self.committed.set(-1);
        self.end.set(-1);
        self.last.set(-1);
    }

    /// Records between the committed offset and the log's end; none while one of them isn't known.
    pub fn lag(&self) -> Option<i64> {
        let (committed, end) = (self.committed.get(), self.end.get());
        (committed >= 0 && end >= 0).then(|| (end - committed).max(0))
    }
}

/// Why a record was not processed. Every drop counts exactly once (invariant I10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// It didn't decode, and `on-decode-error` says skip.
    Decode,
    /// Retention deleted it before the group read it.
    InputExpired,
}

impl DropReason {
    pub const ALL: [Self; 2] = [Self::Decode, Self::InputExpired];

    pub fn label(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::InputExpired => "input_expired",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::readiness::{Reason, Unready};
    use crate::status::{Stage, Status, TaskMeter};
    use crate::topology::TaskId;

    #[test]
    fn the_lag_is_at_least_what_was_read_since_the_commit() {
        let input = InputMeter::new(TopicPartition::new("views", 0), "count");
        input.saw(7);
        assert_eq!(input.lag(), None, "the end was never told");
        input.end.set(10);
        input.committed.set(30);
        input.saw(41);
        assert_eq!(input.lag(), Some(12), "the question for the end is older than the commit");
        input.end.set(100);
        input.saw(42);
        assert_eq!(input.lag(), Some(70));
    }

    #[test]
    fn a_silent_input_is_its_tasks_problem_and_keeps_the_worker_from_being_ready_once_it_is_too_long() {
        let status = Status::new("shop");
        let id = TaskId { group: 0, partition: 0 };
        let input = Arc::new(InputMeter::new(TopicPartition::new("views", 0), "count"));
        let task = status.task(id, || TaskMeter::new(id, 0, vec![input.clone()], vec![]));
        status.wanted.set(1);
        task.enter(Stage::Running);
        let silent = |too_long| input.say(Some(Silence { sentence: "views[0]: silent".into(), too_long }));
        silent(false);
        assert_eq!((task.problem().as_deref(), status.running()), (Some("views[0]: silent"), Ok(())));
        assert!(!status.explains(&task), "what was found out from outside is no reason to look away");
        silent(true);
        assert_eq!(status.running(), Err(Unready::new(Reason::TaskStopped, "task 0_0: views[0]: silent")));
        input.say(None);
        assert_eq!((task.problem(), status.running()), (None, Ok(())));
        silent(true);
        task.enter(Stage::Draining);
        assert_eq!(task.problem(), None, "of a new stage nothing is known yet");
    }
}

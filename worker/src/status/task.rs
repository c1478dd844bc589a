//! One task, over all its epochs on this worker: its tables, and what is in its way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::PATIENCE;
use super::basics::{Counter, Gauge, Notice};
use super::input::InputMeter;
use crate::readiness::{Reason, Unready};
use crate::rt::{self, Instant};
use crate::state::{Horizon, Position, Progress, WipeReason};
use crate::topology::TaskId;

/// What a worker is to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It processes the task's records and writes its tables.
    Active,
    /// It keeps a copy of the task's tables.
    Standby,
}

impl Role {
    pub fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
        }
    }
}

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not this worker's (any more).
    Absent,
    Opening,
    Restoring,
    Running,
    Draining,
}

impl Stage {
    pub fn label(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Opening => "opening",
            Self::Restoring => "restoring",
            Self::Running => "running",
            Self::Draining => "draining",
        }
    }
}

/// One task, over all its epochs on this worker.
pub(crate) struct TaskMeter {
    pub id: TaskId,
    pub shard: usize,
    pub inputs: Vec<Arc<InputMeter>>,
    pub tables: Vec<Arc<TableMeter>>,
    /// Of the running epoch.
    pub epoch: Gauge,
    pub epochs: Counter,
    pub commits: Counter,
    /// Commits in a row that the task sat out, because an agent was in the middle of an event.
    pub missed_commits: Gauge,
    /// Times that the task dropped its work and read again from the committed offset.
    pub starts_over: Counter,
    role: Mutex<Role>,
    stage: Mutex<Stage>,
    pub(super) problem: Notice,
    /// Why an input stands still for the rest of the epoch.
    pause: Notice,
    /// Kafka can't be reached, since when, and what it said.
    away: Mutex<Option<(String, Instant)>>,
}

impl TaskMeter {
    pub fn new(id: TaskId, shard: usize, inputs: Vec<Arc<InputMeter>>, tables: Vec<Arc<TableMeter>>) -> Self {
        Self {
            id,
            shard,
            inputs,
            tables,
            epoch: Gauge::default(),
            epochs: Counter::default(),
            commits: Counter::default(),
            missed_commits: Gauge::default(),
            starts_over: Counter::default(),
            role: Mutex::new(Role::Active),
            stage: Mutex::new(Stage::Absent),
            problem: Notice::default(),
            pause: Notice::default(),
            away: Mutex::default(),
        }
    }

    pub fn stage(&self) -> Stage {
        *self.stage.lock().unwrap()
    }

    /// What this worker is to the task, or was when it had it last.
    pub fn role(&self) -> Role {
        *self.role.lock().unwrap()
    }

    pub fn set_role(&self, role: Role) {
        *self.role.lock().unwrap() = role;
    }

    pub(super) fn has_role(&self, role: Role) -> bool {
        self.stage() != Stage::Absent && self.role() == role
    }

    /// How many changelog records this worker's copy of the task's tables lacks; none without a copy, or while that isn't known.
    pub fn copy_lag(&self) -> Option<u64> {
        if self.tables.is_empty() || (self.has_role(Role::Active) && self.stage() == Stage::Running) {
            return Some(0);
        }
        self.tables.iter().map(|table| table.lag()).sum()
    }

    /// A new stage; whatever was in the way is over.
    pub fn enter(&self, stage: Stage) {
        if stage == Stage::Opening {
            // What an earlier epoch knew is old: another worker may have had the task since.
            self.inputs.iter().for_each(|input| input.forget());
        }
        *self.stage.lock().unwrap() = stage;
        self.inputs.iter().for_each(|input| input.say_nothing());
        self.problem.clear();
        self.pause.clear();
    }

    /// What keeps the task from going on, in one sentence.
    pub fn problem(&self) -> Option<String> {
        self.explanation().or_else(|| self.inputs.iter().find_map(|input| input.silence()).map(|silence| silence.sentence))
    }

    /// The same, as the task itself has it: nobody had to find out.
    fn explanation(&self) -> Option<String> {
        self.stopped().or_else(|| self.away.lock().unwrap().as_ref().map(|(sentence, _)| sentence.clone()))
    }

    /// Whether the task says why it doesn't go on: by a sentence, or by the commits that it misses.
    pub(super) fn is_explained(&self) -> bool {
        self.missed_commits.get() > 0 || self.explanation().is_some()
    }

    /// A problem that makes the worker unready: Kafka that went away does so only after a while, for it comes back by itself.
    pub(super) fn unready(&self) -> Option<Unready> {
        let long_away = || {
            let away = self.away.lock().unwrap();
            let (why, _) = away.as_ref().filter(|(_, since)| since.elapsed() > PATIENCE)?;
            Some(Unready::new(Reason::WaitingForKafka, why))
        };
        let silent = || {
            let silence = self.inputs.iter().filter_map(|input| input.silence()).find(|silence| silence.too_long)?;
            Some(Unready::new(Reason::TaskStopped, silence.sentence))
        };
        self.stopped().map(|why| Unready::new(Reason::TaskStopped, why)).or_else(long_away).or_else(silent)
    }

    fn stopped(&self) -> Option<String> {
        self.pause.get().or_else(|| self.problem.get())
    }

    /// Kafka can't be reached; the client goes on trying.
    pub fn away(&self, sentence: String) {
        let mut away = self.away.lock().unwrap();
        if away.is_none() {
            tracing::warn!("task {}: {sentence}", self.id);
        }
        let since = away.as_ref().map_or_else(rt::now, |(_, since)| *since);
        *away = Some((sentence, since));
    }

    /// Kafka has answered.
    pub fn back(&self) {
        if self.away.lock().unwrap().take().is_some() {
            tracing::info!("task {}: Kafka is back", self.id);
        }
    }

    pub fn wait_for(&self, sentence: String) {
        self.problem.say(&format_args!("task {}", self.id), sentence);
    }

    pub fn go_on(&self) {
        self.problem.clear();
    }

    /// What it waits for and then goes on.
    #[cfg(test)]
    pub fn waiting(&self) -> Option<String> {
        self.problem.get()
    }

    /// An input stands still until the task is opened anew.
    pub fn pause(&self, sentence: String) {
        self.pause.say(&format_args!("task {}", self.id), sentence);
    }
}

/// One partition of one table.
pub(crate) struct TableMeter {
    pub table: &'static str,
    pub partition: u32,
    /// Records written to the changelog.
    pub changed: Counter,
    /// Records read from the changelog to rebuild the store.
    pub restored: Counter,
    /// Records that came as a standby, behind those.
    pub followed: Counter,
    /// The changelog offset that the store has reached.
    pub stored: Gauge,
    /// When the store was known to be at the changelog's end, as it says itself: milliseconds since the epoch.
    pub written_at: Gauge,
    /// The changelog offset that survives `kill -9`.
    pub flushed: Gauge,
    /// The changelog's end, for those that follow it.
    pub horizon: Horizon,
    wipes: Mutex<BTreeMap<WipeReason, u64>>,
    restore: Mutex<Option<Arc<Progress>>>,
}

impl TableMeter {
    pub fn new(table: &'static str, partition: u32) -> Self {
        Self {
            table,
            partition,
            changed: Counter::default(),
            restored: Counter::default(),
            followed: Counter::default(),
            stored: Gauge::default(),
            written_at: Gauge::default(),
            flushed: Gauge::default(),
            horizon: Horizon::default(),
            wipes: Default::default(),
            restore: Mutex::default(),
        }
    }

    pub fn wiped(&self, reason: WipeReason) {
        *self.wipes.lock().unwrap().entry(reason).or_default() += 1;
    }

    /// How often the store was emptied, by reason.
    pub fn wipes(&self) -> BTreeMap<WipeReason, u64> {
        self.wipes.lock().unwrap().clone()
    }

    /// What the store says of itself now.
    pub fn store_at(&self, position: &Position) {
        self.stored.set(position.next_offset);
        self.written_at.set(position.written_at);
    }

    /// How many changelog records the store lacks, as far as known: offsets, an upper bound.
    pub fn lag(&self) -> Option<u64> {
        let stored = self.stored.get();
        Some((self.horizon.end()? - stored).max(0) as u64).filter(|_| stored >= 0)
    }

    /// The restore under way.
    pub fn restore(&self) -> Option<Arc<Progress>> {
        self.restore.lock().unwrap().clone()
    }

    pub fn set_restore(&self, progress: Option<Arc<Progress>>) {
        *self.restore.lock().unwrap() = progress;
    }
}

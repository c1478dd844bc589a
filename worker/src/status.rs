//! What a worker can tell about itself: counters that the shards keep and everybody else reads.
//!
//! A shard never waits for a reader, and a stuck shard can still be read about. The HTTP pages and the metrics are views of this.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::readiness::{Reason, Unready};
use crate::rt::{self, Instant};
use crate::state::{Horizon, Position, Progress, Together, WipeReason};
use crate::time::TopicPartition;
use crate::topology::TaskId;

mod shard;

pub(crate) use shard::{Polled, ShardMeter};

/// A number that only rises. One thread adds at a time, so that adding is a load and a store and no locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.store(self.get() + n, Ordering::Relaxed);
    }
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that is set. −1 where it isn't known.
#[derive(Debug)]
pub(crate) struct Gauge(AtomicI64);

impl Default for Gauge {
    fn default() -> Self {
        Self(AtomicI64::new(-1))
    }
}

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
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

/// What something waits for, in one sentence: logged when it changes, and again every 30 s while it lasts or keeps coming back.
#[derive(Default)]
struct Notice(Mutex<Said>);

#[derive(Default)]
struct Said {
    now: Option<String>,
    since: Option<Instant>,
    logged: Option<(String, Instant)>,
}

impl Notice {
    const REMIND: Duration = Duration::from_secs(30);

    fn say(&self, who: &dyn std::fmt::Display, sentence: String) {
        let mut said = self.0.lock().unwrap();
        let news = said.logged.as_ref().is_none_or(|(last, when)| *last != sentence || when.elapsed() >= Self::REMIND);
        if news {
            tracing::warn!("{who}: {sentence}");
            said.logged = Some((sentence.clone(), rt::now()));
        }
        said.since.get_or_insert_with(rt::now);
        said.now = Some(sentence);
    }

    /// Without a word in the log.
    fn put(&self, sentence: String) {
        self.0.lock().unwrap().now = Some(sentence);
    }

    /// Says again what still lasts.
    fn remind(&self, who: &dyn std::fmt::Display) {
        if let Some(sentence) = self.get() {
            self.say(who, sentence);
        }
    }

    fn clear(&self) {
        let mut said = self.0.lock().unwrap();
        (said.now, said.since) = (None, None);
    }

    /// What has been said without a break for at least so long.
    fn lasting(&self, patience: Duration) -> Option<String> {
        let said = self.0.lock().unwrap();
        said.now.clone().filter(|_| said.since.is_some_and(|since| since.elapsed() >= patience))
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap().now.clone()
    }
}

/// How long a worker that has lost Kafka counts as ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// The whole worker.
pub(crate) struct Status {
    pub app: &'static str,
    tasks: Mutex<BTreeMap<TaskId, Arc<TaskMeter>>>,
    shards: Mutex<BTreeMap<usize, Arc<ShardMeter>>>,
    /// How many tasks the last assignment gave this worker.
    pub wanted: Gauge,
    /// Of how many other tasks it is to keep copies.
    pub wanted_standbys: Gauge,
    waiting: Notice,
    /// Why it waits.
    reason: Mutex<Reason>,
    /// What ends the worker.
    fatal: Mutex<Option<String>>,
    /// The group's coordinator can't be reached.
    away: Notice,
    /// Why a member without tasks has none. That is nothing in its way: it is ready.
    idle: Notice,
}

impl Status {
    pub fn new(app: &'static str) -> Self {
        Self {
            app,
            tasks: Mutex::default(),
            shards: Mutex::default(),
            wanted: Gauge::default(),
            wanted_standbys: Gauge::default(),
            waiting: Notice::default(),
            reason: Mutex::new(Reason::Joining),
            fatal: Mutex::default(),
            away: Notice::default(),
            idle: Notice::default(),
        }
    }

    /// The meter of a task; it outlives the task, so that counters never fall.
    pub fn task(&self, id: TaskId, make: impl FnOnce() -> TaskMeter) -> Arc<TaskMeter> {
        self.tasks.lock().unwrap().entry(id).or_insert_with(|| Arc::new(make())).clone()
    }

    /// Every task that this worker has or had.
    pub fn tasks(&self) -> Vec<Arc<TaskMeter>> {
        self.tasks.lock().unwrap().values().cloned().collect()
    }

    /// The meter of a shard.
    pub fn shard(&self, index: usize) -> Arc<ShardMeter> {
        self.shards.lock().unwrap().entry(index).or_default().clone()
    }

    /// All shards, by number.
    pub fn shards(&self) -> Vec<(usize, Arc<ShardMeter>)> {
        self.shards.lock().unwrap().iter().map(|(index, shard)| (*index, shard.clone())).collect()
    }

    /// What the whole worker waits for, in one sentence.
    pub fn wait_for(&self, reason: Reason, sentence: String) {
        *self.reason.lock().unwrap() = reason;
        self.waiting.say(&self.app, sentence);
    }

    /// Something ends the worker.
    pub fn fail(&self, sentence: &str) {
        self.fatal.lock().unwrap().get_or_insert_with(|| sentence.to_string());
    }

    /// What ends the worker, if anything does.
    pub fn fatal(&self) -> Option<String> {
        self.fatal.lock().unwrap().clone()
    }

    /// The group's coordinator can't be reached; the member goes on trying, and its tasks go on.
    pub fn away(&self, sentence: String) {
        self.away.say(&self.app, sentence);
    }

    /// A member with nothing to do, and why.
    pub fn idle(&self, sentence: String) {
        self.idle.say(&self.app, sentence);
    }

    /// What [`idle`](Self::idle) said isn't so any more.
    pub fn busy(&self) {
        self.idle.clear();
    }

    /// Why there is nothing to do.
    pub fn idle_because(&self) -> Option<String> {
        self.idle.get()
    }

    /// Says again, every 30 s, what is still waited for.
    pub fn remind(&self) {
        self.waiting.remind(&self.app);
        self.away.remind(&self.app);
        self.idle.remind(&self.app);
        for task in self.tasks() {
            task.problem.remind(&format_args!("task {}", task.id));
        }
    }

    /// The worker drains and ends.
    pub fn stop(&self) {
        tracing::info!("{}: stopping", self.app);
        *self.reason.lock().unwrap() = Reason::Stopping;
        self.waiting.put("stopping: what is in hand is finished and committed".into());
    }

    pub fn go_on(&self) {
        self.waiting.clear();
        self.away.clear();
        self.busy();
    }

    /// Whether every task that is this worker's runs, or what is in the way.
    pub fn running(&self) -> Result<(), Unready> {
        if let Some(sentence) = self.waiting.get() {
            return Err(Unready::new(*self.reason.lock().unwrap(), sentence));
        }
        let wanted = self.wanted.get();
        let patience = if wanted < 0 { Duration::ZERO } else { PATIENCE };
        if let Some(sentence) = self.away.lasting(patience) {
            return Err(Unready::new(Reason::WaitingForKafka, sentence));
        }
        if let Some((task, problem)) = self.active().find_map(|task| task.unready().map(|problem| (task, problem))) {
            return Err(Unready::new(problem.reason, format!("task {}: {}", task.id, problem.sentence)));
        }
        if wanted < 0 {
            return Err(Unready::new(Reason::Joining, "joining the group"));
        }
        if let Some((shard, problem)) = self.shards().iter().find_map(|(index, shard)| Some((*index, shard.problem()?))) {
            return Err(Unready::new(Reason::TaskStopped, format!("shard {shard}: {problem}")));
        }
        let running = self.tasks_running();
        if running < wanted {
            let sentence = format!("{running} of {wanted} tasks run, the others are being opened or restored");
            return Err(Unready::new(Reason::Restoring, sentence));
        }
        Ok(())
    }

    /// Whether every task that is this worker's runs, whatever else is in the way, and no standby lacks more than `recovery_lag`.
    pub fn caught_up(&self, recovery_lag: u64) -> bool {
        let wanted = self.wanted.get();
        let near = |task: &Arc<TaskMeter>| task.copy_lag().is_some_and(|lag| lag <= recovery_lag);
        let standbys = self.standbys().filter(near).count() as i64;
        wanted >= 0 && self.tasks_running() >= wanted && standbys >= self.wanted_standbys.get()
    }

    /// All restores under way, also those of standbys.
    pub fn restores(&self, now: Instant) -> Option<Together> {
        let present = self.tasks().into_iter().filter(|task| task.stage() == Stage::Restoring);
        let progress = present.flat_map(|task| task.tables.clone()).filter_map(|table| table.restore());
        let readings: Vec<_> = progress.filter_map(|progress| progress.reading()).collect();
        Together::of(&readings, now)
    }

    /// Records between committed offset and end, over all inputs of this worker; none while one of them isn't known, also because its
    /// task has yet to be opened.
    pub fn lag(&self) -> Option<i64> {
        let wanted = self.wanted.get();
        let kept = self.active().filter(|task| task.stage() != Stage::Draining).count() as i64;
        if wanted < 0 || kept < wanted {
            return None;
        }
        self.active().map(|task| task.inputs.iter().map(|input| input.lag()).sum::<Option<i64>>()).sum()
    }

    /// The tasks that are this worker's to run.
    pub fn active(&self) -> impl Iterator<Item = Arc<TaskMeter>> {
        self.tasks().into_iter().filter(|task| task.has_role(Role::Active))
    }

    /// The tasks of which it keeps copies.
    pub fn standbys(&self) -> impl Iterator<Item = Arc<TaskMeter>> {
        self.tasks().into_iter().filter(|task| task.has_role(Role::Standby))
    }

    fn tasks_running(&self) -> i64 {
        self.active().filter(|task| task.stage() == Stage::Running).count() as i64
    }
}

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
    problem: Notice,
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

    fn has_role(&self, role: Role) -> bool {
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
        self.problem.clear();
        self.pause.clear();
    }

    /// What keeps the task from going on, in one sentence.
    pub fn problem(&self) -> Option<String> {
        self.stopped().or_else(|| self.away.lock().unwrap().as_ref().map(|(sentence, _)| sentence.clone()))
    }

    /// A problem that makes the worker unready: Kafka that went away does so only after a while, for it comes back by itself.
    fn unready(&self) -> Option<Unready> {
        let long_away = || {
            let away = self.away.lock().unwrap();
            let (why, _) = away.as_ref().filter(|(_, since)| since.elapsed() > PATIENCE)?;
            Some(Unready::new(Reason::WaitingForKafka, why))
        };
        self.stopped().map(|why| Unready::new(Reason::TaskStopped, why)).or_else(long_away)
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
        }
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
    fn forget(&self) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_that_goes_away_leaves_the_worker_ready_for_a_minute() {
        let status = Status::new("shop");
        let away = |sentence: &str| Err(Unready::new(Reason::WaitingForKafka, sentence));
        status.away("no answer".into());
        assert_eq!(status.running(), away("no answer"), "it has no assignment yet");
        status.go_on();
        status.wanted.set(0);
        status.away("no answer".into());
        assert_eq!(status.running(), Ok(()));
        status.away.0.lock().unwrap().since = Some(rt::now() - PATIENCE);
        status.away("connection refused".into());
        assert_eq!(status.running(), away("connection refused"), "counted from the first sentence");
        status.go_on();
        assert_eq!(status.running(), Ok(()));
    }

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
    fn a_member_without_tasks_is_ready_whatever_the_reason_is_and_says_it() {
        let status = Status::new("shop");
        status.wanted.set(0);
        status.idle("others run another version".into());
        assert_eq!((status.running(), status.caught_up(0), status.lag()), (Ok(()), true, Some(0)));
        assert_eq!(status.idle_because().as_deref(), Some("others run another version"));
        status.go_on();
        assert_eq!(status.idle_because(), None);
    }

    #[test]
    fn a_lag_is_known_when_every_task_of_the_assignment_has_asked_for_its_offsets() {
        let status = Status::new("shop");
        let id = TaskId { group: 0, partition: 0 };
        let input = Arc::new(InputMeter::new(TopicPartition::new("orders", 0), "count"));
        status.wanted.set(1);
        assert_eq!(status.lag(), None, "the task isn't even there");
        let task = status.task(id, || TaskMeter::new(id, 0, vec![input.clone()], vec![]));
        let known = |committed, end| {
            input.committed.set(committed);
            input.end.set(end);
        };
        task.enter(Stage::Opening);
        known(3, 10);
        assert_eq!(status.lag(), Some(7));
        task.enter(Stage::Absent);
        assert_eq!(status.lag(), None);
        task.enter(Stage::Opening);
        assert_eq!(status.lag(), None, "what it knew is of an earlier epoch");
        status.wanted.set(2);
        known(3, 10);
        assert_eq!(status.lag(), None, "of the other task nothing is known");
    }
}

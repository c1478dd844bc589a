//! What a worker can tell about itself: counters that the shards keep and everybody else reads.
//!
//! A shard never waits for a reader, and a stuck shard can still be read about. The HTTP pages and the metrics are views of this.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::readiness::{Reason, Unready};
use crate::rt::Instant;
use crate::state::Together;
use crate::topology::TaskId;

mod basics;
mod input;
mod shard;
mod task;

pub(crate) use basics::Gauge;
use basics::Notice;
pub(crate) use input::{DropReason, InputMeter, Silence};
pub(crate) use shard::{Polled, ShardMeter};
pub(crate) use task::{Role, Stage, TableMeter, TaskMeter};

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

    /// Whether it is said already why a task doesn't go on: by itself, of its shard, or of the whole worker.
    pub fn explains(&self, task: &TaskMeter) -> bool {
        task.is_explained() || self.shard(task.shard).problem().is_some() || self.away.get().is_some()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt;
    use crate::time::TopicPartition;

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

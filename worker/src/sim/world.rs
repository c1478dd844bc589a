//! The cluster: its workers, and what happens to them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::app::{self, CHANGELOG, INPUT, OUTPUT, TABLE};
use super::disk::Disk;
use super::group::{FarCoordinator, Hub};
use super::net::{self, End, FarLog, Net};
use super::oracle::Oracle;
use super::plan::{Config, Fault, Kind};
use crate::control::{self, Handle};
use crate::group::model::{Coordinator, Limits};
use crate::group::{GroupSettings, KafkaGroup, Membership};
use crate::log::{Log, MemoryLog, partition_of};
use crate::rt::Rt;
use crate::rt::sim::{Process, ProcessId, Sim};
use crate::settings::{self, Settings, Store};
use crate::state::StoreId;
use crate::status::{Role, Stage, TaskMeter};
use crate::time::TopicPartition;
use crate::topology::Groups;

/// Within this all must be done once everything is mended, in milliseconds.
const PATIENCE: u64 = 180_000;

thread_local! {
    static CLUSTER: RefCell<Option<Rc<Cluster>>> = const { RefCell::new(None) };
}

/// The cluster that this thread simulates.
pub(super) fn cluster() -> Rc<Cluster> {
    current().expect("inside of a simulation")
}

pub(super) fn current() -> Option<Rc<Cluster>> {
    CLUSTER.with_borrow(Option::clone)
}

/// The worker that asks, if it is a simulated one.
fn worker_that_asks() -> Option<(Rc<Cluster>, End)> {
    let cluster = current()?;
    let process = cluster.sim.process()?;
    let worker = cluster.workers.borrow().iter().position(|worker| worker.process_id == process)?;
    Some((cluster, End { process, worker }))
}

/// The disk of the worker that asks, if it is a simulated one.
pub(crate) fn disk() -> Option<Arc<Disk>> {
    let (cluster, end) = worker_that_asks()?;
    let disk = cluster.workers.borrow()[end.worker].disk.clone();
    Some(disk)
}

/// Its log.
pub(crate) fn log() -> Option<Arc<dyn Log>> {
    let (cluster, end) = worker_that_asks()?;
    Some(Arc::new(FarLog { end, log: cluster.log.clone() }))
}

/// Its membership in the group.
pub(crate) fn membership(groups: &Groups) -> Option<Arc<dyn Membership>> {
    let (cluster, end) = worker_that_asks()?;
    let config = &cluster.config;
    Some(KafkaGroup::start(GroupSettings {
        group_id: app::ID.into(),
        way: Arc::new(FarCoordinator(end)),
        groups: groups.clone(),
        session_timeout: Duration::from_millis(config.session),
        rebalance_timeout: Duration::from_millis(config.rebalance),
        margin: Duration::from_millis(config.message_timeout),
        instance: config.statics.then(|| format!("worker-{}", end.worker)),
        endpoint: format!("worker-{}:6066", end.worker),
        zone: String::new(),
        node: String::new(),
        recovery_lag: 20,
        max_warmups: 2,
    }))
}

pub(super) struct Cluster {
    pub sim: Rc<Sim>,
    pub config: Config,
    pub log: Arc<MemoryLog>,
    pub net: RefCell<Net>,
    pub hub: RefCell<Hub>,
    pub oracle: RefCell<Oracle>,
    workers: RefCell<Vec<Worker>>,
    processes: Cell<ProcessId>,
    /// Faults are over: what ends now has failed.
    mended: Cell<bool>,
    /// The generations in which a member lost what it had of its own tables: none of them is the last.
    cold: RefCell<Vec<i32>>,
    /// The group has been at another broker before.
    pub moved: Cell<bool>,
    /// Nobody comes back any more.
    closing: Cell<bool>,
}

/// What ends a fault.
type Heal = Box<dyn FnOnce(&Rc<Cluster>)>;

/// A place for a worker, with its disk; processes come and go in it.
struct Worker {
    disk: Arc<Disk>,
    process: Option<Process>,
    process_id: ProcessId,
    handle: Option<Rc<Handle>>,
    phase: Phase,
    frozen: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Down,
    Up,
    /// It drains, then stops, then comes back after so long.
    Draining {
        down: u64,
    },
    Stopping {
        down: Option<u64>,
    },
}

/// What came of a simulation.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub violations: Vec<String>,
    pub steps: u64,
    /// Of everything that happened, in order.
    pub hash: u64,
    pub lines: Vec<String>,
    pub simulated: u64,
    pub inputs: u64,
    pub twice: u64,
    pub faults: BTreeMap<&'static str, u64>,
}

/// Runs a seed's cluster through the faults.
pub(super) fn run(seed: u64, faults: &[Fault], keep: bool) -> Report {
    crate::rt::sim::run(seed, keep, async |sim| {
        let cluster = Cluster::new(sim, Config::of(seed));
        CLUSTER.set(Some(cluster.clone()));
        let report = cluster.live(faults).await;
        // Their processes first: what they drop still asks for the cluster.
        let workers = std::mem::take(&mut *cluster.workers.borrow_mut());
        drop(workers);
        CLUSTER.set(None);
        report
    })
}

impl Cluster {
    fn new(sim: Rc<Sim>, config: Config) -> Rc<Self> {
        let log = MemoryLog::new(config.partitions);
        let topics = [(INPUT.to_string(), config.partitions)].into();
        let limits = Limits { min_session: 500, max_session: 60_000, initial_delay: 0 };
        let worker =
            || Worker { disk: Arc::default(), process: None, process_id: 0, handle: None, phase: Phase::Down, frozen: false };
        let workers = (0..config.workers).map(|_| worker()).collect();
        Rc::new(Self {
            net: net::quiet(config.latency),
            hub: RefCell::new(Hub::new(Coordinator::new(limits, topics))),
            oracle: RefCell::default(),
            workers: RefCell::new(workers),
            processes: Cell::new(0),
            mended: Cell::new(false),
            cold: RefCell::default(),
            moved: Cell::new(false),
            closing: Cell::new(false),
            log,
            config,
            sim,
        })
    }

    async fn live(self: &Rc<Self>, faults: &[Fault]) -> Report {
        for worker in 0..self.config.workers {
            let cluster = self.clone();
            self.sim.after(self.sim.between(0, 300), move || cluster.start(worker));
        }
        self.feed();
        for fault in faults.iter().copied() {
            let cluster = self.clone();
            self.sim.after(fault.at, move || cluster.apply(fault.kind));
        }
        while self.sim.elapsed() < self.config.span + 2_000 && !self.is_violated() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if !self.is_violated() {
            self.mend();
            self.finish().await;
        }
        let have_time = self.config.revoke > 2 * app::LONGEST_EVENT;
        if !self.is_violated() && have_time && faults.iter().all(|fault| fault.kind.is_planned()) {
            self.without_faults();
        }
        self.report(faults)
    }

    fn is_violated(&self) -> bool {
        !self.oracle.borrow().violations.is_empty()
    }

    fn violated(&self, law: &str, what: impl std::fmt::Display) {
        let line = format!("{law}: {what}");
        self.sim.note(|| line.clone());
        self.oracle.borrow_mut().violations.push(line);
    }

    /// Inputs come all the time.
    fn feed(self: &Rc<Self>) {
        let config = &self.config;
        let mut times: Vec<u64> = (0..config.inputs).map(|_| self.sim.between(0, config.span)).collect();
        times.sort_unstable();
        for at in times {
            let key = format!("key-{}", self.sim.between(0, config.keys - 1));
            let cluster = self.clone();
            self.sim.after(at, move || {
                let at = TopicPartition::new(INPUT, partition_of(key.as_bytes(), cluster.config.partitions));
                let offset = cluster.log.append(&at, cluster.sim.wall(), Some(key.as_bytes()), Some(b"x"), &[]);
                cluster.oracle.borrow_mut().input(&at, offset, &key);
                cluster.announce(&at);
            });
        }
    }

    /// A run of an agent begins: its number.
    pub fn begins(&self, partition: u32, offset: i64) -> u64 {
        let (_, end) = worker_that_asks().expect("agents run in workers");
        self.sim.note(|| format!("begins {INPUT}[{partition}] at {offset}"));
        self.oracle.borrow_mut().begins(end, partition, offset)
    }

    pub fn is_frozen(&self, end: End) -> bool {
        let workers = self.workers.borrow();
        let worker = &workers[end.worker];
        worker.process_id == end.process && worker.frozen
    }

    // === a worker's life ===

    fn settings(&self) -> Settings {
        let config = &self.config;
        let millis = Duration::from_millis;
        Settings::new()
            .broker("memory://")
            .store(Store::Memory)
            .web_port(0)
            .session_timeout(millis(config.session))
            .rebalance_timeout(millis(config.rebalance))
            .commit_interval(millis(config.commit))
            .revoke_timeout(millis(config.revoke))
            .shutdown_timeout(millis(30_000))
            .flush_records(config.flush_records)
            .flush_interval(millis(config.flush_interval))
            .cache_memory(config.cache_bytes)
            .standby_replicas(config.standbys)
    }

    fn start(self: &Rc<Self>, worker: usize) {
        if self.closing.get() || self.workers.borrow()[worker].phase != Phase::Down {
            return;
        }
        let process = self.processes.get() + 1;
        self.processes.set(process);
        let end = End { process, worker };
        self.sim.note(|| format!("{end:?} starts"));
        let app = app::of_worker(worker);
        let settings = settings::resolve(app.id, &self.settings(), &settings::FileLayer::default(), [], &[]);
        let settings = settings.expect("settings that go together");
        let cluster = self.clone();
        let started = Process::start(process, async move {
            let handle = match control::start_on(Rt::single(), app, settings.into()).await {
                Ok(handle) => Rc::new(handle),
                Err(fault) => return cluster.ended(end, Err(fault.sentence)),
            };
            cluster.workers.borrow_mut()[worker].handle = Some(handle.clone());
            let ended = handle.ended().await;
            cluster.ended(end, ended.map_err(|fault| fault.sentence));
        });
        let mut workers = self.workers.borrow_mut();
        let place = &mut workers[worker];
        (place.process, place.process_id, place.phase, place.frozen) = (Some(started), process, Phase::Up, false);
    }

    /// A process has come to its end by itself.
    fn ended(self: &Rc<Self>, end: End, result: Result<(), String>) {
        self.sim.note(|| format!("{end:?} ends: {result:?}"));
        let phase = self.workers.borrow()[end.worker].phase;
        let down = match phase {
            Phase::Stopping { down } => down,
            // A coordinator that moves in a rebalance forgets the ids that it gave out in it, and takes their owners for twins of those
            // before. Whatever runs the worker starts it again.
            _ if self.moved.get() && matches!(&result, Err(why) if why.contains("has taken this worker's place")) => Some(1_000),
            _ => {
                self.violated("ends", format_args!("{end:?} by itself: {result:?}"));
                None
            }
        };
        if self.closing.get()
            && down.is_none()
            && let Err(why) = &result
        {
            self.violated("I11", format_args!("{end:?}: {why}"));
        }
        let is_at = self.is_at(end.process);
        if result.is_ok() && !is_at.is_empty() {
            self.violated("I11", format_args!("{end:?} has ended, and {is_at:?}"));
        }
        let cluster = self.clone();
        // Not from inside of its own task.
        self.sim.after(0, move || {
            let process = {
                let mut workers = cluster.workers.borrow_mut();
                let place = &mut workers[end.worker];
                (place.phase, place.handle) = (Phase::Down, None);
                place.process.take()
            };
            drop(process);
            cluster.hang_up(end.process);
            cluster.drop_queues(end);
            if let Some(down) = down {
                cluster.start_after(end.worker, down);
            }
        });
    }

    fn start_after(self: &Rc<Self>, worker: usize, down: u64) {
        let cluster = self.clone();
        self.sim.after(down, move || cluster.start(worker));
    }

    fn kill(self: &Rc<Self>, worker: usize, loses_disk: bool) -> bool {
        if loses_disk && self.loses_its_own(worker) {
            self.cold.borrow_mut().push(self.hub.borrow().model.generation());
        }
        let (process, disk, end) = {
            let mut workers = self.workers.borrow_mut();
            let place = &mut workers[worker];
            if place.phase == Phase::Down {
                return false;
            }
            (place.phase, place.handle, place.frozen) = (Phase::Down, None, false);
            (place.process.take(), place.disk.clone(), End { process: place.process_id, worker })
        };
        disk.crash(&self.sim);
        if loses_disk {
            disk.lose();
        }
        drop(process);
        app::of_worker(worker).set_running(None);
        self.hang_up(end.process);
        self.drop_queues(end);
        true
    }

    /// Whether a worker runs a task that has rows.
    fn loses_its_own(&self, worker: usize) -> bool {
        let Some(running) = app::of_worker(worker).running() else { return false };
        let has_rows = |task: &TaskMeter| self.log.end(&TopicPartition::new(CHANGELOG, task.id.partition)) > 0;
        let tasks = running.status.tasks();
        tasks.iter().any(|task| task.role() == Role::Active && task.stage() == Stage::Running && has_rows(task))
    }

    /// Asks a worker to stop, to come back or not.
    fn stop(&self, worker: usize, down: Option<u64>) -> bool {
        let mut workers = self.workers.borrow_mut();
        let place = &mut workers[worker];
        let (Phase::Up | Phase::Draining { .. }, Some(handle), false) = (place.phase, &place.handle, place.frozen) else {
            return false;
        };
        handle.stop();
        place.phase = Phase::Stopping { down };
        true
    }

    /// Stops a worker when it has drained.
    fn stop_drained(self: &Rc<Self>, end: End) {
        let phase = {
            let workers = self.workers.borrow();
            let place = &workers[end.worker];
            if place.process_id == end.process { place.phase } else { Phase::Down }
        };
        let Phase::Draining { down } = phase else { return };
        let drained = app::of_worker(end.worker)
            .running()
            .is_some_and(|running| running.drain.state() == Some(control::drain::DrainState::Drained));
        if !drained || !self.stop(end.worker, Some(down)) {
            let cluster = self.clone();
            self.sim.after(100, move || cluster.stop_drained(end));
        }
    }

    fn with_process(&self, worker: usize, act: impl FnOnce(&Process)) {
        if let Some(process) = &self.workers.borrow()[worker].process {
            act(process);
        }
    }

    // === faults ===

    fn apply(self: &Rc<Self>, kind: Kind) {
        if self.mended.get() {
            return;
        }
        self.sim.note(|| format!("{kind:?}"));
        let later = |millis: u64, heal: Heal| {
            let cluster = self.clone();
            self.sim.after(millis, move || {
                if !cluster.mended.get() {
                    cluster.sim.note(|| format!("over: {kind:?}"));
                    heal(&cluster);
                }
            });
        };
        match kind {
            Kind::Kill { worker, down, loses_disk } => {
                if self.kill(worker, loses_disk) {
                    self.start_after(worker, down);
                }
            }
            Kind::Freeze { worker, millis } => {
                if self.freeze(worker) {
                    later(millis, Box::new(move |cluster| cluster.thaw(worker)));
                }
            }
            Kind::Stop { worker, down } => {
                self.stop(worker, Some(down));
            }
            Kind::Drain { worker, down } => self.drain(worker, down),
            Kind::Cut { worker, millis } => {
                self.net.borrow_mut().cut.insert(worker);
                self.hub.borrow_mut().cut.insert(worker);
                let heal = move |cluster: &Rc<Self>| {
                    cluster.net.borrow_mut().cut.retain(|cut| *cut != worker);
                    cluster.hub.borrow_mut().cut.retain(|cut| *cut != worker);
                };
                later(millis, Box::new(heal));
            }
            Kind::CutBrokers { worker, millis } => {
                self.net.borrow_mut().cut.insert(worker);
                later(millis, Box::new(move |cluster| cluster.net.borrow_mut().cut.retain(|cut| *cut != worker)));
            }
            Kind::CutCoordinator { worker, millis } => {
                self.hub.borrow_mut().cut.insert(worker);
                later(millis, Box::new(move |cluster| cluster.hub.borrow_mut().cut.retain(|cut| *cut != worker)));
            }
            Kind::Leaderless { topic, partition, millis } => {
                let at = TopicPartition::new([INPUT, OUTPUT, CHANGELOG][topic], partition);
                self.net.borrow_mut().leaderless.insert(at.clone());
                later(millis, Box::new(move |cluster| cluster.net.borrow_mut().leaderless.retain(|without| *without != at)));
            }
            Kind::Errors { of, millis } => {
                self.net.borrow_mut().errors = of;
                later(millis, Box::new(|cluster| cluster.net.borrow_mut().errors = 0));
            }
            Kind::Lost { of, millis } => {
                self.net.borrow_mut().lost = of;
                later(millis, Box::new(|cluster| cluster.net.borrow_mut().lost = 0));
            }
            Kind::Far { latency, millis } => {
                self.net.borrow_mut().latency = latency;
                later(millis, Box::new(|cluster| cluster.net.borrow_mut().latency = cluster.config.latency));
            }
            Kind::Slow { worker, up_to, millis } => {
                self.with_process(worker, |process| {
                    self.sim.slow(process.id, Some(Duration::from_millis(up_to)));
                    let id = process.id;
                    later(millis, Box::new(move |cluster| cluster.sim.slow(id, None)));
                });
            }
            Kind::Full { worker, millis } => {
                self.workers.borrow()[worker].disk.set_full(true);
                later(millis, Box::new(move |cluster| cluster.workers.borrow()[worker].disk.set_full(false)));
            }
            Kind::Move { away, dies } => self.move_group(away, dies),
            Kind::Skew { worker, by } => self.with_process(worker, |process| self.sim.skew(process.id, by)),
        }
    }

    fn freeze(&self, worker: usize) -> bool {
        let mut workers = self.workers.borrow_mut();
        let place = &mut workers[worker];
        let Some(process) = place.process.as_ref().filter(|_| !place.frozen) else { return false };
        process.freeze();
        place.frozen = true;
        true
    }

    fn thaw(&self, worker: usize) {
        let mut workers = self.workers.borrow_mut();
        let place = &mut workers[worker];
        if let (true, Some(process)) = (place.frozen, &place.process) {
            place.frozen = false;
            process.thaw();
        }
    }

    fn drain(self: &Rc<Self>, worker: usize, down: u64) {
        let end = {
            let mut workers = self.workers.borrow_mut();
            let place = &mut workers[worker];
            let running = app::of_worker(worker).running();
            let (Phase::Up, Some(running), Some(process)) = (place.phase, running, &place.process) else { return };
            process.within(|| running.drain.begin(crate::group::Drain::Leave));
            place.phase = Phase::Draining { down };
            End { process: place.process_id, worker }
        };
        self.stop_drained(end);
    }

    /// Everything is well again, and everybody there.
    fn mend(self: &Rc<Self>) {
        self.sim.note(|| "mended".into());
        self.mended.set(true);
        let mut net = self.net.borrow_mut();
        net.cut.clear();
        net.leaderless.clear();
        (net.errors, net.lost, net.latency) = (0, 0, self.config.latency);
        drop(net);
        self.hub.borrow_mut().cut.clear();
        for worker in 0..self.config.workers {
            self.thaw(worker);
            self.workers.borrow()[worker].disk.set_full(false);
            self.with_process(worker, |process| self.sim.slow(process.id, None));
        }
    }

    // === the end ===

    async fn finish(self: &Rc<Self>) {
        let begun = self.sim.elapsed();
        while let Err(why) = self.is_at_rest() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if self.is_violated() {
                return;
            }
            if self.sim.elapsed() > begun + PATIENCE {
                return self.violated("I9", format_args!("not at rest in time: {why}"));
            }
        }
        self.oracle.borrow_mut().closing();
        self.closing.set(true);
        for worker in 0..self.config.workers {
            self.stop(worker, None);
        }
        let begun = self.sim.elapsed();
        while self.workers.borrow().iter().any(|worker| worker.phase != Phase::Down) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if self.sim.elapsed() > begun + PATIENCE {
                return self.violated("I11", "a worker that was told to stop goes on");
            }
        }
    }

    /// Whether all inputs are done, all workers are there, and each partition is where it belongs.
    fn is_at_rest(self: &Rc<Self>) -> Result<(), String> {
        let undone = self.oracle.borrow().undone();
        for worker in 0..self.config.workers {
            if self.workers.borrow()[worker].phase == Phase::Down {
                self.start(worker);
            }
            let ready = app::of_worker(worker).running().map(|running| running.readiness().map_err(|unready| unready.sentence));
            if ready != Some(Ok(())) {
                return Err(format!("worker {worker}: {ready:?}; {undone}"));
            }
        }
        if !undone.is_empty() {
            return Err(undone);
        }
        let generation = self.hub.borrow().model.generation();
        if !self.moved.get() && self.cold.borrow().contains(&generation) {
            return Err(format!("cold: a member has come back without its tables, and generation {generation} goes on"));
        }
        (0..self.config.partitions).try_for_each(|partition| self.has_one_owner(partition))
    }

    /// Whether a worker runs a partition's task in a role.
    fn has_task(&self, worker: usize, partition: u32, role: Role) -> bool {
        let Some(running) = app::of_worker(worker).running() else { return false };
        let tasks = running.status.tasks();
        tasks.iter().any(|task| task.id.partition == partition && task.role() == role && task.stage() == Stage::Running)
    }

    /// One worker has the partition (invariant I5), and its store has what the changelog has, up to its end (I3).
    fn has_one_owner(&self, partition: u32) -> Result<(), String> {
        let owners: Vec<usize> =
            (0..self.config.workers).filter(|worker| self.has_task(*worker, partition, Role::Active)).collect();
        let [owner] = owners[..] else {
            return Err(format!("I5: {INPUT}[{partition}] is worked on by {owners:?}"));
        };
        self.is_up_to_date(partition, owner)?;
        // Copies are in order and without gaps (I6), or they would not come to the same.
        let stands_by = |worker: &usize| self.has_task(*worker, partition, Role::Standby);
        (0..self.config.workers).filter(stands_by).try_for_each(|worker| self.is_up_to_date(partition, worker))
    }

    /// Whether a worker's store has what the changelog has, up to its end (I3).
    fn is_up_to_date(&self, partition: u32, worker: usize) -> Result<(), String> {
        let wanted = self.oracle.borrow().rows(partition);
        let store = self.workers.borrow()[worker].disk.rows(&StoreId { table: TABLE.into(), partition }).unwrap_or_default();
        let parse = |value: &Vec<u8>| serde_json::from_slice(value).expect("a set of offsets");
        let found: BTreeMap<_, _> = store.rows.iter().map(|(key, value)| (key.clone(), parse(value))).collect();
        if found != wanted {
            return Err(format!("I3: the store of {CHANGELOG}[{partition}] at worker {worker} differs: {found:?}, not {wanted:?}"));
        }
        let end = self.log.end(&TopicPartition::new(CHANGELOG, partition));
        if store.position.map_or(0, |position| position.next_offset) != end {
            return Err(format!("I3: the store of {CHANGELOG}[{partition}] is at {:?}, not at {end}", store.position));
        }
        Ok(())
    }

    /// What was only ever asked to go, and had its time for it, has done nothing twice.
    fn without_faults(&self) {
        let twice = self.oracle.borrow().twice();
        if twice > 0 {
            self.violated("folded twice", format_args!("{twice} inputs, and nothing but planned stops"));
        }
    }

    fn report(&self, faults: &[Fault]) -> Report {
        let oracle = self.oracle.borrow();
        let trace = self.sim.trace();
        let mut report = Report {
            violations: oracle.violations.clone(),
            steps: trace.count,
            hash: trace.hash.0,
            lines: trace.lines.clone(),
            simulated: self.sim.elapsed(),
            inputs: oracle.count(),
            twice: oracle.twice(),
            faults: BTreeMap::new(),
        };
        for fault in faults {
            *report.faults.entry(fault.kind.name()).or_default() += 1;
        }
        report
    }
}

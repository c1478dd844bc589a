//! The cluster: its workers and what lies between them, from the beginning of a simulation to the report.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::app::{self, INPUT};
use super::disk::Disk;
use super::group::{FarCoordinator, Hub};
use super::net::{self, End, FarLog, Net};
use super::oracle::Oracle;
use super::plan::{Config, Fault};
use crate::control::Handle;
use crate::group::model::{Coordinator, Limits};
use crate::group::{GroupSettings, KafkaGroup, Membership};
use crate::log::{Log, MemoryLog, partition_of};
use crate::rt::sim::{Process, ProcessId, Sim};
use crate::time::TopicPartition;
use crate::topology::Groups;

mod end;
mod faults;
mod life;

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

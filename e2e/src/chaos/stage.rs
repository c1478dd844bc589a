//! One app among the faults: its workers, what flows through it, and what is asked of it while they happen.
#![allow(clippy::disallowed_methods, reason = "times are compared with the brokers' own")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use faust_testbed::unique;

use super::commits::Commits;
use super::plan::{Members, Setting};
use super::site::Site;
use super::{NAMES, PARTITIONS, SESSION};
use crate::deployment::Deployment;
use crate::offsets::{Offsets, Window};
use crate::wait;
use crate::worker::Worker;

/// The app of one round.
pub struct Stage<'a> {
    pub site: &'a Site,
    pub items: String,
    pub told: String,
    pub changelog: String,
    pub offsets: Offsets,
    pub commits: Commits,
    pub workers: Deployment,
    setting: Setting,
    /// Those that are to work, by the index of their names.
    pub running: BTreeMap<usize, Worker>,
    /// What may be folded again, of each fault.
    pub windows: Vec<Window>,
    pub episodes: Vec<Episode>,
    /// The highest rate of restoring that was seen in this episode, of all workers together.
    restore_rate: Cell<f64>,
    /// How many records each process had read from the changelog when that was last looked at.
    restored: BTreeMap<usize, u64>,
    /// Of each process, when that was last looked at.
    mishaps: BTreeMap<usize, Mishaps>,
    /// Those that do it in this episode because of what is done to them.
    pub provoked: BTreeSet<usize>,
    /// How often they did in the last one.
    pub felt: u64,
    /// What was committed when the last two episodes began.
    begins: [Vec<i64>; 2],
}

/// What a worker says when its session has ended, and when a task goes to another one before it could commit.
const SAID: [&str; 2] = ["the membership is lost", "is read again by the next owner"];
/// A flush that isn't delivered in time, or a session that ends, though nothing was done to anybody.
pub const UNPROVOKED: &str = "(a timeout without a fault: a busy machine)";

/// How often a process has begun anew by itself.
#[derive(Clone, Copy, Debug, Default)]
struct Mishaps {
    said: u64,
    starts_over: u64,
}

impl Mishaps {
    fn of(worker: &Worker) -> Self {
        let log = worker.log();
        let said = SAID.iter().map(|said| log.matches(said).count() as u64).sum();
        Self { said, starts_over: metric(worker, "faust_task_starts_over_total") }
    }

    /// A task that starts over keeps its rows. Only if it goes to another worker too is anything folded again, and that once.
    fn since(self, before: Self) -> u64 {
        self.said - before.said + u64::from(self.starts_over > before.starts_over)
    }
}

/// A fault, or a part of one, until everything is taken up again.
#[derive(Clone, Debug)]
pub struct Episode {
    pub what: &'static str,
    /// In milliseconds of the wall clock.
    pub from: i64,
    pub to: i64,
    /// Of the stage's windows.
    pub windows: Range<usize>,
    /// Records that workers read from the changelog, and how many a second while that was seen.
    pub restored: u64,
    pub restore_rate: f64,
}

impl<'a> Stage<'a> {
    /// The topics are there, and no worker yet.
    pub fn set(site: &'a Site, program: &Path, setting: Setting) -> Self {
        let id = unique("chaos");
        let (items, told) = (format!("{id}-items"), format!("{id}-told"));
        let by_broker = [("message.timestamp.type", "LogAppendTime")];
        for (topic, settings) in [(&items, &by_broker[..]), (&told, &[])] {
            site.kafka.create_topic(topic, PARTITIONS as u32, settings).unwrap_or_else(|error| panic!("{error}"));
        }
        let offsets = Offsets::of(&site.kafka, &id, &items, PARTITIONS);
        wait::until("the group has a coordinator", || offsets.coordinator());
        let program = program.to_str().expect("a path in UTF-8");
        let millis = |time: std::time::Duration| format!("{}ms", time.as_millis());
        let workers = Deployment::new(program, &site.kafka)
            .variable("FAUST_TEST_APP", &id)
            .flag("session-timeout", millis(SESSION))
            .flag("commit-interval", millis(setting.commit_interval))
            .flag("standby-replicas", setting.standbys.to_string());
        Self {
            site,
            commits: Commits::watch(&site.kafka, &id, &items, PARTITIONS),
            changelog: format!("{id}-folded-changelog"),
            items,
            told,
            offsets,
            workers,
            setting,
            running: BTreeMap::new(),
            windows: Vec::new(),
            episodes: Vec::new(),
            restore_rate: Cell::default(),
            restored: BTreeMap::new(),
            mishaps: BTreeMap::new(),
            provoked: BTreeSet::new(),
            felt: 0,
            begins: [vec![0; PARTITIONS as usize], vec![0; PARTITIONS as usize]],
        }
    }

    pub fn start(&mut self, index: usize) {
        let name = NAMES[index];
        let broker = self.site.bootstrap_of(index);
        let address = format!("{name}:6066");
        let mut flags = vec![("broker", broker.as_str())];
        if self.setting.members == Members::Static {
            // At an address that stays the same, as a pod's does.
            flags.extend([("instance-id", name), ("advertised-address", &address)]);
        }
        self.running.insert(index, self.workers.start_with(name, &flags));
        self.restored.insert(index, 0);
        self.mishaps.insert(index, Mishaps::default());
    }

    /// Takes a worker from those that are to work.
    pub fn take(&mut self, index: usize) -> Worker {
        self.running.remove(&index).expect("it runs")
    }

    /// Gives one back that was taken and has lost its membership meanwhile.
    pub fn give_back(&mut self, index: usize, worker: Worker) {
        self.running.insert(index, worker);
        self.provoked.insert(index);
    }

    /// One of those that run.
    pub fn pick(&self, whom: usize) -> usize {
        *self.running.keys().nth(whom % self.running.len()).expect("some run")
    }

    /// SIGTERM, which must end well. What it had is what may be folded again.
    pub fn stop(&mut self, index: usize) {
        let partitions = self.running[&index].state().partitions();
        let worker = self.take(index);
        self.around(&partitions, || {
            worker.stop();
        });
        assert!(ended_well(&worker), "`{}` was told to stop and ended otherwise", worker.name);
    }

    /// Does what may make records of these partitions be folded again: those from what is committed before it to what is there after it.
    pub fn around(&mut self, partitions: &[i32], act: impl FnOnce()) {
        let before = self.committed();
        act();
        self.may_be_folded_again(partitions, &before);
    }

    /// Records of these partitions from what was committed to what is there now.
    pub fn may_be_folded_again(&mut self, partitions: &[i32], committed: &[i64]) {
        let ends = self.ends();
        let range = |&partition: &i32| (partition, committed[partition as usize]..ends[partition as usize]);
        self.windows.push(Window(partitions.iter().map(range).collect()));
    }

    /// Of each partition; never more than there really is.
    pub fn committed(&self) -> Vec<i64> {
        self.commits.last().into_iter().map(|offset| offset.unwrap_or(0)).collect()
    }

    /// Behind the last record of each partition. A leader may be away for a while.
    pub fn ends(&self) -> Vec<i64> {
        wait::until("the source's ends are known", || self.offsets.ask_ends())
    }

    /// Does something and waits until all is taken up again: the workers that are to work share all partitions, and each partition is
    /// committed beyond where it was then.
    pub fn episode(&mut self, what: &'static str, act: impl FnOnce(&mut Self)) {
        let (from, first) = (now(), self.windows.len());
        self.begins.rotate_left(1);
        self.begins[1] = self.committed();
        self.provoked.clear();
        self.restore_rate.set(0.0);
        act(self);
        let ends = self.ends();
        self.until_shared();
        self.until_committed(&ends);
        let restored = self.newly_restored();
        let restore_rate = self.restore_rate.get();
        self.tell(Episode { what, from, to: now(), windows: first..self.windows.len(), restored, restore_rate });
        self.look_for_mishaps();
    }

    /// A worker or broker that got no turn for too long makes a worker begin anew as if it had been stopped: what it had in hand, now or
    /// in the episode before, may be folded again, each time.
    fn look_for_mishaps(&mut self) {
        let mut unprovoked = 0;
        self.felt = 0;
        for (index, worker) in &self.running {
            let mishaps = Mishaps::of(worker);
            let times = mishaps.since(self.mishaps.insert(*index, mishaps).expect("told when it was started"));
            match self.provoked.contains(index) {
                true => self.felt += times,
                false => unprovoked += times,
            }
        }
        for _ in 0..unprovoked {
            let (first, to) = (self.windows.len(), now());
            self.may_be_folded_again(&(0..PARTITIONS).collect::<Vec<_>>(), &self.begins[0].clone());
            let from = self.episodes[self.episodes.len().saturating_sub(2)].from;
            let windows = first..first + 1;
            self.tell(Episode { what: UNPROVOKED, from, to, windows, restored: 0, restore_rate: 0.0 });
        }
    }

    fn tell(&mut self, episode: Episode) {
        let Episode { what, from, to, restored, .. } = episode;
        eprintln!("  {:>6.2} s  {what}, {restored} records replayed", (to - from) as f64 / 1e3);
        self.episodes.push(episode);
    }

    /// How many records the workers have read from the changelog since the last time.
    fn newly_restored(&mut self) -> u64 {
        let mut sum = 0;
        for (index, worker) in &self.running {
            let restored = metric(worker, "faust_restored_records_total");
            sum += restored - self.restored.insert(*index, restored).expect("told when it was started");
        }
        sum
    }

    /// Waits until the workers that are to work have all partitions among them, each of them some, and all run.
    pub fn until_shared(&self) {
        wait::until("the workers share all partitions", || {
            let mut states = Vec::new();
            for worker in self.running.values() {
                worker.assert_runs();
                states.push((&worker.name, worker.pages().state()?));
            }
            let rate = states.iter().map(|(_, state)| state.restore_rate()).sum();
            self.restore_rate.set(self.restore_rate.get().max(rate));
            let mut all: Vec<i32> = states.iter().flat_map(|(_, state)| state.partitions()).collect();
            all.sort_unstable();
            let complete = all == (0..PARTITIONS).collect::<Vec<_>>();
            if complete && states.iter().all(|(_, state)| state.ready && !state.partitions().is_empty()) {
                return Ok(());
            }
            let seen = |(name, state): &(&String, crate::State)| {
                format!("{name}: ready {}, {:?}, {:?}", state.ready, state.partitions(), state.waiting)
            };
            Err(states.iter().map(seen).collect::<Vec<_>>().join("; "))
        });
    }

    /// Waits until whatever copies there are to be are warm: that they help can be said only then.
    pub fn until_copied(&self) {
        wait::until("all copies are caught up", || {
            for worker in self.running.values() {
                worker.assert_runs();
                if !worker.pages().state()?.caught_up {
                    return Err(format!("`{}` isn't", worker.name));
                }
            }
            Ok(())
        });
    }

    pub fn until_committed(&self, ends: &[i64]) {
        wait::until("everything until now is committed", || {
            self.running.values().for_each(Worker::assert_runs);
            let committed = self.committed();
            let done = committed.iter().zip(ends).all(|(committed, end)| committed >= end);
            if done { Ok(()) } else { Err(format!("{committed:?} of {ends:?}")) }
        });
    }

    /// The rows of these keys, each from the worker that owns its partition, which may still move.
    pub fn table(&self, keys: &BTreeMap<String, i32>) -> BTreeMap<String, String> {
        let states = self.running.values().map(|worker| (worker, worker.state().partitions()));
        let owners: BTreeMap<i32, &Worker> =
            states.flat_map(|(worker, partitions)| partitions.into_iter().map(move |partition| (partition, worker))).collect();
        let row = |(key, partition): (&String, &i32)| {
            let row = wait::until(format_args!("the owner of partition {partition} has a row for {key}"), || {
                let mut refused = Vec::new();
                for worker in owners.get(partition).copied().into_iter().chain(self.running.values()) {
                    match worker.pages().row("folded", key.as_bytes())? {
                        crate::Row::Is(row) => return Ok(Some(row)),
                        crate::Row::NoSuchKey => return Ok(None),
                        other => refused.push((&worker.name, other)),
                    }
                }
                Err(format!("{refused:?}"))
            });
            row.map(|row| (key.clone(), row))
        };
        keys.iter().filter_map(row).collect()
    }
}

/// Whether a worker that was told to stop has committed everything, or has said that Kafka didn't take its last work in time: a busy
/// machine again.
pub fn ended_well(worker: &Worker) -> bool {
    match worker.until_ended() {
        0 => true,
        1 => worker.log().contains("the last work could not be committed; it is read again"),
        _ => false,
    }
}

fn metric(worker: &Worker, name: &str) -> u64 {
    worker.pages().metric(name).unwrap_or_else(|error| panic!("`{}`: {error}", worker.name)) as u64
}

/// Milliseconds of the wall clock.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

//! How a simulation ends: everything comes to rest, and is what it should be.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::super::app::{self, CHANGELOG, INPUT, TABLE};
use super::{Cluster, Phase};
use crate::state::StoreId;
use crate::status::{Role, Stage};
use crate::time::TopicPartition;

/// Within this all must be done once everything is mended, in milliseconds.
const PATIENCE: u64 = 180_000;

impl Cluster {
    pub(super) async fn finish(self: &Rc<Self>) {
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
    pub(super) fn without_faults(&self) {
        let twice = self.oracle.borrow().twice();
        if twice > 0 {
            self.violated("folded twice", format_args!("{twice} inputs, and nothing but planned stops"));
        }
    }
}

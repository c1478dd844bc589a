//! Faults: how each is brought about, and how it is mended.

use std::rc::Rc;
use std::time::Duration;

use super::super::app::{self, CHANGELOG, INPUT, OUTPUT};
use super::super::net::End;
use super::super::plan::Kind;
use super::{Cluster, Phase};
use crate::time::TopicPartition;

/// What ends a fault.
type Heal = Box<dyn FnOnce(&Rc<Cluster>)>;

impl Cluster {
    pub(super) fn apply(self: &Rc<Self>, kind: Kind) {
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
    pub(super) fn mend(self: &Rc<Self>) {
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
}

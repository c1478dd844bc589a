//! A worker's life: started, stopped, killed, come to its end.

use std::rc::Rc;
use std::time::Duration;

use super::super::app::{self, CHANGELOG};
use super::super::net::End;
use super::{Cluster, Phase};
use crate::control;
use crate::rt::Rt;
use crate::rt::sim::Process;
use crate::settings::{self, Settings, Store};
use crate::status::{Role, Stage, TaskMeter};
use crate::time::TopicPartition;

impl Cluster {
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

    pub(super) fn start(self: &Rc<Self>, worker: usize) {
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

    pub(super) fn start_after(self: &Rc<Self>, worker: usize, down: u64) {
        let cluster = self.clone();
        self.sim.after(down, move || cluster.start(worker));
    }

    pub(super) fn kill(self: &Rc<Self>, worker: usize, loses_disk: bool) -> bool {
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
    pub(super) fn stop(&self, worker: usize, down: Option<u64>) -> bool {
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
    pub(super) fn stop_drained(self: &Rc<Self>, end: End) {
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

    pub(super) fn with_process(&self, worker: usize, act: impl FnOnce(&Process)) {
        if let Some(process) = &self.workers.borrow()[worker].process {
            act(process);
        }
    }
}

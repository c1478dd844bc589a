//! `/metrics`: the status in Prometheus' text format.
//!
//! The numbers are kept by the shards as plain counters; they are put together when somebody asks.

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::app::Running;
use crate::rt;
use crate::status::{DropReason, Role, Stage};

/// All families of this worker.
pub(super) fn render(running: &Running) -> String {
    let registry = Registry::new();
    let families = Families::register(&registry);
    families.fill(running);
    TextEncoder::new().encode_to_string(&registry.gather()).expect("names and labels are static")
}

macro_rules! families {
    ($($field:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        struct Families {
            $($field: $kind,)*
        }

        impl Families {
            fn register(registry: &Registry) -> Self {
                let families = Self {
                    $($field: $kind::new(Opts::new($name, $help), &[$($label),*]).expect("a legal name"),)*
                };
                $(registry.register(Box::new(families.$field.clone())).expect("one of each name");)*
                families
            }
        }
    };
}

families! {
    build: IntGaugeVec "faust_build_info" ["version"] "Version of the library; always 1.";
    ready: IntGaugeVec "faust_ready" [] "Whether the worker is a member of its group and all its tasks run.";
    leader: IntGaugeVec "faust_leader" [] "Whether this worker leads the group.";
    generation: IntGaugeVec "faust_group_generation" [] "Generation of the group that the worker is a member of, -1 for none.";
    rebalances: IntCounterVec "faust_rebalances_total" [] "Assignments that this worker has got.";
    assigned: IntGaugeVec "faust_assigned_partitions" ["role"] "Tasks of this worker by role.";
    records: IntCounterVec "faust_records_total" ["agent", "topic", "partition"] "Records handed to agents.";
    dropped: IntCounterVec "faust_dropped_records_total" ["topic", "partition", "reason"] "Records that were not processed, by reason.";
    lag: IntGaugeVec "faust_lag_records" ["topic", "partition"] "Records between the committed offset and the log's end.";
    committed: IntGaugeVec "faust_committed_offset" ["topic", "partition"] "Committed offset: of the next record to read.";
    fetches: IntCounterVec "faust_fetches_total" ["topic", "partition"] "Times that a fetch was begun.";
    epochs: IntCounterVec "faust_task_epochs_total" ["task"] "Times that the task was taken up.";
    commits: IntCounterVec "faust_commits_total" ["task"] "Commits of the task.";
    missed: IntGaugeVec "faust_missed_commits" ["task"] "Commits in a row that the task sat out in the middle of an event.";
    starts_over: IntCounterVec "faust_task_starts_over_total" ["task"] "Times that the task dropped its work and read again.";
    blocked: IntGaugeVec "faust_shard_blocked_seconds" ["shard"] "For how long an agent has kept the shard's thread, from 10 s on.";
    changed: IntCounterVec "faust_changelog_records_total" ["table", "partition"] "Records written to the changelog.";
    restored: IntCounterVec "faust_restored_records_total" ["table", "partition"] "Records read from the changelog to rebuild the store.";
    followed: IntCounterVec "faust_standby_records_total" ["table", "partition"] "Records read from the changelog as a standby, behind a restore.";
    standby_lag: IntGaugeVec "faust_standby_lag" ["table", "partition"] "Changelog offsets that the standby's store lacks.";
    remaining: IntGaugeVec "faust_restore_remaining_records" ["table", "partition"] "Changelog offsets that the restore has still to pass.";
    restore_rate: GaugeVec "faust_restore_records_per_second" [] "Records that all restores under way read per second, 0 if there are none.";
    restore_eta: GaugeVec "faust_restore_eta_seconds" [] "When all restores under way will be done at the pace so far, 0 if there are none, -1 if not known.";
    stored: IntGaugeVec "faust_store_offset" ["table", "partition"] "Changelog offset that the store has reached.";
    flushed: IntGaugeVec "faust_store_flushed_offset" ["table", "partition"] "Changelog offset that survives a kill.";
    wipes: IntCounterVec "faust_store_wipes_total" ["table", "partition", "reason"] "Times that the store was emptied and rebuilt, by reason.";
}

impl Families {
    fn fill(&self, running: &Running) {
        let view = running.membership().map(|membership| membership.view()).unwrap_or_default();
        self.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let none: &[&str] = &[];
        self.ready.with_label_values(none).set(running.readiness().is_ok().into());
        self.leader.with_label_values(none).set(view.leader.into());
        self.generation.with_label_values(none).set(view.generation.into());
        self.rebalances.with_label_values(none).inc_by(view.rebalances);
        for (index, shard) in running.status.shards() {
            self.blocked.with_label_values(&[&index.to_string()]).set(shard.blocked.get().max(0));
        }
        let restores = running.status.restores(rt::now());
        self.restore_rate.with_label_values(none).set(restores.map_or(0.0, |all| all.records_per_second));
        let eta = restores.map_or(0.0, |all| all.eta.map_or(-1.0, |eta| eta.as_secs_f64()));
        self.restore_eta.with_label_values(none).set(eta);
        let tasks = running.status.tasks();
        self.assigned.with_label_values(&["active"]).set(running.status.active().count() as i64);
        self.assigned.with_label_values(&["standby"]).set(running.status.standbys().count() as i64);
        for task in &tasks {
            let id = task.id.to_string();
            let here = task.stage() != Stage::Absent;
            let active = here && task.role() == Role::Active;
            self.epochs.with_label_values(&[&id]).inc_by(task.epochs.get());
            self.commits.with_label_values(&[&id]).inc_by(task.commits.get());
            self.starts_over.with_label_values(&[&id]).inc_by(task.starts_over.get());
            if active {
                self.missed.with_label_values(&[&id]).set(task.missed_commits.get().max(0));
            }
            for input in &task.inputs {
                let partition = input.partition.partition.to_string();
                let (topic, partition) = (input.partition.topic.as_str(), partition.as_str());
                self.records.with_label_values(&[input.agent, topic, partition]).inc_by(input.records.get());
                self.fetches.with_label_values(&[topic, partition]).inc_by(input.fetches.get());
                for reason in DropReason::ALL {
                    self.dropped.with_label_values(&[topic, partition, reason.label()]).inc_by(input.drops(reason));
                }
                if let Some(lag) = input.lag().filter(|_| active) {
                    self.lag.with_label_values(&[topic, partition]).set(lag);
                    self.committed.with_label_values(&[topic, partition]).set(input.committed.get());
                }
            }
            for table in &task.tables {
                let partition = table.partition.to_string();
                let labels = [table.table, partition.as_str()];
                self.changed.with_label_values(&labels).inc_by(table.changed.get());
                self.restored.with_label_values(&labels).inc_by(table.restored.get());
                self.followed.with_label_values(&labels).inc_by(table.followed.get());
                for (reason, n) in table.wipes() {
                    self.wipes.with_label_values(&[labels[0], labels[1], &reason.to_string()]).inc_by(n);
                }
                if !here {
                    continue;
                }
                let remaining = table.restore().and_then(|progress| progress.reading()).map_or(0, |reading| reading.remaining());
                self.remaining.with_label_values(&labels).set(remaining as i64);
                if let Some(lag) = table.lag().filter(|_| !active) {
                    self.standby_lag.with_label_values(&labels).set(lag as i64);
                }
                self.stored.with_label_values(&labels).set(table.stored.get());
                self.flushed.with_label_values(&labels).set(table.flushed.get());
            }
        }
    }
}

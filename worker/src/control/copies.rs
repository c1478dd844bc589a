//! How far this worker's copies of tables are behind, whoever the tasks belong to: found on its disk when it starts, and told to the
//! group whenever it changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::group::Membership;
use crate::log::Log;
use crate::rt::{self, Rt};
use crate::state::{StoreId, Stores};
use crate::status::{Role, Stage, Status, TableMeter, TaskMeter};
use crate::task::shard;
use crate::time::TopicPartition;
use crate::topology::{Groups, TaskId, Topology};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Every how many looks the changelogs of copies that nobody keeps up to date are asked for their ends.
const LEFT_BEHIND: u32 = 10;

/// What earlier processes have left on this worker's disk, and what it lacks; a table of another changelog than today's counts for
/// nothing. Only what stands in the way of a good assignment depends on it, so what can't be found out is left out.
pub(super) async fn left_behind(
    rt: Rt,
    stores: &Arc<Stores>,
    log: &dyn Log,
    topology: &Topology,
    groups: &Groups,
    status: &Status,
) -> Vec<(TaskId, u64)> {
    let stores = stores.clone();
    let mut found = rt.blocking(move || stores.left_behind()).await;
    let changelogs: Vec<String> = topology.groups.iter().flat_map(|group| &group.tables).map(|table| table.changelog()).collect();
    let facts = if found.is_empty() { Ok(HashMap::new()) } else { log.topics(&changelogs).await };
    let Ok(facts) = facts else { return Vec::new() };
    let mut tasks = Vec::new();
    for (group, (declared, partitioned)) in (0u32..).zip(topology.groups.iter().zip(groups)) {
        for partition in 0..partitioned.partitions {
            let positions = declared.tables.iter().map(|table| {
                let position = found.remove(&StoreId { table: table.name.to_string(), partition })?;
                let same = facts.get(&table.changelog()).is_some_and(|facts| facts.id == position.topic_id);
                same.then_some(position.next_offset)
            });
            let positions: Option<Vec<i64>> = positions.collect();
            if let Some(positions) = positions.filter(|positions| !positions.is_empty()) {
                let id = TaskId { group, partition };
                let meter = shard::meter(topology, status, id, partition as usize % rt.shards());
                meter.tables.iter().zip(positions).for_each(|(table, position)| table.stored.set(position));
                tasks.push(meter);
            }
        }
    }
    see_ends(log, topology, tasks.iter()).await;
    lags(&tasks)
}

/// Looks for ever: where the changelogs of standbys end, and what the copies lack.
pub(super) async fn watch(log: Arc<dyn Log>, topology: Arc<Topology>, status: Arc<Status>, membership: Arc<dyn Membership>) {
    let mut told = Vec::new();
    for look in 0u32.. {
        let tasks = status.tasks();
        let all = look.is_multiple_of(LEFT_BEHIND);
        see_ends(&*log, &topology, tasks.iter().filter(|task| is_behind(task, all))).await;
        let lags = lags(&tasks);
        if lags != told {
            membership.copies(lags.clone());
            told = lags;
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Whether the ends of its changelogs are worth a question: those of a task that runs are its own doing.
fn is_behind(task: &TaskMeter, all: bool) -> bool {
    match task.stage() {
        Stage::Absent => all && task.tables.iter().all(|table| table.stored.get() >= 0),
        _ => task.role() == Role::Standby,
    }
}

async fn see_ends(log: &dyn Log, topology: &Topology, tasks: impl Iterator<Item = &Arc<TaskMeter>>) {
    let mut tables: Vec<&Arc<TableMeter>> = Vec::new();
    let mut changelogs = Vec::new();
    for task in tasks {
        for (node, table) in topology.groups[task.id.group as usize].tables.iter().zip(&task.tables) {
            changelogs.push(TopicPartition::new(node.changelog(), table.partition));
            tables.push(table);
        }
    }
    if changelogs.is_empty() {
        return;
    }
    let asked_at = rt::wall_millis();
    // What isn't answered is asked again at the next look; until then the lags are those of the last answer.
    if let Ok(ends) = log.ends(&changelogs).await {
        tables.iter().zip(ends).for_each(|(table, end)| table.horizon.saw(end.offset, asked_at));
    }
}

/// What each copy lacks, where that is known; a task without tables has none.
fn lags(tasks: &[Arc<TaskMeter>]) -> Vec<(TaskId, u64)> {
    let stateful = tasks.iter().filter(|task| !task.tables.is_empty());
    stateful.filter_map(|task| task.copy_lag().map(|lag| (task.id, lag))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(partition: u32) -> Arc<TaskMeter> {
        let tables = ["counts", "sums"].map(|table| Arc::new(TableMeter::new(table, partition)));
        Arc::new(TaskMeter::new(TaskId { group: 0, partition }, 0, vec![], tables.to_vec()))
    }

    fn at(task: &TaskMeter, role: Role, stage: Stage, stored: i64, end: i64) {
        task.set_role(role);
        task.enter(stage);
        for table in &task.tables {
            table.stored.set(stored);
            table.horizon.saw(end, 0);
        }
    }

    #[test]
    fn a_copy_lacks_what_all_its_tables_lack_and_a_task_that_runs_lacks_nothing() {
        let tasks: Vec<_> = (0..5).map(task).collect();
        at(&tasks[0], Role::Active, Stage::Running, 3, 10);
        at(&tasks[1], Role::Active, Stage::Restoring, 3, 10);
        at(&tasks[2], Role::Standby, Stage::Running, 9, 10);
        at(&tasks[3], Role::Standby, Stage::Absent, 1, 10);
        let stateless = Arc::new(TaskMeter::new(TaskId { group: 1, partition: 0 }, 0, vec![], vec![]));
        let id = |partition| TaskId { group: 0, partition };
        let all = [tasks, vec![stateless]].concat();
        assert_eq!(lags(&all), [(id(0), 0), (id(1), 14), (id(2), 2), (id(3), 18)], "nothing is known of the last");
        assert_eq!(all.iter().map(|task| is_behind(task, true)).collect::<Vec<_>>(), [false, false, true, true, false, true]);
        assert_eq!(all.iter().map(|task| is_behind(task, false)).collect::<Vec<_>>(), [false, false, true, false, false, false]);
    }
}

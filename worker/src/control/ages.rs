//! Lets stores say that they are at their changelogs' ends, also while nothing is written to them: one that doesn't know it for half
//! of a tombstone's life is rebuilt when it is opened again.

use std::time::Duration;

use crate::rt;
use crate::status::{Role, Stage, TableMeter};
use crate::task::shard::Shared;
use crate::time::TopicPartition;
use crate::topology::Topology;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Every how many looks the log is asked for the lives of tombstones, which somebody may have changed.
const ASK: u32 = 300;

/// How long an answer is waited for: the start of a worker waits for the first one.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks how long the changelogs keep tombstones. What can't be found out stays as it was.
pub(super) async fn learn(shared: &Shared) {
    let changelogs = changelogs(&shared.topology);
    if changelogs.is_empty() {
        return;
    }
    match tokio::time::timeout(PATIENCE, shared.log.tombstone_lives(&changelogs)).await {
        Ok(Ok(lives)) => shared.tombstones.learn(lives),
        Ok(Err(error)) => tracing::debug!("how long changelogs keep tombstones isn't known: {error}"),
        Err(_) => tracing::debug!("how long changelogs keep tombstones isn't known: no answer within {PATIENCE:?}"),
    }
}

fn changelogs(topology: &Topology) -> Vec<String> {
    topology.groups.iter().flat_map(|group| &group.tables).map(|table| table.changelog()).collect()
}

/// Looks for ever.
pub(super) async fn watch(shared: Shared) {
    for look in 1u32.. {
        tokio::time::sleep(EVERY).await;
        if look.is_multiple_of(ASK) {
            learn(&shared).await;
        }
        for task in shared.status.tasks().iter().filter(|task| task.stage() == Stage::Running) {
            for (node, table) in shared.topology.groups[task.id.group as usize].tables.iter().zip(&task.tables) {
                confirm(&shared, task.role(), &node.changelog(), table).await;
            }
        }
    }
}

/// Lets the store say its age, if it is time and it is at the end.
async fn confirm(shared: &Shared, role: Role, changelog: &str, table: &TableMeter) {
    let is_due = |seen| shared.tombstones.is_worth_saying(changelog, table.written_at.get(), seen);
    // Where the changelog of a standby ends is asked all the time; that of a running task is written by nobody else, so nobody asks.
    if role == Role::Active && is_due(rt::wall_millis()) {
        let (asked_at, of) = (rt::wall_millis(), TopicPartition::new(changelog, table.partition));
        if let Ok(ends) = shared.log.ends(&[of]).await {
            table.horizon.saw(ends[0].offset, asked_at);
        }
    }
    if let Some(seen) = table.horizon.reached(table.stored.get()).filter(|seen| is_due(*seen)) {
        shared.flusher.confirm(shared.rt, table, seen).await;
    }
}

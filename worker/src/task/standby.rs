//! A standby: a copy of a task's tables that follows their changelogs, for the day that this worker gets the task.
//!
//! It needs no shard, for nothing of it is used: it is opened and restored like a task that is to run, and then goes on behind the
//! end. Nothing that happens to it ends the worker.

use std::convert::Infallible;
use std::sync::Arc;

use futures::future::{pending, select_all, try_join_all};
use tokio::sync::{mpsc, oneshot};

use super::life::{FIRST_PAUSE, next_pause};
use super::open::OpenError;
use super::shard::{Shared, Stop};
use super::tables::{Open, shelves_of};
use crate::rt;
use crate::status::{Role, Stage, TaskMeter};
use crate::topology::TaskId;

/// Keeps the copy until it is told to stop, however. The stores stay open: whoever comes next may go on with them.
pub(crate) async fn stand_by(
    shared: Shared,
    id: TaskId,
    meter: Arc<TaskMeter>,
    mut stop: mpsc::UnboundedReceiver<Stop>,
    ended: oneshot::Sender<()>,
) {
    meter.set_role(Role::Standby);
    tokio::select! {
        biased;
        _ = stop.recv() => {}
        never = keep(&shared, id, &meter) => match never {},
    }
    meter.enter(Stage::Absent);
    // Whoever waited may have gone.
    let _ = ended.send(());
}

/// As often as it takes.
async fn keep(shared: &Shared, id: TaskId, meter: &Arc<TaskMeter>) -> Infallible {
    let mut pause = FIRST_PAUSE;
    loop {
        meter.enter(Stage::Opening);
        let begun = rt::now();
        match follow(shared, id, meter).await {
            OpenError::Waiting(why) | OpenError::Stuck(why) => meter.wait_for(why),
            OpenError::Lost => {}
        }
        shared.close(id).await;
        pause = next_pause(pause, begun.elapsed());
        tokio::time::sleep(pause).await;
    }
}

/// Restores all tables beside each other, then follows their changelogs; returns the first thing that is in the way.
async fn follow(shared: &Shared, id: TaskId, meter: &Arc<TaskMeter>) -> OpenError {
    let shelves = shelves_of(shared, id, meter);
    let mut open = Vec::new();
    for shelf in &shelves {
        let opened = async { shelf.open(shared, shelf.bounds(shared).await?).await };
        match opened.await {
            Ok(table) => open.push(table),
            Err(error) => return error,
        }
    }
    meter.enter(Stage::Restoring);
    if let Err(error) = try_join_all(open.iter_mut().map(Open::restore)).await {
        return error;
    }
    meter.enter(Stage::Running);
    if open.is_empty() {
        return pending().await;
    }
    select_all(open.iter_mut().map(|table| Box::pin(table.follow()))).await.0
}

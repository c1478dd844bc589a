//! Watches for an agent that keeps its shard's thread: nothing on that shard goes on then, and only another thread can say so.
//!
//! An agent that *waits* in the middle of an event is named by the commits that its task misses; this is about one that doesn't come
//! back from a poll.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::rt::{self, Instant};
use crate::settings::{OnEventTimeout, Resolved};
use crate::status::{Polled, Status};
use crate::task::shard::Failure;
use crate::topology::Topology;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// A poll that takes so long is named. An ordinary one takes microseconds.
const LONG: Duration = Duration::from_secs(10);

/// Looks for ever.
pub(super) async fn watch(
    status: Arc<Status>,
    topology: Arc<Topology>,
    settings: Arc<Resolved>,
    failures: mpsc::UnboundedSender<Failure>,
) {
    let mut polls = Polls::default();
    loop {
        tokio::time::sleep(EVERY).await;
        let now = rt::now();
        for (index, shard) in status.shards() {
            let polled = shard.polled();
            let busy = polls.busy(index, polled, now);
            match polled {
                Some(polled) if busy >= LONG => {
                    let sentence = describe(&status, &topology, index, polled, busy);
                    if busy >= settings.event_timeout && settings.on_event_timeout == OnEventTimeout::Exit {
                        // The control loop may be gone already.
                        let _ = failures.send(format!("{sentence}; `on-event-timeout` says that the worker ends"));
                    }
                    shard.say(index, busy.as_secs(), sentence);
                }
                _ if shard.problem().is_some() => {
                    tracing::info!("shard {index}: its agent has come back");
                    shard.clear();
                }
                _ => {}
            }
        }
    }
}

/// Since when each shard is in the poll that it is in.
#[derive(Default)]
struct Polls(BTreeMap<usize, (u64, Instant)>);

impl Polls {
    /// For how long, at least, this poll has been under way.
    fn busy(&mut self, shard: usize, polled: Option<Polled>, now: Instant) -> Duration {
        let Some(Polled { poll, .. }) = polled else {
            self.0.remove(&shard);
            return Duration::ZERO;
        };
        let (seen, since) = self.0.entry(shard).or_insert((poll, now));
        if *seen != poll {
            (*seen, *since) = (poll, now);
        }
        now.duration_since(*since)
    }
}

fn describe(status: &Status, topology: &Topology, shard: usize, polled: Polled, busy: Duration) -> String {
    let agent = topology.groups[polled.task.group as usize].agents.get(polled.agent).map_or("?", |agent| agent.name);
    let tasks = status.tasks();
    let inputs = tasks.iter().filter(|task| task.id == polled.task).flat_map(|task| &task.inputs);
    let events: Vec<String> = inputs
        .filter(|input| input.agent == agent && input.last.get() >= 0)
        .map(|input| format!("{}@{}", input.partition, input.last.get()))
        .collect();
    let at = if events.is_empty() { "before its first event".to_string() } else { format!("at {}", events.join(", ")) };
    format!(
        "agent `{agent}` has kept the thread of shard {shard} for {} s, {at}: none of the shard's tasks goes on; what blocks belongs \
         on `tokio::task::spawn_blocking`",
        busy.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::TaskId;

    #[tokio::test(start_paused = true)]
    async fn only_one_and_the_same_poll_is_a_long_one() {
        let (mut polls, begun) = (Polls::default(), rt::now());
        let poll = |poll| Some(Polled { poll, task: TaskId { group: 0, partition: 0 }, agent: 0 });
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(polls.busy(0, poll(1), at(0)), Duration::ZERO);
        assert_eq!(polls.busy(0, poll(1), at(9)), Duration::from_secs(9));
        assert_eq!(polls.busy(1, poll(1), at(9)), Duration::ZERO, "another shard");
        assert_eq!(polls.busy(0, poll(2), at(10)), Duration::ZERO);
        assert_eq!(polls.busy(0, None, at(11)), Duration::ZERO);
        assert_eq!(polls.busy(0, poll(2), at(12)), Duration::ZERO, "it was free in between");
        assert_eq!(polls.busy(0, poll(2), at(22)), Duration::from_secs(10));
    }
}

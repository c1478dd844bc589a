//! What a shard shows of itself to whoever watches it from another thread: which agent has the thread, and since when.

use std::sync::atomic::{AtomicU64, Ordering};

use super::basics::{Gauge, Notice};
use crate::topology::TaskId;

/// One shard. The shard writes two numbers per poll of an agent, and never waits for a reader.
#[derive(Default)]
pub(crate) struct ShardMeter {
    /// Counts polls, so that a long one is told from many.
    polls: AtomicU64,
    /// Whose poll is under way, packed; 0 for none.
    polled: AtomicU64,
    /// For how many seconds an agent has kept the thread, once that is worth a word.
    pub blocked: Gauge,
    problem: Notice,
}

/// An agent that is being polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Polled {
    /// Which poll of the shard it is.
    pub poll: u64,
    pub task: TaskId,
    /// Its place among the agents of the task's group.
    pub agent: usize,
}

impl ShardMeter {
    /// An agent has the thread from now on.
    pub fn enter(&self, task: TaskId, agent: usize) {
        self.polls.store(self.polls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.polled.store(pack(task, agent), Ordering::Release);
    }

    /// It has given it back.
    pub fn leave(&self) {
        self.polled.store(0, Ordering::Release);
    }

    /// Who has the thread. Two looks that find the same poll have found the same agent all the time in between.
    pub fn polled(&self) -> Option<Polled> {
        let (task, agent) = unpack(self.polled.load(Ordering::Acquire))?;
        Some(Polled { poll: self.polls.load(Ordering::Relaxed), task, agent })
    }

    /// What is in the way of all its tasks.
    pub fn say(&self, shard: usize, seconds: u64, sentence: String) {
        self.blocked.set(seconds as i64);
        // It counts the seconds: logged with each of them it would fill the log.
        match self.problem.get() {
            None => self.problem.say(&format_args!("shard {shard}"), sentence),
            Some(_) => self.problem.put(sentence),
        }
    }

    /// Nothing is any more.
    pub fn clear(&self) {
        self.blocked.set(0);
        self.problem.clear();
    }

    pub fn problem(&self) -> Option<String> {
        self.problem.get()
    }
}

/// More groups or agents than fit would only be named wrongly.
fn pack(task: TaskId, agent: usize) -> u64 {
    (agent as u64 + 1) << 48 | u64::from(task.group as u16) << 32 | u64::from(task.partition)
}

fn unpack(packed: u64) -> Option<(TaskId, usize)> {
    let agent = (packed >> 48).checked_sub(1)?;
    Some((TaskId { group: (packed >> 32) as u32 & 0xffff, partition: packed as u32 }, agent as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_shows_who_has_its_thread_and_each_poll_is_another_one() {
        let shard = ShardMeter::default();
        assert_eq!(shard.polled(), None);
        let task = TaskId { group: 3, partition: u32::MAX };
        shard.enter(task, 0);
        let first = shard.polled().unwrap();
        assert_eq!((first.task, first.agent), (task, 0));
        assert_eq!(shard.polled(), Some(first));
        shard.leave();
        assert_eq!(shard.polled(), None);
        shard.enter(task, 7);
        assert_eq!(shard.polled(), Some(Polled { poll: first.poll + 1, task, agent: 7 }));
    }
}

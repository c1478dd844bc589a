//! What a test can make of the log in memory: failed, late and refused deliveries, topics that vanish, records that expire.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Deliveries, MemoryLog, Partition};
use crate::time::TopicPartition;

/// What becomes of records that are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// They land, and that is reported at once.
    Deliver,
    /// They land; [`MemoryLog::report_held`] reports it.
    Hold,
    /// They don't land, and that is reported.
    Fail(&'static str),
    /// They aren't taken: the buffer is full.
    Full,
}

type Decide = dyn Fn(&str, u32) -> Fate + Send + Sync;

#[derive(Default)]
pub(super) struct Faults {
    decide: Mutex<Option<Arc<Decide>>>,
    held: Mutex<Vec<(Arc<Deliveries>, u64, i64)>>,
    pub lives: Mutex<HashMap<String, Duration>>,
    pub broken: tokio::sync::SetOnce<&'static str>,
}

impl Faults {
    pub fn fate(&self, topic: &str, partition: u32) -> Fate {
        let decide = self.decide.lock().unwrap().clone();
        decide.map_or(Fate::Deliver, |decide| decide(topic, partition))
    }

    pub fn hold(&self, delivery: &Arc<Deliveries>, count: u64, last: i64) {
        self.held.lock().unwrap().push((delivery.clone(), count, last));
    }
}

impl MemoryLog {
    /// Decides from now on what becomes of the records sent to a topic and partition.
    pub fn decide_fates(&self, decide: impl Fn(&str, u32) -> Fate + Send + Sync + 'static) {
        *self.topics.faults.decide.lock().unwrap() = Some(Arc::new(decide));
    }

    /// Reports the deliveries that were held back.
    pub fn report_held(&self) {
        for (delivery, count, last) in std::mem::take(&mut *self.topics.faults.held.lock().unwrap()) {
            delivery.report(count, Some(last), None);
        }
    }

    /// Says that nothing more can be written.
    pub fn break_for_good(&self, why: &'static str) {
        self.topics.faults.broken.set(why).expect("it is whole");
    }

    /// Deletes a topic; its readers are told, and the next who names it gets a new one.
    pub fn delete_topic(&self, name: &str) {
        let topic = self.topics.by_name.write().unwrap().remove(name);
        for partition in topic.iter().flat_map(|topic| &topic.partitions) {
            let mut state = partition.state();
            state.deleted = true;
            state.readers.iter().filter_map(|reader| reader.wake.as_ref()).for_each(|wake| wake());
        }
    }

    /// Lets the records of a partition below an offset expire.
    pub fn expire(&self, at: &TopicPartition, below: i64) {
        self.partition(at).state().trim(below);
    }

    pub(super) fn partition(&self, at: &TopicPartition) -> Arc<Partition> {
        self.topics.partition(&at.topic, at.partition).expect("the partition")
    }

    /// Says that the topic's tombstones live no longer than this.
    #[cfg(feature = "rocksdb")]
    pub fn limit_tombstones(&self, topic: &str, life: Duration) {
        self.topics.faults.lives.lock().unwrap().insert(topic.to_string(), life);
    }

    /// Loses the records of a partition from an offset on, as when a replica that lacks them becomes the leader.
    #[cfg(feature = "rocksdb")]
    pub fn cut(&self, at: &TopicPartition, to: i64) {
        let partition = self.topics.partition(&at.topic, at.partition).expect("the partition");
        let mut state = partition.state();
        state.entries.retain(|entry| entry.offset < to);
        state.end = to;
        state.epochs.begin(to);
    }
}

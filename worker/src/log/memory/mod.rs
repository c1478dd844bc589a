//! A log that lives and dies with the process: for `memory://`, and for tests.
//!
//! It keeps Kafka's promises, not Kafka's bytes: topics come into being when they are first named, a compacted topic keeps the
//! last record of each key, any other one its last [`RETAINED`] records and what its readers have not read yet.

#[cfg(all(test, feature = "kafka"))]
mod broker;
mod epochs;
#[cfg(test)]
pub(crate) mod faults;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use self::epochs::Epochs;
use super::record::Stored;
use super::{
    Bounds, BoxFuture, Deliveries, Fetch, Log, LogEnd, LogError, NewTopic, Outgoing, ProduceError, Producer, Reader, Record, Row,
    TopicFacts, TopicId, Wake,
};
use crate::rt;
use crate::time::TopicPartition;

/// How many records a partition that isn't compacted keeps for those who come later.
const RETAINED: usize = 1 << 16;

/// A compacted partition is compacted when it has doubled since the last time, but not below this.
const COMPACT_FROM: usize = 1 << 14;

/// What a broker takes by default; a record that is too large here would be too large there.
const MAX_RECORD_BYTES: usize = 1_000_000;

/// All topics of one process.
pub(crate) struct MemoryLog {
    topics: Arc<Topics>,
}

impl MemoryLog {
    /// An empty log, whose topics have this many partitions unless they are created with another number.
    pub fn new(partitions: u32) -> Arc<Self> {
        let topics = Topics {
            partitions,
            by_name: RwLock::default(),
            #[cfg(test)]
            faults: faults::Faults::default(),
        };
        Arc::new(Self { topics: Arc::new(topics) })
    }
}

impl Log for MemoryLog {
    fn makes_topics(&self) -> bool {
        true
    }

    fn topics<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Result<HashMap<String, TopicFacts>, LogError>> {
        Box::pin(async move {
            let facts = names.iter().map(|name| {
                let topic = self.topics.named(name);
                (name.clone(), TopicFacts { id: topic.id, partitions: topic.partitions.len() as u32 })
            });
            Ok(facts.collect())
        })
    }

    fn create<'a>(&'a self, topics: &'a [NewTopic]) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(async move {
            topics.iter().for_each(|topic| self.topics.create(topic));
            Ok(())
        })
    }

    fn bounds<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Bounds>, LogError>> {
        Box::pin(async move {
            let bounds = of.iter().map(|at| {
                let partition = self.topics.partition(&at.topic, at.partition)?;
                let state = partition.state();
                Ok(Bounds { start: state.start, end: state.end })
            });
            bounds.collect()
        })
    }

    fn ends<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<LogEnd>, LogError>> {
        Box::pin(async move {
            let ends = of.iter().map(|at| {
                let partition = self.topics.partition(&at.topic, at.partition)?;
                let state = partition.state();
                Ok(LogEnd { offset: state.end, leader_epoch: state.epochs.last() })
            });
            ends.collect()
        })
    }

    fn epoch_end<'a>(&'a self, of: &'a TopicPartition, epoch: i32) -> BoxFuture<'a, Result<Option<i64>, LogError>> {
        Box::pin(async move {
            let partition = self.topics.partition(&of.topic, of.partition)?;
            let state = partition.state();
            Ok(state.epochs.end_of(epoch, state.end))
        })
    }

    /// A tombstone is a key's last record, and that is never compacted away.
    fn tombstone_lives<'a>(&'a self, _: &'a [String]) -> BoxFuture<'a, Result<HashMap<String, Duration>, LogError>> {
        #[cfg(test)]
        let lives = self.topics.faults.lives.lock().unwrap().clone();
        #[cfg(not(test))]
        let lives = HashMap::new();
        Box::pin(std::future::ready(Ok(lives)))
    }

    #[cfg(test)]
    fn broken(&self) -> BoxFuture<'_, String> {
        Box::pin(async { self.topics.faults.broken.wait().await.to_string() })
    }

    fn fetch(&self, partition: &TopicPartition, start: i64, reader: Reader) -> Result<Box<dyn Fetch>, LogError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let log = self.topics.partition(&partition.topic, partition.partition)?;
        let mut state = log.state();
        if state.readers.iter().any(|other| other.kind == reader) {
            return Err(LogError::Unavailable(format!("{partition} is being read already, as {reader:?}")));
        }
        state.readers.push(Subscription { id, kind: reader, position: start, wake: None });
        drop(state);
        Ok(Box::new(MemoryFetch { at: partition.clone(), log, id, position: start }))
    }

    fn producer(&self) -> Arc<dyn Producer> {
        Arc::new(MemoryProducer(self.topics.clone()))
    }
}

struct Topics {
    partitions: u32,
    by_name: RwLock<HashMap<String, Arc<Topic>, foldhash::fast::RandomState>>,
    #[cfg(test)]
    faults: faults::Faults,
}

struct Topic {
    id: TopicId,
    partitions: Vec<Arc<Partition>>,
}

impl Topic {
    fn new(partitions: u32, compacted: bool) -> Arc<Self> {
        let id = uuid::Uuid::parse_str(&rt::random_id()).map_or([0; 16], uuid::Uuid::into_bytes);
        let partitions = (0..partitions).map(|_| Arc::new(Partition { compacted, state: Mutex::default() })).collect();
        Arc::new(Self { id, partitions })
    }
}

impl Topics {
    fn named(&self, name: &str) -> Arc<Topic> {
        if let Some(topic) = self.by_name.read().unwrap().get(name) {
            return topic.clone();
        }
        let mut topics = self.by_name.write().unwrap();
        topics.entry(name.to_string()).or_insert_with(|| Topic::new(self.partitions, false)).clone()
    }

    fn create(&self, new: &NewTopic) {
        let compacted = new.config.iter().any(|(key, value)| key == "cleanup.policy" && value.contains("compact"));
        let mut topics = self.by_name.write().unwrap();
        topics.entry(new.name.clone()).or_insert_with(|| Topic::new(new.partitions, compacted));
    }

    fn partition(&self, topic: &str, partition: u32) -> Result<Arc<Partition>, LogError> {
        let found = self.named(topic).partitions.get(partition as usize).cloned();
        found.ok_or_else(|| LogError::UnknownTopic(TopicPartition::new(topic, partition).to_string()))
    }
}

struct Partition {
    compacted: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Ascending by offset; with gaps once it was compacted.
    entries: VecDeque<Entry>,
    start: i64,
    end: i64,
    epochs: Epochs,
    compact_at: usize,
    readers: Vec<Subscription>,
    deleted: bool,
}

struct Entry {
    offset: i64,
    timestamp: i64,
    stored: Arc<Stored>,
}

struct Subscription {
    id: u64,
    kind: Reader,
    position: i64,
    wake: Option<Wake>,
}

impl Partition {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Appends records and returns the offset of the last one. Like Kafka it wakes a reader that had read everything, once.
    fn append(&self, timestamp: i64, records: impl Iterator<Item = Stored>) -> i64 {
        let mut state = self.state();
        let before = state.end;
        for stored in records {
            let offset = state.end;
            state.entries.push_back(Entry { offset, timestamp, stored: Arc::new(stored) });
            state.end += 1;
        }
        if self.compacted {
            state.compact();
        } else {
            state.retain();
        }
        if state.end > before {
            state
                .readers
                .iter()
                .filter(|reader| reader.position == before)
                .filter_map(|reader| reader.wake.as_ref())
                .for_each(|wake| wake());
        }
        state.end - 1
    }
}

impl State {
    fn compact(&mut self) {
        if self.entries.len() < self.compact_at.max(COMPACT_FROM) {
            return;
        }
        let mut later = HashSet::new();
        let is_last: Vec<bool> = self.entries.iter().rev().map(|entry| later.insert(entry.stored.key.as_deref())).collect();
        let mut is_last = is_last.into_iter().rev();
        self.entries.retain(|_| is_last.next() == Some(true));
        self.compact_at = 2 * self.entries.len();
    }

    fn retain(&mut self) {
        if self.entries.len() <= RETAINED {
            return;
        }
        let unread = self.readers.iter().map(|reader| reader.position).min().unwrap_or(i64::MAX);
        let expired = self.end - RETAINED as i64;
        self.trim(expired.min(unread));
    }

    fn trim(&mut self, below: i64) {
        while self.entries.front().is_some_and(|entry| entry.offset < below) {
            self.entries.pop_front();
        }
        self.start = self.start.max(below);
    }
}

struct MemoryFetch {
    at: TopicPartition,
    log: Arc<Partition>,
    id: u64,
    position: i64,
}

impl Fetch for MemoryFetch {
    fn poll(&mut self, max: usize, out: &mut VecDeque<Record>) -> Result<(), LogError> {
        let mut state = self.log.state();
        if state.deleted {
            return Err(LogError::UnknownTopic(self.at.topic.clone()));
        }
        if self.position < state.start || self.position > state.end {
            return Err(LogError::OutOfRange { partition: self.at.clone(), offset: self.position });
        }
        let from = state.entries.partition_point(|entry| entry.offset < self.position);
        let before = out.len();
        out.extend(
            state
                .entries
                .range(from..)
                .take(max)
                .map(|entry| Record::memory(entry.offset, entry.timestamp, state.epochs.of(entry.offset), entry.stored.clone())),
        );
        if out.len() > before {
            self.position = out[out.len() - 1].offset + 1;
            let position = self.position;
            state.readers.iter_mut().filter(|reader| reader.id == self.id).for_each(|reader| reader.position = position);
        }
        Ok(())
    }

    fn position(&self) -> i64 {
        self.position
    }

    fn on_ready(&mut self, wake: Wake) {
        let mut state = self.log.state();
        state.readers.iter_mut().filter(|reader| reader.id == self.id).for_each(|reader| reader.wake = Some(wake.clone()));
    }
}

impl Drop for MemoryFetch {
    fn drop(&mut self) {
        self.log.state().readers.retain(|reader| reader.id != self.id);
    }
}

struct MemoryProducer(Arc<Topics>);

impl Producer for MemoryProducer {
    fn send(&self, record: Outgoing<'_>, delivery: &Arc<Deliveries>) -> Result<(), ProduceError> {
        check_size(record.key, record.value)?;
        let stored = Stored {
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.to_vec(),
        };
        let timestamp = record.timestamp.unwrap_or_else(rt::wall_millis);
        self.append(record.topic, record.partition, delivery, timestamp, std::iter::once(stored))
    }

    fn send_rows(&self, at: &TopicPartition, rows: &[Row], delivery: &Arc<Deliveries>) -> Result<usize, ProduceError> {
        rows.iter().try_for_each(|row| check_size(Some(&row.key), row.value.as_deref()))?;
        let stored = rows.iter().map(|row| Stored { key: Some(row.key.clone()), value: row.value.clone(), headers: Vec::new() });
        match self.append(&at.topic, at.partition, delivery, rt::wall_millis(), stored) {
            Err(ProduceError::Full) => Ok(0),
            appended => appended.map(|()| rows.len()),
        }
    }
}

impl MemoryProducer {
    fn append(
        &self,
        topic: &str,
        partition: u32,
        delivery: &Arc<Deliveries>,
        timestamp: i64,
        records: impl ExactSizeIterator<Item = Stored>,
    ) -> Result<(), ProduceError> {
        let log = self.0.partition(topic, partition).map_err(|error| ProduceError::Failed(error.to_string()))?;
        let count = records.len() as u64;
        if count == 0 {
            return Ok(());
        }
        delivery.expect(count);
        #[cfg(test)]
        match self.0.faults.fate(topic, partition) {
            faults::Fate::Deliver => {}
            faults::Fate::Full => {
                delivery.report(count, None, None);
                return Err(ProduceError::Full);
            }
            faults::Fate::Fail(why) => {
                delivery.report(count, None, Some(why.to_string()));
                return Ok(());
            }
            faults::Fate::Hold => {
                self.0.faults.hold(delivery, count, log.append(timestamp, records));
                return Ok(());
            }
        }
        delivery.report(count, Some(log.append(timestamp, records)), None);
        Ok(())
    }
}

fn check_size(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), ProduceError> {
    let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
    if bytes > MAX_RECORD_BYTES { Err(ProduceError::TooLarge { bytes }) } else { Ok(()) }
}

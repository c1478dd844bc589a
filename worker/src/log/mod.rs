//! The transport seam: topics of ordered partitions, read by position, written with delivery reports.
//!
//! Two logs stand behind it, Kafka and one in memory; `conformance` holds both to the same promises. Nothing of a client library
//! shows above this room.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::time::TopicPartition;

#[cfg(test)]
mod conformance;
mod delivery;
#[cfg(feature = "kafka")]
mod kafka;
mod memory;
mod partitioner;
mod record;

pub(crate) use delivery::Deliveries;
#[cfg(all(test, feature = "kafka"))]
pub(crate) use kafka::on_kafka::{expire as delete_records, test_settings};
#[cfg(feature = "kafka")]
pub(crate) use kafka::{KafkaLog, KafkaSettings};
pub(crate) use memory::MemoryLog;
#[cfg(test)]
pub(crate) use memory::faults::Fate;
pub(crate) use partitioner::partition_of;
#[cfg(test)]
pub(crate) use record::Stored;
pub(crate) use record::{Header, Record};

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Wakes whoever sleeps on an empty partition. Called on a thread of the log, under its locks: it may only wake.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// Kafka's identity of a topic: a topic that was deleted and made anew under its name has another one. All zero where unknown.
pub(crate) type TopicId = [u8; 16];

/// One log, shared by all threads of a worker.
pub(crate) trait Log: Send + Sync + 'static {
    /// How many partitions this worker may come to read, said before the first fetch: they share the memory for what is fetched ahead.
    fn expect(&self, partitions: usize) {
        let _ = partitions;
    }

    /// Whether a topic comes into being when it is first named, so that it has to be created before if it is to be of a certain shape.
    fn makes_topics(&self) -> bool {
        false
    }

    /// What is known of these topics now, asked anew. A topic that doesn't exist is missing from the answer. Never creates one –
    /// except in memory, where a topic comes into being when it is first named.
    fn topics<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Result<HashMap<String, TopicFacts>, LogError>>;

    /// Creates topics; one that is there already is left as it is and is no error.
    fn create<'a>(&'a self, topics: &'a [NewTopic]) -> BoxFuture<'a, Result<(), LogError>>;

    /// First offset and end (the offset of the next record, open transactions included), in the order asked.
    fn bounds<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Bounds>, LogError>>;

    /// Where partitions end, in the order asked, from the leaders that were known last: for those who ask all the time.
    fn ends<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<LogEnd>, LogError>>;

    /// The offset behind the last record of the largest leader's epoch that has records and is not larger than this one; none where
    /// the log doesn't know the epoch. A log that was cut after it had been read ends it before where it was read to.
    fn epoch_end<'a>(&'a self, of: &'a TopicPartition, epoch: i32) -> BoxFuture<'a, Result<Option<i64>, LogError>>;

    /// How long these topics certainly keep a tombstone (`delete.retention.ms`). One of which that isn't known is missing from the answer.
    fn tombstone_lives<'a>(&'a self, topics: &'a [String]) -> BoxFuture<'a, Result<HashMap<String, Duration>, LogError>>;

    /// Reads a partition from `start` on. At most one reader of a partition and kind exists at a time; dropping it ends the fetch,
    /// and no other partition's fetch is touched by either.
    fn fetch(&self, partition: &TopicPartition, start: i64, reader: Reader) -> Result<Box<dyn Fetch>, LogError>;

    /// The producer of this process. Idempotent: a retried record lands once and in order.
    fn producer(&self) -> Arc<dyn Producer>;

    /// The topics may have changed: what is known of them is asked for anew, before records go where they didn't before. Blocks.
    fn refresh(&self) {}

    /// Waits until nothing more can be written through this log, whatever is done, and says why. Another one may.
    fn broken(&self) -> BoxFuture<'_, String> {
        Box::pin(std::future::pending())
    }

    /// How many bytes of records that are fetched and not processed a partition may hold; none where nothing is fetched ahead.
    fn fetch_bound(&self) -> Option<u64> {
        None
    }
}

/// Why a partition is read: the two have consumers, limits and isolation of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reader {
    /// An input of agents: as it comes.
    Source,
    /// A changelog that rebuilds a table: committed records only, and positions that pass over gaps and markers.
    Changelog,
}

/// The records of one partition, from a start on.
pub(crate) trait Fetch: Send {
    /// Moves up to `max` records that have arrived into `out`, in order, without waiting. Not polling is the back-pressure: the log
    /// stops fetching when its bound is reached. An error may come after records that were moved before it: whoever sleeps does so
    /// only after a poll that moved nothing. After `Unavailable` the fetch goes on by itself; after any other error it has ended.
    fn poll(&mut self, max: usize, out: &mut VecDeque<Record>) -> Result<(), LogError>;

    /// The offset that comes next: behind the last record polled and, for [`Reader::Changelog`], behind gaps and markers too.
    fn position(&self) -> i64;

    /// Registers who is woken when records come into the empty partition. The protocol without lost wake-ups: register once, and
    /// poll once more before each sleep.
    fn on_ready(&mut self, wake: Wake);
}

/// Writes records. Queueing never waits; what became of a record that was taken is told to its [`Deliveries`], which count it from
/// the moment it is taken: the caller only waits for them.
pub(crate) trait Producer: Send + Sync {
    /// Queues one record.
    fn send(&self, record: Outgoing<'_>, delivery: &Arc<Deliveries>) -> Result<(), ProduceError>;

    /// Queues records of one partition without headers (a changelog) in order, the cheapest way there is. Returns how many were
    /// taken; fewer than given means that the buffer is full and the rest is to be offered again.
    fn send_rows(&self, partition: &TopicPartition, rows: &[Row], delivery: &Arc<Deliveries>) -> Result<usize, ProduceError>;
}

/// A changelog record: key, and value or tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

impl Row {
    /// What it takes in memory, roughly, and so also what it takes to handle it.
    pub fn weight(&self) -> usize {
        const OVERHEAD: usize = 96;
        OVERHEAD + self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }

    /// Sorted by key, each key once with the last value that it has in `rows`.
    pub fn last_of_each_key(mut rows: Vec<Self>) -> Vec<Self> {
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        rows.dedup_by(|later, kept| {
            let same = later.key == kept.key;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        rows
    }
}

/// A record on its way out.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing<'a> {
    pub topic: &'a str,
    pub partition: u32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [Header],
    /// Milliseconds since the epoch; now, where none is given.
    pub timestamp: Option<i64>,
}

/// What the log knows of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicFacts {
    pub id: TopicId,
    pub partitions: u32,
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewTopic {
    pub name: String,
    pub partitions: u32,
    pub config: Vec<(String, String)>,
}

/// Where a partition begins and ends. `end` is the offset that the next record gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub start: i64,
    pub end: i64,
}

/// Where a partition ends, and under which leader's epoch: −1 where that isn't known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogEnd {
    pub offset: i64,
    pub leader_epoch: i32,
}

/// Why the log did not answer; what the worker does about it hangs on the kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "memory is never away, full or in the way"))]
pub(crate) enum LogError {
    /// Not reachable, or not now: wait and ask again.
    Unavailable(String),
    /// It answered, and refuses us (authentication, authorization, fencing), or we don't trust it: asking again won't help. A sentence.
    Refused(String),
    /// The topic or partition isn't there.
    UnknownTopic(String),
    /// The position lies outside of what the log holds.
    OutOfRange { partition: TopicPartition, offset: i64 },
    /// A record was handed to nobody: what follows must not be read as if it had been.
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "memory has one queue per reader"))]
    Astray { partition: TopicPartition, offset: i64 },
    /// A configuration that the client doesn't take.
    Config(String),
}

impl std::fmt::Display for LogError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unavailable(why) => {
                write!(f, "Kafka can't be reached: {why}; check the setting `broker` and the brokers themselves")
            }
            Self::Refused(why) => f.write_str(why),
            Self::UnknownTopic(topic) => write!(f, "topic `{topic}` doesn't exist; create it"),
            Self::OutOfRange { partition, offset } => write!(f, "{partition}: offset {offset} is not in the log (any more)"),
            Self::Astray { partition, offset } => {
                write!(f, "{partition}: the Kafka client handed out record {offset} beside its queue; it is read again")
            }
            Self::Config(why) => write!(f, "a setting of the Kafka client is wrong: {why}"),
        }
    }
}

impl std::error::Error for LogError {}

/// Why a record wasn't queued.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "memory is never away, full or in the way"))]
pub(crate) enum ProduceError {
    /// The buffer is full: offer it again once deliveries have been reported.
    Full,
    TooLarge {
        bytes: usize,
    },
    Failed(String),
}

impl std::fmt::Display for ProduceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => f.write_str("the producer's buffer is full"),
            Self::TooLarge { bytes } => write!(f, "a record of {bytes} bytes is larger than the broker takes"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ProduceError {}

//! What a group commits, as Kafka keeps it: every commit with its time, read from Kafka's own topic of them.
#![allow(clippy::disallowed_methods, reason = "the outside world has threads of its own")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use faust_testbed::Broker;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::site::OFFSETS;

/// A committed offset, and when the coordinator wrote it down, in milliseconds of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    pub at: i64,
    pub offset: i64,
}

/// The commits of one group for one topic, from its first one on.
pub struct Commits {
    seen: Arc<Mutex<Vec<Vec<Commit>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Commits {
    /// Kafka's topic must be there, which it is as soon as anybody has asked for a coordinator.
    pub fn watch(broker: &Broker, group: &str, topic: &str, partitions: i32) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", broker.bootstrap())
            .set("group.id", "faust-e2e-reader")
            .set("enable.auto.commit", "false")
            // A broker that is stopped keeps its connections open; its partitions have other leaders soon.
            .set("socket.timeout.ms", "2000")
            .set("topic.metadata.refresh.interval.ms", "1000")
            .create()
            .expect("a consumer");
        let all = broker.partitions(OFFSETS).expect("metadata").expect("Kafka keeps offsets in a topic");
        let mut assigned = TopicPartitionList::new();
        for partition in 0..all.len() as i32 {
            assigned.add_partition_offset(OFFSETS, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&assigned).expect("an assignment");

        let seen = Arc::new(Mutex::new(vec![Vec::new(); partitions as usize]));
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, of, wanted) = (stop.clone(), seen.clone(), (group.to_string(), topic.to_string()));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // A broker that is away is an error; the consumer finds the next one by itself.
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
                let Some(key) = message.key().and_then(committed_by) else { continue };
                let Some(offset) = message.payload().and_then(committed_offset) else { continue };
                if (key.group, key.topic) == (&wanted.0, &wanted.1) {
                    let at = message.timestamp().to_millis().expect("Kafka writes the time down");
                    of.lock().unwrap()[key.partition as usize].push(Commit { at, offset });
                }
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// What is committed of each partition.
    pub fn last(&self) -> Vec<Option<i64>> {
        self.seen.lock().unwrap().iter().map(|commits| commits.last().map(|commit| commit.offset)).collect()
    }

    /// All commits of each partition, in order.
    pub fn all(&self) -> Vec<Vec<Commit>> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Commits {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whose offset a record of Kafka's topic is about.
#[derive(Debug, PartialEq)]
struct Committed<'a> {
    group: &'a str,
    topic: &'a str,
    partition: i32,
}

/// From the key; none if the record isn't about an offset.
fn committed_by(key: &[u8]) -> Option<Committed<'_>> {
    let (version, rest) = key.split_first_chunk()?;
    // 2 is a group itself.
    if !(0..=1).contains(&i16::from_be_bytes(*version)) {
        return None;
    }
    let (group, rest) = text(rest)?;
    let (topic, rest) = text(rest)?;
    Some(Committed { group, topic, partition: i32::from_be_bytes(rest.try_into().ok()?) })
}

/// From the value, in whatever version: the offset comes first.
fn committed_offset(value: &[u8]) -> Option<i64> {
    let (_version, rest) = value.split_first_chunk::<2>()?;
    rest.first_chunk().map(|offset| i64::from_be_bytes(*offset))
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(u16::from_be_bytes(*length) as usize)?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_read_and_a_group_is_not_taken_for_one() {
        let key = |version: u8| [&[0, version, 0, 1][..], b"g", &[0, 3], b"in1", &[0, 0, 0, 7]].concat();
        assert_eq!(committed_by(&key(1)), Some(Committed { group: "g", topic: "in1", partition: 7 }));
        assert_eq!(committed_by(&key(2)), None);
        assert_eq!(committed_by(&key(1)[..9]), None);
        assert_eq!(committed_offset(&[0, 3, 0, 0, 0, 0, 0, 0, 1, 2, 9, 9]), Some(258));
        assert_eq!(committed_offset(&[0, 3]), None);
    }
}

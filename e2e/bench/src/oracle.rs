//! What a table came to, in one number that doesn't depend on the order of rows; the same as the hand-written loop prints.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::Result;

pub type Digest = u64;

/// The wrapping sum over all rows of FNV-1a 64 of key, zero byte, count in decimal.
pub fn digest<'a>(rows: impl Iterator<Item = (&'a [u8], String)>) -> Digest {
    rows.fold(0, |sum: u64, (key, count)| {
        let bytes = key.iter().copied().chain([0]).chain(count.into_bytes());
        let row = bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        sum.wrapping_add(row)
    })
}

/// The digest of the last value of every key in a changelog, and how many records it has.
pub fn changelog(brokers: &str, topic: &str) -> Result<(Digest, u64)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "oracle")
        .set("enable.auto.commit", "false")
        .create()?;
    let patience = Duration::from_secs(30);
    let metadata = consumer.fetch_metadata(Some(topic), patience)?;
    let mut assignment = TopicPartitionList::new();
    let mut left = 0;
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), patience)?;
        assignment.add_partition_offset(topic, partition.id(), Offset::Offset(low))?;
        left += (high - low) as u64;
    }
    consumer.assign(&assignment)?;
    let (records, deadline) = (left, Instant::now() + Duration::from_secs(120));
    let mut rows: HashMap<Vec<u8>, String> = HashMap::new();
    while left > 0 {
        if Instant::now() > deadline {
            return Err(format!("{topic}: {left} records could not be read").into());
        }
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message?;
        let count = String::from_utf8(message.payload().unwrap_or_default().to_vec())?;
        rows.insert(message.key().unwrap_or_default().to_vec(), count);
        left -= 1;
    }
    Ok((digest(rows.iter().map(|(key, count)| (key.as_slice(), count.clone()))), records))
}

//! What is measured on: topics filled with always the same records, placed by murmur2; and what has to come out.

use std::collections::HashMap;
use std::time::Duration;

use faust_testbed::Kafka;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use crate::Result;
use crate::oracle::{Digest, digest};

/// Keys of eight digits, uniform over so many, on a topic with so many partitions.
#[derive(Clone, Copy)]
pub struct Shape {
    pub records: u64,
    pub partitions: u32,
    pub keys: u64,
}

/// Page views: values of about 100 bytes of JSON. The digest of the true counts.
pub fn views(kafka: &Kafka, topic: &str, shape: Shape) -> Result<Digest> {
    kafka.create_topic(topic, shape.partitions, &[])?;
    let mut counts: HashMap<String, u64> = HashMap::new();
    fill(kafka, topic, shape, |key, random, value| {
        value.push_str(&format!(r#"{{"page":"{key}","user":{},"pad":"{}"}}"#, random % 1_000_000, "x".repeat(54)));
        *counts.entry(key.to_string()).or_default() += 1;
    })?;
    Ok(digest(counts.iter().map(|(key, count)| (key.as_bytes(), count.to_string()))))
}

/// A changelog with values of `size` bytes. The broker leaves it as it is, so that all read the same.
pub fn changelog(kafka: &Kafka, topic: &str, shape: Shape, size: usize) -> Result<()> {
    let uncompacted = [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "86400000")];
    kafka.create_topic(topic, shape.partitions, &uncompacted)?;
    fill(kafka, topic, shape, |_, random, value| {
        let digits = (random % 90_000_000 + 10_000_000).to_string();
        value.extend(digits.chars().cycle().take(size));
    })
}

fn fill(kafka: &Kafka, topic: &str, shape: Shape, mut write: impl FnMut(&str, u64, &mut String)) -> Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("partitioner", "murmur2")
        .set("enable.idempotence", "true")
        .set("linger.ms", "20")
        .set("queue.buffering.max.messages", "1000000")
        .create()?;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut value = String::new();
    for _ in 0..shape.records {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let key = format!("{:08}", random % shape.keys);
        value.clear();
        write(&key, random, &mut value);
        let mut record = BaseRecord::to(topic).key(&key).payload(&value);
        while let Err((error, back)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            std::thread::sleep(Duration::from_millis(10));
            record = back;
        }
    }
    Ok(producer.flush(Duration::from_secs(300))?)
}

//! The input: keys uniform over 100,000, values of about 100 bytes of JSON, placed by murmur2; and what has to come out.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use crate::oracle::{Digest, digest};
use crate::{INPUT, KEYS, Result};

/// Produces the records, always the same ones; the digest of the true counts.
pub fn produce(brokers: &str, records: u64) -> Result<Digest> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("partitioner", "murmur2")
        .set("enable.idempotence", "true")
        .set("linger.ms", "20")
        .set("queue.buffering.max.messages", "1000000")
        .create()?;
    let mut counts: HashMap<String, u64> = HashMap::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..records {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let key = format!("{:08}", random % KEYS);
        let value = format!(r#"{{"page":"{key}","user":{},"pad":"{}"}}"#, random % 1_000_000, "x".repeat(54));
        let mut record = BaseRecord::to(INPUT).key(&key).payload(&value);
        while let Err((error, back)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            std::thread::sleep(Duration::from_millis(10));
            record = back;
        }
        *counts.entry(key).or_default() += 1;
    }
    producer.flush(Duration::from_secs(120))?;
    Ok(digest(counts.iter().map(|(key, count)| (key.as_bytes(), count.to_string()))))
}

//! The app that does what its records say, on the shared broker, under an id of its own.

use std::collections::BTreeMap;

use faust_testbed::{Broker, unique};

use crate::deployment::Deployment;
use crate::offsets::Offsets;
use crate::records::{self, Producer};
use crate::wait;
use crate::worker::Worker;

const TABLE: &str = "done";

/// The stage: the app's topic, and how its workers are started.
pub struct Orders<'a> {
    pub workers: Deployment,
    pub offsets: Offsets,
    pub topic: String,
    pub changelog: String,
    pub partitions: i32,
    pub broker: &'a Broker,
    producer: Producer,
}

impl<'a> Orders<'a> {
    /// `program` is the app's worker. Its topic is there.
    pub fn on(broker: &'a Broker, program: &str, partitions: i32) -> Self {
        let orders = Self::without_topic(broker, program, partitions);
        orders.create_topic();
        orders
    }

    pub fn without_topic(broker: &'a Broker, program: &str, partitions: i32) -> Self {
        let id = unique("orders");
        let topic = format!("{id}-orders");
        Self {
            workers: Deployment::new(program, broker).variable("FAUST_TEST_APP", &id).flag("commit-interval", "100ms"),
            offsets: Offsets::of(broker, &id, &topic, partitions),
            changelog: format!("{id}-{TABLE}-changelog"),
            topic,
            partitions,
            broker,
            producer: Producer::to(broker),
        }
    }

    /// A flag for every worker.
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.workers = self.workers.flag(name, value);
        self
    }

    pub fn create_topic(&self) {
        self.broker.create_topic(&self.topic, self.partitions as u32, &[]).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Orders, delivered when this returns.
    pub fn send(&self, keys: impl IntoIterator<Item = impl AsRef<str>>, order: &str) {
        for key in keys {
            self.producer.send(&self.topic, key.as_ref(), order);
        }
        self.producer.flush();
    }

    /// Any bytes or none in the partition.
    pub fn send_bytes(&self, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.producer.send_to(&self.topic, partition, key, value);
        self.producer.flush();
    }

    /// Sends an order to count for one key of each partition; the keys, in the partitions' order.
    pub fn one_key_each(&self) -> Vec<String> {
        self.send((0..self.partitions * 20).map(|n| format!("key-{n}")), COUNT);
        let mut keys = BTreeMap::new();
        for record in records::read(self.broker, &self.topic) {
            keys.insert(record.partition, String::from_utf8(record.key.expect("sent with a key")).expect("sent as text"));
        }
        assert_eq!(keys.len(), self.partitions as usize, "too few keys for the partitions");
        keys.into_values().collect()
    }

    /// Waits until the worker shows this count for the key.
    #[track_caller]
    pub fn until_row(&self, worker: &Worker, key: &str, count: u64) {
        wait::until(format_args!("the row {key:?} is {count}"), || {
            let row = worker.row(TABLE, key);
            if row == crate::Row::Is(count.to_string()) { Ok(()) } else { Err(format!("{row:?}")) }
        });
    }
}

pub const COUNT: &str = r#"{"type":"count"}"#;
pub const FAIL: &str = r#"{"type":"fail"}"#;
pub const PANIC: &str = r#"{"type":"panic"}"#;
pub const END: &str = r#"{"type":"end"}"#;

/// Keeps the thread, its row written.
pub fn block_seconds(seconds: u64) -> String {
    format!(r#"{{"type":"block","millis":{}}}"#, seconds * 1_000)
}

/// Waits in the middle of the event, its row written.
pub fn wait_seconds(seconds: u64) -> String {
    format!(r#"{{"type":"wait","millis":{}}}"#, seconds * 1_000)
}

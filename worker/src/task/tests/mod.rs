//! Whole workers on the log in memory, every part of them on the test's own thread, so that a fault comes exactly when it is wanted.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::LocalSet;

use crate::app::{AppNode, Running};
use crate::cli::Refusal;
use crate::control::{self, Handle};
use crate::log::{Fate, Log, MemoryLog, Reader};
use crate::prelude::*;
use crate::rt::Rt;
use crate::status::{InputMeter, TaskMeter};
use crate::time::TopicPartition;
use crate::topology::TaskId;
use crate::{Store, settings};

mod by_hand;
mod chaos;
mod commits;
mod ends;
mod failures;
mod fairness;
mod faults;
#[path = "../../../tests/common/http.rs"]
mod http;
mod membership;
mod standbys;
#[cfg(feature = "rocksdb")]
mod volumes;

/// Ends a test that waits for what never comes.
const HANGS: Duration = Duration::from_secs(60);

/// Runs a test on one thread, where all parts of a worker have their turns.
fn on_one_thread(test: impl Future<Output = ()>) {
    crate::rt::block_on(LocalSet::new().run_until(test));
}

/// Lets everybody else run until a condition holds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(millis(1)).await;
        }
    };
    if tokio::time::timeout(HANGS, wait).await.is_err() {
        panic!("{what}: not so after {HANGS:?}");
    }
}

/// Settings of an app in memory that commits often.
fn settings() -> Settings {
    Settings::new().broker("memory://").store(Store::Memory).web_port(0).commit_interval(millis(5))
}

/// A key of a topic with `partitions` partitions that lies in one of them.
fn key_in(partition: u32, partitions: u32) -> String {
    (0u32..).map(|n| format!("key-{n}")).find(|key| crate::log::partition_of(key.as_bytes(), partitions) == partition).unwrap()
}

/// A running worker.
struct World {
    app: &'static AppNode,
    log: Arc<MemoryLog>,
    handle: Handle,
}

impl World {
    /// Starts the app and waits until it is ready.
    async fn start(app: App, settings: Settings) -> Self {
        let world = Self::begin(app, settings).await;
        let ready = async {
            tokio::select! {
                biased;
                end = world.handle.ended() => panic!("the worker has ended: {end:?}"),
                () = world.handle.ready() => {}
            }
        };
        tokio::time::timeout(HANGS, ready).await.unwrap_or_else(|_| panic!("not ready: {:?}", world.running().readiness()));
        world
    }

    /// Starts the app.
    async fn begin(app: App, settings: Settings) -> Self {
        let node = app.node();
        let settings = settings::resolve(node.id, &settings, &settings::FileLayer::default(), [], &[]).unwrap();
        let handle = control::start_on(Rt::single(), node, settings.into()).await.unwrap();
        Self { app: node, log: control::memory_log(node.id), handle }
    }

    async fn stop(self) -> Result<(), Refusal> {
        self.handle.stop();
        self.ended().await
    }

    async fn ended(&self) -> Result<(), Refusal> {
        tokio::time::timeout(HANGS, self.handle.ended()).await.expect("the worker ends")
    }

    /// The sentence with which the worker ends by itself.
    async fn failure(&self) -> String {
        self.ended().await.unwrap_err().sentence
    }

    fn running(&self) -> Arc<Running> {
        self.app.running().expect("a running worker")
    }

    fn task(&self, partition: u32) -> Arc<TaskMeter> {
        let tasks = self.running().status.tasks();
        tasks.into_iter().find(|task| task.id == TaskId { group: 0, partition }).expect("the task")
    }

    fn input(&self, topic: &str, partition: u32) -> Arc<InputMeter> {
        let tasks = self.running().status.tasks();
        let mut inputs = tasks.iter().flat_map(|task| &task.inputs);
        inputs.find(|input| input.partition == TopicPartition::new(topic, partition)).expect("the input").clone()
    }

    /// The group's committed offset, as the next worker will find it.
    async fn committed(&self, topic: &str, partition: u32) -> Option<i64> {
        let membership = self.running().membership().expect("joined").clone();
        membership.committed(&[TopicPartition::new(topic, partition)]).await.unwrap()[0]
    }

    async fn until_committed(&self, topic: &str, partition: u32, offset: i64) {
        let input = self.input(topic, partition);
        until(&format!("{topic}[{partition}] committed at {offset}"), || input.committed.get() >= offset).await;
        assert_eq!(self.committed(topic, partition).await, Some(offset));
    }

    /// What lies in a partition: keys and values as text.
    fn records(&self, topic: &str, partition: u32) -> Vec<(String, Option<String>)> {
        let mut fetch = self.log.fetch(&TopicPartition::new(topic, partition), 0, Reader::Changelog).unwrap();
        let mut records = Default::default();
        fetch.poll(usize::MAX, &mut records).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        records.iter().map(|record| (record.key().map(text).unwrap_or_default(), record.value().map(text))).collect()
    }

    /// The last value of each key that still has one.
    fn latest(&self, topic: &str, partition: u32) -> std::collections::BTreeMap<String, String> {
        let mut latest = std::collections::BTreeMap::new();
        for (key, value) in self.records(topic, partition) {
            match value {
                Some(value) => latest.insert(key, value),
                None => latest.remove(&key),
            };
        }
        latest
    }
}

/// A door that an agent waits at, and the test opens.
#[derive(Clone, Default)]
struct Door(Arc<tokio::sync::Notify>);

impl Door {
    fn open(&self) {
        self.0.notify_one();
    }

    async fn pass(&self) {
        self.0.notified().await;
    }
}

/// The app that counts keys: topic `in`, table `counts`, with as many partitions as wanted.
struct Counting {
    app: App,
    input: Topic<String, u64>,
    counts: Table<String, u64>,
}

fn counting(id: &str, partitions: u32) -> Counting {
    let app = App::new(id);
    let input = app.topic::<String, u64>("in").partitions(partitions);
    let counts = app.table::<String, u64>("counts");
    Counting { app, input, counts }
}

impl Counting {
    /// With the agent that adds.
    fn with_agent(self) -> Self {
        self.app.agent("count", (self.input, self.counts), async |mut stream, counts| {
            while let Some(event) = stream.next().await {
                counts.update(event.key(), |n| *n += *event)?;
            }
            Ok(())
        });
        self
    }
}

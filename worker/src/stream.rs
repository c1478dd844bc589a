//! The running stream of one task, and its events.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::ops::Deref;
use std::rc::Rc;

use crate::log::Header;
use crate::model::{Key, Value};
use crate::task::Input;
use crate::time::Timestamp;

/// The events of one partition, in order. One agent future owns it; it doesn't leave its thread.
///
/// An event is done – and its offset may be committed – when its [`Event`] is dropped *and* the agent asks for more or returns `Ok`.
pub struct Stream<K, V, R = ()> {
    input: Rc<Input>,
    of: PhantomData<(K, V, R)>,
}

impl<K, V, R> Stream<K, V, R> {
    pub(crate) fn new(input: Rc<Input>) -> Self {
        Self { input, of: PhantomData }
    }

    /// Which task this is the stream of.
    pub fn task(&self) -> TaskInfo {
        TaskInfo { partition: self.input.partition.partition, epoch: self.input.epoch }
    }
}

impl<K: Key, V: Value, R> Stream<K, V, R> {
    /// The next event; `None` when the partition moves away or the worker stops. Cancel-safe.
    ///
    /// Records that don't decode never get here: the setting `on-decode-error` has them.
    pub async fn next(&mut self) -> Option<Event<K, V>> {
        poll_fn(|cx| self.input.poll_event(cx)).await
    }
}

/// The task that a stream belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskInfo {
    pub partition: u32,
    /// Rises whenever this worker takes the partition up (anew).
    pub epoch: u64,
}

/// A record in the hands of an agent: derefs to its value.
pub struct Event<K, V> {
    key: K,
    /// Taken out only by the methods that consume the event.
    value: Option<V>,
    timestamp: Timestamp,
    headers: Headers,
    receipt: Receipt,
}

/// Tells the task what became of the event when it is dropped.
struct Receipt {
    input: Rc<Input>,
    offset: i64,
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.input.release(self.offset);
    }
}

impl<K, V> Event<K, V> {
    pub(crate) fn new(key: K, value: V, timestamp: i64, headers: Vec<Header>, input: Rc<Input>, offset: i64) -> Self {
        let receipt = Receipt { input, offset };
        Self { key, value: Some(value), timestamp: Timestamp(timestamp), headers: Headers(headers), receipt }
    }

    pub fn key(&self) -> &K {
        &self.key
    }

    pub fn value(&self) -> &V {
        self.value.as_ref().expect("only consuming methods take the value")
    }

    /// The value; the event counts as dropped.
    pub fn into_value(mut self) -> V {
        self.value.take().expect("only consuming methods take the value")
    }

    /// Key and value; the event counts as dropped.
    pub fn into_parts(mut self) -> (K, V) {
        let value = self.value.take().expect("only consuming methods take the value");
        (self.key, value)
    }

    /// The record's time, as Kafka has it.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    pub fn topic(&self) -> &str {
        &self.receipt.input.partition.topic
    }

    pub fn partition(&self) -> u32 {
        self.receipt.input.partition.partition
    }

    pub fn offset(&self) -> i64 {
        self.receipt.offset
    }

    /// Done now, before the next one is asked for.
    pub fn ack(self) {
        self.receipt.input.acknowledge(self.receipt.offset);
    }
}

impl<K, V> Deref for Event<K, V> {
    type Target = V;
    fn deref(&self) -> &V {
        self.value()
    }
}

impl<K, V: fmt::Debug> fmt::Debug for Event<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}

/// A record's headers, in order; names may repeat.
#[derive(Clone, Debug, Default)]
pub struct Headers(Vec<Header>);

impl Headers {
    /// The last value of that name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().rev().find(|(own, _)| own == name).and_then(|(_, value)| value.as_deref())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }
}

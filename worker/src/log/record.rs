//! A fetched record: bytes that still belong to the log, read in place and given back when dropped.

use std::sync::Arc;

#[cfg(feature = "kafka")]
use super::kafka::Message;

/// Name and value of a header.
pub(crate) type Header = (String, Option<Vec<u8>>);

/// One record as it was fetched. In Kafka's case it pins its whole fetch response, so it is decoded and dropped as it is handed out.
pub(crate) struct Record {
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The leader's epoch that the record was fetched under, −1 where unknown.
    pub leader_epoch: i32,
    body: Body,
}

enum Body {
    Memory(Arc<Stored>),
    #[cfg(feature = "kafka")]
    Kafka(Message),
}

/// A record as the log in memory keeps it.
#[derive(Debug)]
pub(crate) struct Stored {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
}

impl Record {
    pub fn memory(offset: i64, timestamp: i64, leader_epoch: i32, stored: Arc<Stored>) -> Self {
        Self { offset, timestamp, leader_epoch, body: Body::Memory(stored) }
    }

    #[cfg(feature = "kafka")]
    pub fn kafka(message: Message) -> Self {
        Self {
            offset: message.offset(),
            timestamp: message.timestamp(),
            leader_epoch: message.leader_epoch(),
            body: Body::Kafka(message),
        }
    }

    pub fn key(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Memory(stored) => stored.key.as_deref(),
            #[cfg(feature = "kafka")]
            Body::Kafka(message) => message.key(),
        }
    }

    pub fn value(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Memory(stored) => stored.value.as_deref(),
            #[cfg(feature = "kafka")]
            Body::Kafka(message) => message.value(),
        }
    }

    pub fn headers(&self) -> Vec<Header> {
        match &self.body {
            Body::Memory(stored) => stored.headers.clone(),
            #[cfg(feature = "kafka")]
            Body::Kafka(message) => message.headers(),
        }
    }
}

//! Stream processing with agents and tables over Kafka.

mod error;
mod group;
mod log;
mod rt;
mod state;
mod time;
mod topology;

pub use error::{CodecError, Error, Invalid, QueryError, Result, SendError, TableError, TopologyError};
pub use time::{Duration, RecordMetadata, Timestamp, TopicPartition, days, hours, millis, mins, secs};

//! Stream processing with agents and tables over Kafka.

// The derive macro writes `::faust::`; this makes it work in here too.
extern crate self as faust;

mod cli;
mod codec;
mod error;
mod group;
mod log;
mod model;
mod rt;
mod settings;
mod state;
mod time;
mod topology;

pub use error::{CodecError, Error, Invalid, QueryError, Result, SendError, TableError, TopologyError};
pub use faust_derive::Record;
pub use model::{Field, Key, Record, Value};
pub use settings::{OnDecodeError, Settings, SettingsError, Store};
pub use time::{Duration, RecordMetadata, Timestamp, TopicPartition, days, hours, millis, mins, secs};

/// What `#[derive(Record)]` writes; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::codec::Presence;
    pub use serde;
}

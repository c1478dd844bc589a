//! Stream processing with agents and tables over Kafka.

// The derive macro writes `::faust::`; this makes it work in here too.
extern crate self as faust;

/// A declaration handle: `Copy`, `Send`, `Sync`, valid for the life of the process.
macro_rules! handle {
    ($(#[$meta:meta])* $name:ident<$($generic:ident $(= $default:ty)?),+> of $node:ty) => {
        $(#[$meta])*
        pub struct $name<$($generic $(= $default)?),+> {
            pub(crate) node: &'static $node,
            of: std::marker::PhantomData<fn() -> ($($generic,)+)>,
        }
        impl<$($generic),+> $name<$($generic),+> {
            pub(crate) fn of(node: &'static $node) -> Self {
                Self { node, of: std::marker::PhantomData }
            }
        }
        impl<$($generic),+> Clone for $name<$($generic),+> {
            fn clone(&self) -> Self {
                *self
            }
        }
        impl<$($generic),+> Copy for $name<$($generic),+> {}
    };
}

#[macro_use]
mod mutants;

mod agent;
mod app;
mod cli;
mod codec;
mod contract;
mod control;
mod error;
mod fnv;
mod group;
mod log;
mod model;
mod readiness;
mod rt;
mod settings;
#[cfg(all(test, feature = "kafka"))]
mod sim;
mod state;
mod status;
mod stream;
mod table;
mod task;
mod time;
mod topic;
mod topology;
mod web;

pub use agent::{Agent, AgentInputs, Input, State};
pub use app::{App, Shutdown, Task, Worker};
pub use error::{CodecError, Error, Invalid, QueryError, Result, SendError, TableError, TopologyError};
pub use faust_derive::Record;
pub use model::{Field, Key, Record, Value};
pub use settings::{OnDecodeError, OnEventTimeout, Settings, SettingsError, Store, TopicManagement};
pub use stream::{Event, Headers, Stream, TaskInfo};
pub use table::{KeyRef, LocalTable, Query, Table};
pub use time::{Duration, RecordMetadata, Timestamp, TopicPartition, days, hours, millis, mins, secs};
pub use topic::{PendingSend, Source, Topic};

/// What nearly every app uses.
pub mod prelude {
    pub use crate::{
        Agent, App, Event, Key, LocalTable, Record, Settings, Source, State, Stream, Table, Timestamp, Topic, Value, days, hours,
        millis, mins, secs,
    };
}

/// What `#[derive(Record)]` writes; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::codec::Presence;
    pub use serde;
}

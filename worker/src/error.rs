//! The error a user's function returns, and the typed errors of the public rooms: each variant one sentence that says what is wrong,
//! where, and what to do.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// What user functions and the app's own entry points return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error, with its chain of causes.
///
/// `?` converts from every `std::error::Error`. It does not implement `std::error::Error` itself (that is what makes the conversion
/// possible), like `anyhow::Error`; use [`Error::downcast_ref`] to look inside.
pub struct Error(Box<dyn StdError + Send + Sync>);

impl Error {
    /// An error that is only a sentence.
    pub fn msg(message: impl fmt::Display) -> Self {
        Self(message.to_string().into())
    }

    /// For boxed errors of other crates: `.map_err(Error::boxed)?`.
    pub fn boxed(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(error.into())
    }

    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }

    pub fn is<E: StdError + 'static>(&self) -> bool {
        self.0.is::<E>()
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// A value did not become bytes, or bytes no value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodecError {
    Encode(String),
    Decode(String),
    Invalid(Invalid),
}

/// A record that decodes but breaks its own rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub String);

impl Invalid {
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// Reading or writing a [`LocalTable`](crate::LocalTable).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableError {
    /// The key belongs to another partition than the task's.
    WrongPartition { table: &'static str, key: String, key_partition: u32, task_partition: u32 },
    /// A row's bytes don't fit the table's types.
    Decode { table: &'static str, key: String, error: CodecError },
    /// A key or value can't be encoded.
    Encode { table: &'static str, error: CodecError },
    /// The closure of an `update` reached for the row that it is changing.
    InUse { table: &'static str, key: String },
    /// The store failed.
    Store { table: &'static str, reason: String },
    /// The task was taken from this worker while the function still ran.
    Revoked { table: &'static str, partition: u32 },
}

/// Sending a record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// No worker or client of the app runs in this process.
    NotStarted {
        topic: &'static str,
    },
    /// On a shard's thread, but in no task.
    OutsideTask {
        topic: &'static str,
    },
    TooLarge {
        topic: &'static str,
        bytes: usize,
    },
    Broker {
        topic: &'static str,
        reason: String,
    },
    Codec {
        topic: &'static str,
        error: CodecError,
    },
}

/// Querying a table from outside its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryError {
    NotStarted {
        table: &'static str,
    },
    /// The row's partition is not on this worker.
    NotHere {
        table: &'static str,
        partition: u32,
    },
    /// The row's partition is still being restored.
    NotReady {
        table: &'static str,
        partition: u32,
        retry_after: Duration,
    },
    Table(TableError),
}

/// The declared topology is contradictory; found before anything starts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopologyError {
    DuplicateName(String),
    SecondReader(String),
    IllegalName(String),
    NoAgents(String),
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(why) => write!(f, "can't be encoded: {why}"),
            Self::Decode(why) => write!(f, "can't be decoded: {why}"),
            Self::Invalid(why) => write!(f, "is not valid: {why}"),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongPartition { table, key, key_partition, task_partition } => write!(
                f,
                "table `{table}`: key {key:?} belongs to partition {key_partition}, this task has {task_partition}; use a source that \
                 is keyed by the table's key"
            ),
            Self::Decode { table, key, error } => {
                write!(f, "table `{table}`: the row of key {key:?} {error}; was the table's type changed?")
            }
            Self::Encode { table, error } => write!(f, "table `{table}`: a key or value {error}"),
            Self::InUse { table, key } => write!(
                f,
                "table `{table}`: the update of key {key:?} reads the row it is changing; use the value the closure was given"
            ),
            Self::Store { table, reason } => write!(f, "table `{table}`: the store failed: {reason}"),
            Self::Revoked { table, partition } => {
                write!(f, "table `{table}`: partition {partition} was taken from this worker; end the function")
            }
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted { topic } => {
                write!(f, "topic `{topic}`: nothing can be sent before the app's worker has started or after it has stopped")
            }
            Self::OutsideTask { topic } => {
                write!(f, "topic `{topic}`: a send outside a task on a worker thread belongs to no commit; send it from the agent")
            }
            Self::TooLarge { topic, bytes } => {
                write!(
                    f,
                    "topic `{topic}`: a record of {bytes} bytes is larger than the broker takes; raise `max.message.bytes` or send less"
                )
            }
            Self::Broker { topic, reason } => write!(f, "topic `{topic}`: the record was not accepted: {reason}"),
            Self::Codec { topic, error } => write!(f, "topic `{topic}`: a key or value {error}"),
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted { table } => write!(f, "table `{table}`: no worker of the app runs in this process"),
            Self::NotHere { table, partition } => write!(f, "table `{table}`: partition {partition} is on another worker"),
            Self::NotReady { table, partition, retry_after } => {
                write!(f, "table `{table}`: partition {partition} is being restored; try again in {} s", retry_after.as_secs())
            }
            Self::Table(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateName(why) | Self::SecondReader(why) | Self::IllegalName(why) | Self::NoAgents(why) => f.write_str(why),
        }
    }
}

impl StdError for CodecError {}
impl StdError for Invalid {}
impl StdError for TableError {}
impl StdError for SendError {}
impl StdError for QueryError {}
impl StdError for TopologyError {}

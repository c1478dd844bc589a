//! Tables on this worker: a store per (table, partition) that knows how far in its changelog it is.

#[cfg(feature = "rocksdb")]
use std::path::PathBuf;
use std::sync::Arc;

use crate::log::TopicId;

mod budget;
#[cfg(test)]
mod conformance;
#[cfg(feature = "rocksdb")]
mod disk;
mod flush;
mod memory;
#[cfg(feature = "rocksdb")]
mod position;
mod restore;
#[cfg(feature = "rocksdb")]
mod rocks;
mod rows;
mod stores;
mod tombstones;

pub(crate) use budget::StoreMemory;
pub(crate) use flush::{Applied, FlushLimits, FlushPolicy, StoreId};
pub(crate) use restore::{
    ALL_BATCHES, BatchMemory, ChangelogFacts, Horizon, Limits, Listener, Progress, Replay, Restore, RestoreError, Size, Span,
    Throttle, Together,
};
pub(crate) use rows::{NO_ROWS, Rows, Take};
pub(crate) use stores::Stores;
pub(crate) use tombstones::TombstoneLives;

/// Rows of one partition of one table. Keys and values are the bytes of the changelog.
///
/// Read from a shard's thread, written from blocking threads, hence shared.
pub(crate) trait StateStore: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Writes rows and the position that they bring the store to, as one batch: after a crash either all of it is there or nothing.
    fn apply(&self, rows: &dyn Rows, position: &Position) -> Result<(), StoreError>;

    /// The same for so many rows that it pays to write them to the disk at once: they are safe when it returns.
    fn load(&self, rows: &dyn Rows, position: &Position) -> Result<(), StoreError> {
        self.apply(rows, position)?;
        self.flush()
    }

    /// No more loads for now: what they put off is done, beside all else.
    fn settle(&self) {}

    /// Writes that the store was at the changelog's end at `written_at`, if it is still at this offset; whether it is.
    fn confirm(&self, next_offset: i64, written_at: i64) -> Result<bool, StoreError> {
        match self.position()? {
            Some(position) if position.next_offset == next_offset => {
                self.apply(&NO_ROWS, &Position { written_at, ..position }).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// Where the store is in its changelog; none in a new one.
    fn position(&self) -> Result<Option<Position>, StoreError>;

    /// All rows from `from` on, in key order, up to `limit`.
    fn scan(&self, from: &[u8], limit: usize) -> Result<Vec<KeyValue>, StoreError>;

    /// Makes what was applied survive `kill -9`.
    fn flush(&self) -> Result<(), StoreError>;

    /// The same; the position that is safe from now on.
    fn flush_position(&self) -> Result<Option<Position>, StoreError> {
        let position = self.position()?;
        self.flush()?;
        Ok(position)
    }
}

/// A row as a scan yields it.
pub(crate) type KeyValue = (Vec<u8>, Vec<u8>);

/// A position in a changelog, and which changelog that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The topic's identity: offsets alone don't see a changelog that was deleted and made anew.
    pub topic_id: TopicId,
    /// The offset of the first record that is not in the store.
    pub next_offset: i64,
    /// The leader's epoch of the last record, −1 where unknown.
    pub leader_epoch: i32,
    /// When the store was known to be at the log's end, in milliseconds since the epoch.
    pub written_at: i64,
}

/// Where stores live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Memory,
    #[cfg(feature = "rocksdb")]
    Disk(PathBuf, StoreMemory),
}

/// Why a store failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "rocksdb"), expect(dead_code, reason = "memory is neither in use by another nor corrupt nor full"))]
pub(crate) enum StoreError {
    /// Another process has the folder.
    InUse(String),
    /// Its bytes are broken: it can be wiped and rebuilt from the changelog.
    Corrupt(String),
    /// No space left.
    Full(String),
    /// The store was handed to another task meanwhile; this one may not write any more.
    Superseded(String),
    Io(String),
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InUse(why) => {
                write!(f, "the data folder is in use by another process: {why}; give each worker its own `--datadir`")
            }
            Self::Corrupt(why) => write!(f, "the store is corrupt: {why}"),
            Self::Full(why) => write!(f, "the disk is full: {why}; make room, the worker goes on by itself"),
            Self::Superseded(store) => write!(f, "the store {store} belongs to another task by now; end this one"),
            Self::Io(why) => write!(f, "the store failed: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// Why a store was emptied, to be rebuilt from its changelog. Its text is the label that it is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum WipeReason {
    /// Its files can't be read.
    Corrupt,
    /// The changelog was deleted and made anew: the rows are those of another topic.
    OtherChangelog,
    /// The position lies outside of the changelog: records that the store needs, or has, are not in it.
    OffsetOutOfRange,
    /// The changelog was cut, as by an unclean election, and has grown again: the store has rows of records that aren't in it.
    LogDiverged,
    /// It is so old that the changelog may have lost a tombstone that it never got: a row that was deleted would come back.
    TombstonesExpired,
}

impl std::fmt::Display for WipeReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Corrupt => "corrupt",
            Self::OtherChangelog => "other_changelog",
            Self::OffsetOutOfRange => "offset_out_of_range",
            Self::LogDiverged => "log_diverged",
            Self::TombstonesExpired => "tombstones_expired",
        })
    }
}

/// What a task holds.
pub(crate) type SharedStore = Arc<dyn StateStore>;

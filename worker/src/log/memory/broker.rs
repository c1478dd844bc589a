//! The log in memory as the brokers of a simulation have it: read and written by nobody in particular.

use std::collections::VecDeque;

use super::MemoryLog;
use crate::log::{Header, LogError, Record, Stored};
use crate::time::TopicPartition;

impl MemoryLog {
    /// The offset of the next record.
    pub fn end(&self, at: &TopicPartition) -> i64 {
        self.partition(at).state().end
    }

    /// Adds a record by itself, as a broker does, and returns its offset.
    pub fn append(&self, at: &TopicPartition, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header]) -> i64 {
        let stored = Stored { key: key.map(<[u8]>::to_vec), value: value.map(<[u8]>::to_vec), headers: headers.to_vec() };
        self.partition(at).append(timestamp, std::iter::once(stored))
    }

    /// Reads from an offset on up to another one, whoever else reads.
    pub fn read(&self, at: &TopicPartition, from: i64, below: i64, max: usize, out: &mut VecDeque<Record>) -> Result<(), LogError> {
        let partition = self.partition(at);
        let state = partition.state();
        if from < state.start || from > state.end {
            return Err(LogError::OutOfRange { partition: at.clone(), offset: from });
        }
        let entries = state.entries.iter().skip_while(|entry| entry.offset < from).take_while(|entry| entry.offset < below);
        out.extend(
            entries
                .take(max)
                .map(|entry| Record::memory(entry.offset, entry.timestamp, state.epochs.of(entry.offset), entry.stored.clone())),
        );
        Ok(())
    }
}

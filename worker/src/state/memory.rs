//! A store in memory: what tables live in without RocksDB, and the model that RocksDB is compared with.

use std::collections::BTreeMap;
use std::sync::RwLock;

use super::{KeyValue, Position, Rows, StateStore, StoreError};

#[derive(Default)]
pub(super) struct MemoryStore(RwLock<Inner>);

#[derive(Default)]
struct Inner {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    position: Option<Position>,
}

impl StateStore for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.read().unwrap().rows.get(key).cloned())
    }

    fn apply(&self, rows: &dyn Rows, position: &Position) -> Result<(), StoreError> {
        let mut inner = self.0.write().unwrap();
        rows.each(&mut |key, value| {
            match value {
                Some(value) => inner.rows.insert(key.to_vec(), value.to_vec()),
                None => inner.rows.remove(key),
            };
        });
        inner.position = Some(*position);
        Ok(())
    }

    fn position(&self) -> Result<Option<Position>, StoreError> {
        Ok(self.0.read().unwrap().position)
    }

    fn scan(&self, from: &[u8], limit: usize) -> Result<Vec<KeyValue>, StoreError> {
        let inner = self.0.read().unwrap();
        let rows = inner.rows.range(from.to_vec()..).take(limit);
        Ok(rows.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryStore;

    crate::state::conformance::suite!(|| ((), MemoryStore::default()));
}

//! The disk of a simulated worker: stores of which a kill leaves what was flushed, and of what was applied since then some more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::log::Row;
use crate::rt::sim::Sim;
use crate::state::{self, KeyValue, Position, StateStore, StoreError, StoreId};

#[derive(Default)]
pub(crate) struct Disk {
    stores: Mutex<BTreeMap<StoreId, Arc<Mutex<Files>>>>,
    full: Arc<AtomicBool>,
}

/// One store, as it is and as a kill might leave it.
#[derive(Clone, Default)]
struct Files {
    live: Rows,
    flushed: Rows,
    /// Applied since the last flush, in order.
    unflushed: Vec<(Vec<Row>, Position)>,
}

/// Rows and the position that they were written with.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
    pub position: Option<Position>,
}

impl Rows {
    fn apply(&mut self, rows: &[Row], position: &Position) {
        for row in rows {
            match &row.value {
                Some(value) => self.rows.insert(row.key.clone(), value.clone()),
                None => self.rows.remove(&row.key),
            };
        }
        self.position = Some(*position);
    }
}

impl Disk {
    pub fn open(&self, id: &StoreId) -> Box<dyn StateStore> {
        let files = self.stores.lock().unwrap().entry(id.clone()).or_default().clone();
        Box::new(Store { files, full: self.full.clone() })
    }

    pub fn remove(&self, id: &StoreId) {
        self.stores.lock().unwrap().remove(id);
    }

    /// Whether writes are refused for want of room.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// The process was killed: of each store some first part of what wasn't flushed is there.
    pub fn crash(&self, sim: &Sim) {
        for (id, store) in self.stores.lock().unwrap().iter_mut() {
            let Files { mut flushed, unflushed, .. } = store.lock().unwrap().clone();
            let kept = sim.between(0, unflushed.len() as u64) as usize;
            sim.note(|| format!("{id} keeps {kept} of {} batches", unflushed.len()));
            for (rows, position) in &unflushed[..kept] {
                flushed.apply(rows, position);
            }
            if let (true, Some((_, position))) = (mutant!("position beside the batch"), unflushed.last()) {
                flushed.position = Some(*position);
            }
            // A new one: what the dead process still does to its own is not seen.
            *store = Arc::new(Mutex::new(Files { live: flushed.clone(), flushed, unflushed: Vec::new() }));
        }
    }

    /// The volume is another one.
    pub fn lose(&self) {
        self.stores.lock().unwrap().clear();
    }

    /// Where every store was when it was last flushed or closed.
    pub fn positions(&self) -> BTreeMap<StoreId, Position> {
        let stores = self.stores.lock().unwrap();
        stores.iter().filter_map(|(id, files)| Some((id.clone(), files.lock().unwrap().flushed.position?))).collect()
    }

    /// What the store has now.
    pub fn rows(&self, id: &StoreId) -> Option<Rows> {
        self.stores.lock().unwrap().get(id).map(|files| files.lock().unwrap().live.clone())
    }
}

struct Store {
    files: Arc<Mutex<Files>>,
    full: Arc<AtomicBool>,
}

impl StateStore for Store {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.files.lock().unwrap().live.rows.get(key).cloned())
    }

    fn apply(&self, batch: &dyn state::Rows, position: &Position) -> Result<(), StoreError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(StoreError::Full("simulated".into()));
        }
        let mut files = self.files.lock().unwrap();
        let mut rows = Vec::new();
        batch.each(&mut |key, value| rows.push(Row { key: key.to_vec(), value: value.map(<[u8]>::to_vec) }));
        files.live.apply(&rows, position);
        files.unflushed.push((rows, *position));
        Ok(())
    }

    fn position(&self) -> Result<Option<Position>, StoreError> {
        Ok(self.files.lock().unwrap().live.position)
    }

    fn scan(&self, from: &[u8], limit: usize) -> Result<Vec<KeyValue>, StoreError> {
        let files = self.files.lock().unwrap();
        let rows = files.live.rows.range(from.to_vec()..).take(limit);
        Ok(rows.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn flush(&self) -> Result<(), StoreError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(StoreError::Full("simulated".into()));
        }
        let mut files = self.files.lock().unwrap();
        files.flushed = files.live.clone();
        files.unflushed.clear();
        Ok(())
    }
}

/// Closing a database writes out what it has.
impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

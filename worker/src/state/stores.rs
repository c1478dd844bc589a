//! All stores of a worker, each with one writer at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

#[cfg(feature = "rocksdb")]
use super::disk::Disk;
use super::memory::MemoryStore;
use super::rows::are_sorted;
use super::{KeyValue, Place, Position, Rows, SharedStore, StateStore, StoreError, StoreId, WipeReason};

/// The stores of one worker and their place. The place is given up when this and every store of it are dropped.
///
/// Its calls block, and so does dropping the last hold on a store (it closes a database): all of that goes through
/// [`Rt::blocking`](crate::rt::Rt::blocking).
pub(crate) struct Stores {
    home: Home,
    slots: Mutex<BTreeMap<StoreId, Arc<RwLock<Slot>>>>,
}

/// A store as a task gets it.
pub(crate) struct Opened {
    pub store: SharedStore,
    /// It couldn't be read and starts empty.
    pub wiped: Option<WipeReason>,
}

enum Home {
    Memory,
    #[cfg(all(test, feature = "kafka"))]
    Simulated(Arc<crate::sim::Disk>),
    #[cfg(feature = "rocksdb")]
    Disk(Disk),
}

/// What is behind the holds on one store.
#[derive(Default)]
struct Slot {
    /// None while nobody has it open, or when it couldn't be opened again after a wipe.
    store: Option<Box<dyn StateStore>>,
    holders: usize,
    /// The number of the hold that may write: the newest.
    writer: u64,
}

/// One task's hold on a store.
struct Hold {
    id: StoreId,
    slot: Arc<RwLock<Slot>>,
    number: u64,
    stores: Arc<Stores>,
}

impl Stores {
    pub fn open(place: &Place) -> Result<Arc<Self>, StoreError> {
        #[cfg(all(test, feature = "kafka"))]
        if let Some(disk) = crate::sim::disk() {
            return Ok(Arc::new(Self { home: Home::Simulated(disk), slots: Mutex::default() }));
        }
        let home = match place {
            Place::Memory => Home::Memory,
            #[cfg(feature = "rocksdb")]
            Place::Disk(datadir, memory) => Home::Disk(Disk::open(datadir, *memory)?),
        };
        Ok(Arc::new(Self { home, slots: Mutex::default() }))
    }

    /// Opens the store, or joins it where it is open. Whoever got it last is its writer: from now on what others apply is refused, so
    /// a task that was taken away can't write behind its successor. Reading goes on for all.
    pub fn store(self: &Arc<Self>, table: &str, partition: u32) -> Result<Opened, StoreError> {
        let id = StoreId { table: table.to_string(), partition };
        let shared = self.slot(&id);
        let mut slot = shared.write().unwrap();
        let mut wiped = None;
        if slot.store.is_none() {
            let store = match self.home.open(&id) {
                Err(StoreError::Corrupt(why)) => {
                    tracing::warn!("store {id} is wiped and will be rebuilt from its changelog, because it is corrupt: {why}");
                    wiped = Some(WipeReason::Corrupt);
                    self.home.remove(&id)?;
                    self.home.open(&id)?
                }
                opened => opened?,
            };
            slot.store = Some(store);
        }
        slot.holders += 1;
        slot.writer += 1;
        let hold = Hold { id, slot: shared.clone(), number: slot.writer, stores: self.clone() };
        Ok(Opened { store: Arc::new(hold), wiped })
    }

    /// Empties the store. Whoever holds it goes on with the empty one.
    pub fn wipe(&self, table: &str, partition: u32) -> Result<(), StoreError> {
        let id = StoreId { table: table.to_string(), partition };
        let shared = self.slot(&id);
        let mut slot = shared.write().unwrap();
        slot.store = None;
        self.home.remove(&id)?;
        if slot.holders > 0 {
            slot.store = Some(self.home.open(&id)?);
        }
        Ok(())
    }

    /// The stores that lie here from earlier, and about where they are: what was noted at their last flush.
    pub fn left_behind(&self) -> BTreeMap<StoreId, Position> {
        match &self.home {
            Home::Memory => BTreeMap::new(),
            #[cfg(all(test, feature = "kafka"))]
            Home::Simulated(disk) => disk.positions(),
            #[cfg(feature = "rocksdb")]
            Home::Disk(disk) => disk.notes(),
        }
    }

    fn slot(&self, id: &StoreId) -> Arc<RwLock<Slot>> {
        self.slots.lock().unwrap().entry(id.clone()).or_default().clone()
    }
}

#[cfg_attr(not(feature = "rocksdb"), expect(unused_variables, reason = "memory has no folders"))]
impl Home {
    fn open(&self, id: &StoreId) -> Result<Box<dyn StateStore>, StoreError> {
        match self {
            Self::Memory => Ok(Box::new(MemoryStore::default())),
            #[cfg(all(test, feature = "kafka"))]
            Self::Simulated(disk) => Ok(disk.open(id)),
            #[cfg(feature = "rocksdb")]
            Self::Disk(disk) => Ok(Box::new(disk.store(&id.table, id.partition)?)),
        }
    }

    fn remove(&self, id: &StoreId) -> Result<(), StoreError> {
        match self {
            Self::Memory => Ok(()),
            #[cfg(all(test, feature = "kafka"))]
            Self::Simulated(disk) => {
                disk.remove(id);
                Ok(())
            }
            #[cfg(feature = "rocksdb")]
            Self::Disk(disk) => disk.remove(&id.table, id.partition),
        }
    }

    /// Notes where a store is that was just flushed or closed.
    fn note(&self, id: &StoreId, position: Option<Position>) {
        match self {
            Self::Memory => {}
            #[cfg(all(test, feature = "kafka"))]
            Self::Simulated(_) => {}
            #[cfg(feature = "rocksdb")]
            Self::Disk(disk) => disk.note(&id.table, id.partition, position),
        }
    }

    /// In memory a closed store would be a lost one, and a task that comes back wants its rows.
    fn keeps_unheld(&self) -> bool {
        matches!(self, Self::Memory)
    }
}

impl Hold {
    fn slot(&self) -> RwLockReadGuard<'_, Slot> {
        self.slot.read().unwrap()
    }

    fn store<'a>(&self, slot: &'a Slot) -> Result<&'a dyn StateStore, StoreError> {
        slot.store
            .as_deref()
            .ok_or_else(|| StoreError::Io(format!("store {} could not be opened again after it was wiped", self.id)))
    }

    /// The store, as long as this is its newest hold.
    fn writable<'a>(&self, slot: &'a Slot) -> Result<&'a dyn StateStore, StoreError> {
        match slot.writer == self.number {
            true => self.store(slot),
            false => Err(StoreError::Superseded(self.id.to_string())),
        }
    }
}

impl StateStore for Hold {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store(&self.slot())?.get(key)
    }

    fn apply(&self, rows: &dyn Rows, position: &Position) -> Result<(), StoreError> {
        debug_assert!(are_sorted(rows), "rows of {} are not sorted or not unique", self.id);
        // Held to the end: the next holder gets the store only once this batch is in it.
        let slot = self.slot();
        self.writable(&slot)?.apply(rows, position)
    }

    fn load(&self, rows: &dyn Rows, position: &Position) -> Result<(), StoreError> {
        debug_assert!(are_sorted(rows), "rows of {} are not sorted or not unique", self.id);
        let slot = self.slot();
        self.writable(&slot)?.load(rows, position)?;
        self.stores.home.note(&self.id, Some(*position));
        Ok(())
    }

    fn settle(&self) {
        if let Ok(store) = self.writable(&self.slot()) {
            store.settle();
        }
    }

    fn confirm(&self, next_offset: i64, written_at: i64) -> Result<bool, StoreError> {
        // No batch may get in between its look and its write.
        let slot = self.slot.write().unwrap();
        self.writable(&slot)?.confirm(next_offset, written_at)
    }

    fn position(&self) -> Result<Option<Position>, StoreError> {
        self.store(&self.slot())?.position()
    }

    fn scan(&self, from: &[u8], limit: usize) -> Result<Vec<KeyValue>, StoreError> {
        self.store(&self.slot())?.scan(from, limit)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.flush_position().map(drop)
    }

    fn flush_position(&self) -> Result<Option<Position>, StoreError> {
        let slot = self.slot();
        let position = self.store(&slot)?.flush_position()?;
        self.stores.home.note(&self.id, position);
        Ok(position)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        slot.holders -= 1;
        if slot.holders == 0
            && !self.stores.home.keeps_unheld()
            && let Some(store) = slot.store.take()
        {
            let position = store.position().ok().flatten();
            drop(store);
            self.stores.home.note(&self.id, position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::NO_ROWS;
    use crate::state::conformance::{at, row};

    #[test]
    fn a_task_that_was_taken_away_cannot_write_behind_the_next_one() {
        let stores = Stores::open(&Place::Memory).unwrap();
        let before = stores.store("counts", 0).unwrap().store;
        let after = stores.store("counts", 0).unwrap().store;
        assert_eq!(before.apply(&NO_ROWS, &at(1)), Err(StoreError::Superseded("counts[0]".to_string())));
        assert_eq!(after.apply(&NO_ROWS, &at(2)), Ok(()));
        assert_eq!(before.position(), Ok(Some(at(2))), "it may still read");
    }

    #[test]
    fn in_memory_a_task_that_comes_back_finds_its_rows_until_they_are_wiped() {
        let stores = Stores::open(&Place::Memory).unwrap();
        stores.store("counts", 0).unwrap().store.apply(&[row("a", Some("1"))], &at(1)).unwrap();
        let back = stores.store("counts", 0).unwrap().store;
        assert_eq!(back.get(b"a"), Ok(Some(b"1".to_vec())));
        assert_eq!(stores.store("counts", 1).unwrap().store.position(), Ok(None));

        stores.wipe("counts", 0).unwrap();
        assert_eq!((back.get(b"a"), back.position()), (Ok(None), Ok(None)));
    }
}

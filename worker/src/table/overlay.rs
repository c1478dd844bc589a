//! The rows of one task's table as decoded values, in front of the store: a hot key costs no serialisation and no store call until
//! the next commit.
//!
//! ```text
//!   write ──▶ open ──freeze──▶ frozen ──encode──▶ encoded ──applied──▶ clean
//!              ▲                 │ (encoded at once when it is touched again)
//!              └──── write ──────┘
//! ```
//!
//! A commit freezes what was written since the last one, in O(1), and the task goes on writing. Until the frozen rows are in the store
//! they stay here: one that was evicted would be read again as it was before, a lost update. The store may lag behind by several
//! commits.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::mem;
use std::rc::Rc;

use super::KeyRef;
use super::budget::Budget;
use super::rows::{Cached, Rows, Slot};
use super::slot_key::{Probe, SlotKey, hash_of_bytes};
use crate::codec::{self, Presence};
use crate::error::{CodecError, TableError};
use crate::log::{Row, partition_of};
use crate::model::{Key, Value};
use crate::state::{SharedStore, StoreError};

/// Where an overlay stands: its table, its partition, the store behind it.
pub(crate) struct Place {
    pub table: &'static str,
    pub partition: u32,
    pub partitions: u32,
    pub store: SharedStore,
    pub budget: Rc<Budget>,
}

/// An overlay without its types, as the engine commits and queries it.
pub(crate) trait AnyOverlay: Any {
    /// Closes the open generation and returns its number. The one before must have been encoded.
    fn freeze(&self) -> u32;

    /// Encodes more frozen rows until they weigh `slice`, and hands out all that are encoded by now; `None` when there are no more.
    fn encode(&self, slice: usize) -> Result<Option<Vec<Row>>, TableError>;

    /// The rows of all generations up to this one are in the store: they may be evicted.
    fn applied(&self, generation: u32);

    /// Rows written since the last freeze.
    fn open_rows(&self) -> usize;

    /// Whether so much is written that the next commit should not wait for its time, and this overlay has its share of that.
    fn wants_commit(&self) -> bool;

    /// Whether more is written than may wait for the next commit, and this overlay has its share of that: one that waits in the middle of
    /// an event with much open must not stop the others.
    fn is_at_bound(&self) -> bool;

    /// Rows of these keys may be wanted soon: makes looking them up cheaper. How many of them are at hand.
    fn warm(&self, keys: &mut dyn Iterator<Item = &[u8]>) -> usize;

    /// The newest value of a key, encoded as in the changelog: overlay before store.
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError>;

    /// The store has failed.
    fn blame(&self, error: &StoreError);

    /// Why the store failed, if it did: the agent that met it is not to blame.
    fn store_failure(&self) -> Option<StoreError>;

    /// The task's epoch is over: from here on every access is [`TableError::Revoked`].
    fn end(&self);

    fn as_any(self: Rc<Self>) -> Rc<dyn Any>;
}

/// A typed overlay. One thread, no locks; no borrow is held while user code runs.
pub(crate) struct Overlay<K, V> {
    place: Place,
    rows: RefCell<Rows<K, V>>,
    /// Encoded at their first touch after the freeze, and not handed out yet.
    encoded: RefCell<Vec<Row>>,
    /// The task has ended for this overlay: nothing of it may be read or written any more.
    ended: Cell<bool>,
    /// The first failure of the store, which is not the agent's.
    failure: RefCell<Option<StoreError>>,
}

impl<K: Key, V: Value> Overlay<K, V> {
    pub fn new(place: Place) -> Self {
        place.budget.join();
        let (rows, encoded) = (RefCell::new(Rows::new()), RefCell::default());
        Self { place, rows, encoded, ended: Cell::new(false), failure: RefCell::new(None) }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Lends the row of `key` to `f`, which may also use other rows, and takes it back. `write` says whether what it leaves behind is
    /// a new value.
    pub fn lend<Q, T>(&self, key: &Q, write: bool, f: impl FnOnce(&mut Option<V>) -> T) -> Result<T, TableError>
    where
        Q: KeyRef<K> + ?Sized,
    {
        let at = self.find(key)?;
        let mut lent = Lent { overlay: self, at, write, value: self.take(at, write)? };
        Ok(f(&mut lent.value))
    }

    /// The rows that the overlay has and the store has not, or has older, sorted by key.
    pub fn newer_than_store(&self) -> Result<Vec<Row>, TableError> {
        self.check()?;
        let rows = self.rows.borrow();
        let mut newer = Vec::new();
        for slot in rows.slots.iter().filter(|slot| rows.is_held(slot)) {
            newer.push(self.encode_row(slot)?);
        }
        newer.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(newer)
    }

    /// Decodes a row that `read` or a scan of the store returned.
    pub fn decode(&self, key: &[u8], value: &[u8]) -> Result<(K, V), TableError> {
        let key_of = codec::decode_value::<K>(Some(key)).map_err(|error| self.broken(key, error))?;
        let value = codec::decode_value::<V>(Some(value)).map_err(|error| self.broken(key, error))?;
        Ok((key_of, value))
    }

    fn check(&self) -> Result<(), TableError> {
        if self.ended.get() {
            return Err(TableError::Revoked { table: self.place.table, partition: self.place.partition });
        }
        Ok(())
    }

    /// The slot of `key`, loaded from the store if the overlay doesn't have it.
    fn find<Q: KeyRef<K> + ?Sized>(&self, key: &Q) -> Result<u32, TableError> {
        self.check()?;
        let rows = &mut *self.rows.borrow_mut();
        let probe = Probe::new(key, &rows.hasher);
        if let Some(at) = rows.find(&probe) {
            rows.touch(at);
            return Ok(at);
        }
        let owned = probe.to_key();
        let bytes = self.encode_key(&owned)?;
        self.check_partition(&bytes)?;
        let value = self.place.store.get(&bytes).map_err(|error| self.store_error(error))?;
        let stored = Row { key: bytes, value };
        let value = match &stored.value {
            Some(value) => Cached::Present(codec::decode_value(Some(value)).map_err(|error| self.broken(&stored.key, error))?),
            None => Cached::Absent,
        };
        Ok(rows.insert(owned, value, probe.hash, stored.weight() + mem::size_of::<V>(), &self.place.budget))
    }

    fn take(&self, at: u32, write: bool) -> Result<Option<V>, TableError> {
        let rows = &mut *self.rows.borrow_mut();
        if write && rows.awaits_encoding(at) {
            let row = self.encode_slot(rows, at)?;
            self.encoded.borrow_mut().push(row);
        }
        let slot = &mut rows.slots[at as usize];
        match mem::replace(&mut slot.value, Cached::InUse) {
            Cached::Present(value) => Ok(Some(value)),
            Cached::Absent => Ok(None),
            Cached::InUse => Err(self.in_use(slot)),
        }
    }

    fn put_back(&self, at: u32, value: Option<V>, write: bool) {
        let rows = &mut *self.rows.borrow_mut();
        // What would be a tombstone in the changelog is no row here either, or it would come and go with the cache.
        rows.slots[at as usize].value = value.filter(|value| !value.is_null()).map_or(Cached::Absent, Cached::Present);
        if write {
            let writes = rows.wrote(at, &self.place.budget);
            self.weigh(rows, at, writes);
        }
    }

    /// A value with memory of its own may have grown by a write. It is measured after the first write of an interval, the second, the
    /// fourth, and so on: so it counts with at least what it was after half of its writes, at the price of few encodings.
    fn weigh(&self, rows: &mut Rows<K, V>, at: u32, writes: u16) {
        if !mem::needs_drop::<V>() || !writes.is_power_of_two() || std::thread::panicking() {
            return;
        }
        // What can't be encoded is told at the commit.
        if let Ok(row) = self.encode_row(&rows.slots[at as usize]) {
            rows.resize(at, row.weight() + mem::size_of::<V>(), &self.place.budget);
        }
    }

    fn encode_slot(&self, rows: &mut Rows<K, V>, at: u32) -> Result<Row, TableError> {
        let row = self.encode_row(&rows.slots[at as usize])?;
        rows.resize(at, row.weight() + mem::size_of::<V>(), &self.place.budget);
        rows.slots[at as usize].encoded = rows.generation - 1;
        Ok(row)
    }

    fn encode_row(&self, slot: &Slot<K, V>) -> Result<Row, TableError> {
        let key = slot.key.as_ref().expect("a row in use or written has a key");
        Ok(Row { key: self.encode_key(key)?, value: self.encode_value(slot)? })
    }

    fn encode_key(&self, key: &SlotKey<K>) -> Result<Vec<u8>, TableError> {
        let mut bytes = Vec::with_capacity(24);
        key.encode(&mut bytes).map_err(|error| TableError::Encode { table: self.place.table, error })?;
        Ok(bytes)
    }

    /// `None` is a tombstone: the row is absent.
    fn encode_value(&self, slot: &Slot<K, V>) -> Result<Option<Vec<u8>>, TableError> {
        let value = match &slot.value {
            Cached::Present(value) => value,
            Cached::Absent => return Ok(None),
            Cached::InUse => return Err(self.in_use(slot)),
        };
        let mut bytes = Vec::with_capacity(24);
        let presence =
            codec::encode_value(value, &mut bytes).map_err(|error| TableError::Encode { table: self.place.table, error })?;
        Ok((presence == Presence::Bytes).then_some(bytes))
    }

    fn in_use(&self, slot: &Slot<K, V>) -> TableError {
        let key = slot.key.as_ref().expect("a row in use has a key");
        self.encode_key(key).map_or_else(|error| error, |key| TableError::InUse { table: self.place.table, key: show(&key) })
    }

    fn check_partition(&self, key: &[u8]) -> Result<(), TableError> {
        let key_partition = partition_of(key, self.place.partitions);
        if key_partition == self.place.partition {
            return Ok(());
        }
        let (table, task_partition) = (self.place.table, self.place.partition);
        Err(TableError::WrongPartition { table, key: show(key), key_partition, task_partition })
    }

    fn broken(&self, key: &[u8], error: CodecError) -> TableError {
        TableError::Decode { table: self.place.table, key: show(key), error }
    }

    pub fn store_error(&self, error: StoreError) -> TableError {
        self.blame(&error);
        TableError::Store { table: self.place.table, reason: error.to_string() }
    }
}

/// A row in the hands of a closure. It comes back also from one that panics, as far as that got: a row that stayed away would be
/// taken for absent by the next commit.
struct Lent<'a, K: Key, V: Value> {
    overlay: &'a Overlay<K, V>,
    at: u32,
    write: bool,
    value: Option<V>,
}

impl<K: Key, V: Value> Drop for Lent<'_, K, V> {
    fn drop(&mut self) {
        self.overlay.put_back(self.at, self.value.take(), self.write);
    }
}

impl<K: Key, V: Value> AnyOverlay for Overlay<K, V> {
    fn freeze(&self) -> u32 {
        self.rows.borrow_mut().freeze(&self.place.budget)
    }

    fn encode(&self, slice: usize) -> Result<Option<Vec<Row>>, TableError> {
        let rows = &mut *self.rows.borrow_mut();
        let mut encoded = mem::take(&mut *self.encoded.borrow_mut());
        let mut weight = 0;
        while weight < slice
            && let Some(&at) = rows.frozen.slots.get(rows.frozen.cursor)
        {
            if rows.awaits_encoding(at) {
                let row = self.encode_slot(rows, at)?;
                weight += row.weight();
                encoded.push(row);
            }
            rows.frozen.cursor += 1;
        }
        Ok((!encoded.is_empty()).then_some(encoded))
    }

    fn applied(&self, generation: u32) {
        let rows = &mut *self.rows.borrow_mut();
        rows.applied = rows.applied.max(generation);
    }

    fn open_rows(&self) -> usize {
        self.rows.borrow().open.len()
    }

    fn wants_commit(&self) -> bool {
        let budget = &self.place.budget;
        budget.wants_commit() && self.rows.borrow().open_bytes > budget.commit_share()
    }

    fn is_at_bound(&self) -> bool {
        let budget = &self.place.budget;
        budget.is_open_full() && self.rows.borrow().open_bytes > budget.open_share()
    }

    fn warm(&self, keys: &mut dyn Iterator<Item = &[u8]>) -> usize {
        if !K::RAW {
            return 0;
        }
        let rows = self.rows.borrow();
        let hashes: Vec<u64> = keys.filter_map(|key| hash_of_bytes(key, &rows.hasher)).collect();
        rows.warm(&hashes)
    }

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        self.check()?;
        // Bytes that are no key of this table's type, or not as this table writes it, are the key of no row.
        let Ok(typed) = codec::decode_value::<K>(Some(key)) else { return Ok(None) };
        let rows = self.rows.borrow();
        let probe = Probe::new(&typed, &rows.hasher);
        if self.encode_key(&probe.to_key())? != key {
            return Ok(None);
        }
        match rows.find(&probe) {
            Some(at) => self.encode_value(&rows.slots[at as usize]),
            None => self.place.store.get(key).map_err(|error| self.store_error(error)),
        }
    }

    fn blame(&self, error: &StoreError) {
        self.failure.borrow_mut().get_or_insert_with(|| error.clone());
    }

    fn store_failure(&self) -> Option<StoreError> {
        self.failure.borrow().clone()
    }

    fn end(&self) {
        self.ended.set(true);
        // A future that the agent has spawned may keep the overlay; it shall not keep the rows, nor their share of the memory.
        let rows = self.rows.replace(Rows::new());
        rows.give_back(&self.place.budget);
        self.encoded.take();
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }
}

impl<K, V> Drop for Overlay<K, V> {
    fn drop(&mut self) {
        self.rows.get_mut().give_back(&self.place.budget);
        self.place.budget.leave();
    }
}

/// A key for people: as text where it is text, else in base 16, cut where it is long.
pub(crate) fn show(key: &[u8]) -> String {
    const LONG: usize = 100;
    let mut text = match std::str::from_utf8(key) {
        Ok(text) => text.to_string(),
        Err(_) => key.iter().take(LONG).map(|byte| format!("{byte:02x}")).collect(),
    };
    if let Some((end, _)) = text.char_indices().nth(LONG) {
        text.replace_range(end.., "…");
    }
    text
}

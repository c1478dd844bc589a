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
//! they stay here: one that was evicted would be read again as it was before, a lost update.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::hash::BuildHasher;
use std::mem;
use std::rc::Rc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::KeyRef;
use crate::codec::{self, Presence};
use crate::error::TableError;
use crate::log::{Row, partition_of};
use crate::model::{Key, Value};
use crate::state::{SharedStore, StoreError};

/// What a row costs beside its bytes, roughly.
const ROW_OVERHEAD: usize = 96;

/// Where an overlay stands: its table, its partition, the store behind it.
pub(crate) struct Place {
    pub table: &'static str,
    pub partition: u32,
    pub partitions: u32,
    pub store: SharedStore,
    pub budget: Rc<Budget>,
}

/// The memory that all overlays of a shard share.
#[derive(Debug)]
pub(crate) struct Budget {
    cached: Cell<usize>,
    open: Cell<usize>,
    /// Overlays that share it.
    overlays: Cell<usize>,
    /// Clean rows are evicted beyond this many bytes.
    cache_limit: usize,
    /// Tasks get no events while more than this is written and not frozen.
    open_limit: usize,
}

impl Budget {
    /// A shard's share of the setting `cache-memory`, of which a quarter may be open.
    pub fn new(bytes: usize) -> Self {
        Self { cached: Cell::new(0), open: Cell::new(0), overlays: Cell::new(0), cache_limit: bytes, open_limit: bytes / 4 }
    }

    /// Whether more is written than may wait for the next commit.
    pub fn is_open_full(&self) -> bool {
        self.open.get() > self.open_limit
    }

    /// Bytes cached and bytes open.
    #[cfg(test)]
    pub fn used(&self) -> (usize, usize) {
        (self.cached.get(), self.open.get())
    }

    fn change(of: &Cell<usize>, plus: usize, minus: usize) {
        of.set(of.get() + plus - minus);
    }
}

/// An overlay without its types, as the engine commits and queries it.
pub(crate) trait AnyOverlay: Any {
    /// Closes the open generation. The one before must have been applied.
    fn freeze(&self);

    /// Encodes up to `max` more frozen rows and hands out all that are encoded by now; `None` when there are no more.
    fn encode(&self, max: usize) -> Result<Option<Vec<Row>>, TableError>;

    /// The frozen rows are in the store: they may be evicted.
    fn applied(&self);

    /// Rows written since the last freeze.
    fn open_rows(&self) -> usize;

    /// Whether more is written than may wait for the next commit, and this overlay has its share of that: one that waits in the middle of
    /// an event with much open must not stop the others.
    fn is_at_bound(&self) -> bool;

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
    /// The task has ended for this overlay: nothing of it may be read or written any more.
    ended: Cell<bool>,
    /// The first failure of the store, which is not the agent's.
    failure: RefCell<Option<StoreError>>,
}

struct Rows<K, V> {
    slots: Vec<Slot<K, V>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: FixedState,
    /// Rises with every freeze. A slot is open if it was written in this generation.
    generation: u32,
    open: Vec<u32>,
    open_bytes: usize,
    frozen: Frozen,
    /// Of all slots.
    bytes: usize,
    /// Where the eviction looks next.
    hand: usize,
}

/// The generation that is being committed.
#[derive(Default)]
struct Frozen {
    slots: Vec<u32>,
    /// How many of `slots` have been looked at by the encoder.
    cursor: usize,
    /// Encoded and not handed out yet.
    encoded: Vec<Row>,
    pending: bool,
}

struct Slot<K, V> {
    key: Option<K>,
    value: Cached<V>,
    hash: u64,
    /// The generation of the last write, 0 if it was never written.
    written: u32,
    /// The generation that it was last encoded for.
    encoded: u32,
    bytes: u32,
    /// Used since the eviction last came by.
    touched: bool,
}

enum Cached<V> {
    Absent,
    Present(V),
    /// A closure of the user has it.
    InUse,
}

impl<K: Key, V: Value> Overlay<K, V> {
    pub fn new(place: Place) -> Self {
        Budget::change(&place.budget.overlays, 1, 0);
        Self { place, rows: RefCell::new(Rows::new()), ended: Cell::new(false), failure: RefCell::new(None) }
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
            let Some(key) = &slot.key else { continue };
            newer.push(Row { key: self.encode_key(key)?, value: self.encode_value(slot)? });
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
        let hash = rows.hasher.hash_one(key);
        let slots = &rows.slots;
        let found = rows.index.find(hash, |&at| slots[at as usize].key.as_ref().is_some_and(|own| key.is(own)));
        if let Some(&at) = found {
            rows.slots[at as usize].touched = true;
            return Ok(at);
        }
        let owned = key.to_key();
        let bytes = self.encode_key(&owned)?;
        self.check_partition(&bytes)?;
        let stored = self.place.store.get(&bytes).map_err(|error| self.store_error(error))?;
        let size = ROW_OVERHEAD + bytes.len() + stored.as_ref().map_or(mem::size_of::<V>(), Vec::len);
        let value = match stored {
            Some(value) => Cached::Present(codec::decode_value(Some(&value)).map_err(|error| self.broken(&bytes, error))?),
            None => Cached::Absent,
        };
        rows.make_room(size, &self.place.budget);
        let slot = Slot { key: Some(owned), value, hash, written: 0, encoded: 0, bytes: size as u32, touched: true };
        Budget::change(&self.place.budget.cached, size, 0);
        Ok(rows.insert(slot))
    }

    fn take(&self, at: u32, write: bool) -> Result<Option<V>, TableError> {
        let rows = &mut *self.rows.borrow_mut();
        if write {
            self.encode_before_write(rows, at)?;
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
        let generation = rows.generation;
        let slot = &mut rows.slots[at as usize];
        // What would be a tombstone in the changelog is no row here either, or it would come and go with the cache.
        slot.value = value.filter(|value| !value.is_null()).map_or(Cached::Absent, Cached::Present);
        if write && slot.written != generation {
            slot.written = generation;
            rows.open_bytes += slot.bytes as usize;
            Budget::change(&self.place.budget.open, slot.bytes as usize, 0);
            rows.open.push(at);
        }
    }

    /// A row that is frozen and not encoded yet is encoded before it changes.
    fn encode_before_write(&self, rows: &mut Rows<K, V>, at: u32) -> Result<(), TableError> {
        let frozen = rows.generation - 1;
        let slot = &rows.slots[at as usize];
        if rows.frozen.pending && slot.written == frozen && slot.encoded != frozen {
            self.encode_slot(rows, at)?;
        }
        Ok(())
    }

    fn encode_slot(&self, rows: &mut Rows<K, V>, at: u32) -> Result<(), TableError> {
        let slot = &rows.slots[at as usize];
        let Some(key) = &slot.key else { return Ok(()) };
        let row = Row { key: self.encode_key(key)?, value: self.encode_value(slot)? };
        let size = ROW_OVERHEAD + row.key.len() + row.value.as_ref().map_or(0, Vec::len);
        let slot = &mut rows.slots[at as usize];
        Budget::change(&self.place.budget.cached, size, slot.bytes as usize);
        rows.bytes = rows.bytes + size - slot.bytes as usize;
        slot.bytes = size as u32;
        slot.encoded = rows.generation - 1;
        rows.frozen.encoded.push(row);
        Ok(())
    }

    fn encode_key(&self, key: &K) -> Result<Vec<u8>, TableError> {
        let mut bytes = Vec::with_capacity(24);
        codec::encode_row_key(key, &mut bytes).map_err(|error| TableError::Encode { table: self.place.table, error })?;
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

    fn broken(&self, key: &[u8], error: crate::error::CodecError) -> TableError {
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
    fn freeze(&self) {
        let rows = &mut *self.rows.borrow_mut();
        debug_assert!(!rows.frozen.pending, "the generation before is still being committed");
        rows.generation += 1;
        rows.frozen.slots = mem::take(&mut rows.open);
        rows.frozen.cursor = 0;
        rows.frozen.pending = true;
        Budget::change(&self.place.budget.open, 0, mem::take(&mut rows.open_bytes));
    }

    fn encode(&self, max: usize) -> Result<Option<Vec<Row>>, TableError> {
        let rows = &mut *self.rows.borrow_mut();
        let frozen = rows.generation - 1;
        let end = rows.frozen.slots.len().min(rows.frozen.cursor + max);
        while rows.frozen.cursor < end {
            let at = rows.frozen.slots[rows.frozen.cursor];
            if rows.slots[at as usize].encoded != frozen {
                self.encode_slot(rows, at)?;
            }
            rows.frozen.cursor += 1;
        }
        let encoded = mem::take(&mut rows.frozen.encoded);
        let done = encoded.is_empty() && rows.frozen.cursor == rows.frozen.slots.len();
        Ok((!done).then_some(encoded))
    }

    fn applied(&self) {
        let rows = &mut *self.rows.borrow_mut();
        rows.frozen.pending = false;
        rows.frozen.slots.clear();
    }

    fn open_rows(&self) -> usize {
        self.rows.borrow().open.len()
    }

    fn is_at_bound(&self) -> bool {
        let budget = &self.place.budget;
        budget.is_open_full() && self.rows.borrow().open_bytes > budget.open_limit / budget.overlays.get()
    }

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        self.check()?;
        // Bytes that are no key of this table's type, or not as this table writes it, are the key of no row.
        let Ok(typed) = codec::decode_value::<K>(Some(key)) else { return Ok(None) };
        if self.encode_key(&typed)? != key {
            return Ok(None);
        }
        let rows = self.rows.borrow();
        let hash = rows.hasher.hash_one(&typed);
        let found = rows.index.find(hash, |&at| rows.slots[at as usize].key.as_ref() == Some(&typed));
        match found {
            Some(&at) => self.encode_value(&rows.slots[at as usize]),
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
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }
}

impl<K, V> Drop for Overlay<K, V> {
    fn drop(&mut self) {
        self.rows.get_mut().give_back(&self.place.budget);
        Budget::change(&self.place.budget.overlays, 0, 1);
    }
}

impl<K, V> Rows<K, V> {
    fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::default(),
            generation: 1,
            open: Vec::new(),
            open_bytes: 0,
            frozen: Frozen::default(),
            bytes: 0,
            hand: 0,
        }
    }

    fn give_back(&self, budget: &Budget) {
        Budget::change(&budget.cached, 0, self.bytes);
        Budget::change(&budget.open, 0, self.open_bytes);
    }

    fn insert(&mut self, slot: Slot<K, V>) -> u32 {
        self.bytes += slot.bytes as usize;
        let hash = slot.hash;
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        let slots = &self.slots;
        self.index.insert_unique(hash, at, |&at| slots[at as usize].hash);
        at
    }

    /// Whether the slot's value is not in the store yet, or somebody uses it.
    fn is_held(&self, slot: &Slot<K, V>) -> bool {
        let frozen = self.generation - 1;
        let committing = self.frozen.pending && (slot.written == frozen || slot.encoded == frozen);
        slot.written == self.generation || committing || matches!(slot.value, Cached::InUse)
    }

    /// Second-chance eviction: a few steps of the hand for every new row, so that no call pays for all.
    fn make_room(&mut self, wanted: usize, budget: &Budget) {
        let mut steps = self.slots.len().min(16);
        while budget.cached.get() + wanted > budget.cache_limit && steps > 0 {
            steps -= 1;
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = &self.slots[self.hand];
            if slot.key.is_none() || self.is_held(slot) {
                continue;
            }
            if slot.touched {
                self.slots[self.hand].touched = false;
                continue;
            }
            Budget::change(&budget.cached, 0, slot.bytes as usize);
            self.evict(self.hand as u32);
        }
    }

    fn evict(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        slot.key = None;
        slot.value = Cached::Absent;
        self.bytes -= slot.bytes as usize;
        let hash = slot.hash;
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == at) {
            entry.remove();
        }
        self.free.push(at);
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

//! The rows in memory: slots, the way to them, their generations, and who has to go when the memory is full.

use std::mem;

use foldhash::fast::FixedState;

use super::KeyRef;
use super::budget::Budget;
use super::index::Index;
use super::slot_key::{Probe, SlotKey};
use crate::model::Key;

pub(super) struct Rows<K, V> {
    pub slots: Vec<Slot<K, V>>,
    free: Vec<u32>,
    index: Index,
    pub hasher: FixedState,
    /// Rises with every freeze. A slot is open if it was written in this generation.
    pub generation: u32,
    /// The newest generation that is in the store.
    pub applied: u32,
    pub open: Vec<u32>,
    pub open_bytes: usize,
    pub frozen: Frozen,
    /// Of all slots.
    bytes: usize,
    /// Where the eviction looks next.
    hand: usize,
}

/// The generation that is being committed.
#[derive(Default)]
pub(super) struct Frozen {
    pub slots: Vec<u32>,
    /// How many of `slots` have been looked at by the encoder.
    pub cursor: usize,
}

/// A row. One with a short key and a number for its value fills a cache line exactly, so that using it costs one miss.
#[repr(align(64))]
pub(super) struct Slot<K, V> {
    /// None if the slot is free.
    pub key: Option<SlotKey<K>>,
    pub value: Cached<V>,
    /// The generation of the last write, 0 if it was never written.
    pub written: u32,
    /// The generation that it was last encoded for.
    pub encoded: u32,
    pub bytes: u32,
    /// Writes in the generation of the last one.
    pub writes: u16,
    /// Used since the eviction last came by.
    touched: bool,
}

pub(super) enum Cached<V> {
    Absent,
    Present(V),
    /// A closure of the user has it.
    InUse,
}

impl<K: Key, V> Rows<K, V> {
    /// The slot of a key, if it has one.
    pub fn find<Q: KeyRef<K> + ?Sized>(&self, probe: &Probe<'_, Q>) -> Option<u32> {
        self.index.find(probe.hash, |at| self.slots[at as usize].key.as_ref().is_some_and(|key| probe.is(key)))
    }

    /// Takes in a row as the store has it.
    pub fn insert(&mut self, key: SlotKey<K>, value: Cached<V>, hash: u64, bytes: usize, budget: &Budget) -> u32 {
        self.make_room(bytes, budget);
        self.bytes += bytes;
        budget.cache(bytes, 0);
        let slot = Slot { key: Some(key), value, written: 0, encoded: 0, bytes: bytes as u32, writes: 0, touched: true };
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
        self.index.insert(hash, at);
        at
    }

    /// Second-chance eviction: a few steps of the hand for every new row, so that no call pays for all.
    fn make_room(&mut self, wanted: usize, budget: &Budget) {
        let mut steps = self.slots.len().min(16);
        while budget.has_no_room_for(wanted) && steps > 0 {
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
            self.evict(self.hand as u32, budget);
        }
    }

    fn evict(&mut self, at: u32, budget: &Budget) {
        let slot = &mut self.slots[at as usize];
        slot.value = Cached::Absent;
        self.bytes -= slot.bytes as usize;
        budget.cache(0, slot.bytes as usize);
        if let Some(key) = slot.key.take() {
            self.index.remove(key.hash(&self.hasher), at);
        }
        self.free.push(at);
    }
}

impl<K, V> Rows<K, V> {
    pub fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: Index::default(),
            hasher: FixedState::default(),
            generation: 1,
            applied: 0,
            open: Vec::new(),
            open_bytes: 0,
            frozen: Frozen::default(),
            bytes: 0,
            hand: 0,
        }
    }

    /// Brings the rows of these hashes into the processor's cache, all at once, where one after the other would wait for memory each
    /// time. How many there are.
    pub fn warm(&self, hashes: &[u64]) -> usize {
        let rows = hashes.iter().filter_map(|&hash| self.index.guess(hash));
        rows.filter(|&at| std::hint::black_box(self.slots[at as usize].written) <= self.generation).count()
    }

    /// Protects a slot from the next round of eviction.
    pub fn touch(&mut self, at: u32) {
        self.slots[at as usize].touched = true;
    }

    /// Notes a write. How many there were in this generation, with this one.
    pub fn wrote(&mut self, at: u32, budget: &Budget) -> u16 {
        let slot = &mut self.slots[at as usize];
        if slot.written == self.generation {
            slot.writes = slot.writes.saturating_add(1);
        } else {
            (slot.written, slot.writes) = (self.generation, 1);
            self.open_bytes += slot.bytes as usize;
            budget.open(slot.bytes as usize, 0);
            self.open.push(at);
        }
        slot.writes
    }

    /// A row has got another size.
    pub fn resize(&mut self, at: u32, size: usize, budget: &Budget) {
        let slot = &mut self.slots[at as usize];
        let before = mem::replace(&mut slot.bytes, size as u32) as usize;
        self.bytes = self.bytes + size - before;
        budget.cache(size, before);
        if slot.written == self.generation {
            self.open_bytes = self.open_bytes + size - before;
            budget.open(size, before);
        }
    }

    /// Closes the open generation and returns its number.
    pub fn freeze(&mut self, budget: &Budget) -> u32 {
        debug_assert!(self.frozen.cursor == self.frozen.slots.len(), "the generation before is not all encoded");
        let spare = mem::take(&mut self.frozen.slots);
        self.frozen = Frozen { slots: mem::replace(&mut self.open, spare), cursor: 0 };
        self.open.clear();
        budget.open(0, mem::take(&mut self.open_bytes));
        self.generation += 1;
        self.generation - 1
    }

    /// Whether the row is frozen and still has to be encoded.
    pub fn awaits_encoding(&self, at: u32) -> bool {
        let (slot, frozen) = (&self.slots[at as usize], self.generation - 1);
        slot.written == frozen && slot.encoded != frozen && self.frozen.cursor < self.frozen.slots.len()
    }

    /// Whether the slot's value is not in the store yet, or somebody uses it.
    pub fn is_held(&self, slot: &Slot<K, V>) -> bool {
        let in_store = if mutant!("eviction before apply") { self.generation - 1 } else { self.applied };
        slot.written > in_store || matches!(slot.value, Cached::InUse)
    }

    /// What is given up with these rows.
    pub fn give_back(&self, budget: &Budget) {
        budget.cache(0, self.bytes);
        budget.open(0, self.open_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_with_a_short_key_and_a_number_fills_a_cache_line() {
        assert_eq!(size_of::<Slot<String, u64>>(), 64);
        assert_eq!(size_of::<Slot<u64, u64>>(), 64);
    }
}

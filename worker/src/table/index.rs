//! Where the slot of a key is: a hash table of half hashes and slot numbers, with open addressing and linear probing. A lookup reads
//! one cache line of it, where a general table would read two.

use std::mem;

/// Slots by the hash of their keys. Whose key it is, is the caller's business.
#[derive(Default)]
pub(super) struct Index {
    /// As many as a power of two, at most seven eighths in use.
    entries: Vec<Entry>,
    used: usize,
}

/// A slot number, from 1 on so that zero is no entry, and the half of the hash that also says where the entry belongs.
#[derive(Clone, Copy, Default)]
struct Entry {
    hash: u32,
    slot: u32,
}

/// The half of a hash that the index goes by.
fn half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl Index {
    pub fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        if self.entries.is_empty() {
            return None;
        }
        let hash = half(hash);
        let mut at = self.home(hash);
        loop {
            let entry = self.entries[at];
            if entry.slot == 0 {
                return None;
            }
            if entry.hash == hash && is_it(entry.slot - 1) {
                return Some(entry.slot - 1);
            }
            at = self.behind(at);
        }
    }

    /// A slot whose key has this half of a hash. It is meant for the cache's sake only: it may be the slot of another key.
    pub fn guess(&self, hash: u64) -> Option<u32> {
        let hash = half(hash);
        let mut at = self.home(hash);
        loop {
            let entry = *self.entries.get(at)?;
            if entry.slot == 0 || entry.hash == hash {
                return entry.slot.checked_sub(1);
            }
            at = self.behind(at);
        }
    }

    /// Adds a slot that isn't in it.
    pub fn insert(&mut self, hash: u64, slot: u32) {
        if (self.used + 1) * 8 > self.entries.len() * 7 {
            self.grow();
        }
        self.used += 1;
        self.put(Entry { hash: half(hash), slot: slot + 1 });
    }

    /// Takes a slot out. Those behind it that were pushed off their places move up, so that no gap stops a search.
    pub fn remove(&mut self, hash: u64, slot: u32) {
        let mut gap = self.home(half(hash));
        while self.entries[gap].slot != slot + 1 {
            debug_assert!(self.entries[gap].slot != 0, "a slot that is in the index");
            gap = self.behind(gap);
        }
        self.used -= 1;
        let mut at = self.behind(gap);
        while self.entries[at].slot != 0 {
            let home = self.home(self.entries[at].hash);
            // How far it is from its place, and how far the gap is from it.
            if self.distance(home, at) >= self.distance(gap, at) {
                self.entries[gap] = self.entries[at];
                gap = at;
            }
            at = self.behind(at);
        }
        self.entries[gap] = Entry::default();
    }

    fn put(&mut self, entry: Entry) {
        let mut at = self.home(entry.hash);
        while self.entries[at].slot != 0 {
            at = self.behind(at);
        }
        self.entries[at] = entry;
    }

    fn grow(&mut self) {
        let larger = vec![Entry::default(); (self.entries.len() * 2).max(16)];
        for entry in mem::replace(&mut self.entries, larger) {
            if entry.slot != 0 {
                self.put(entry);
            }
        }
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & self.entries.len().wrapping_sub(1)
    }

    fn behind(&self, at: usize) -> usize {
        (at + 1) & (self.entries.len() - 1)
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.entries.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few hashes, so that entries push each other off their places, also over the end of the table.
        #[test]
        fn every_slot_is_found_under_its_hash_until_it_is_removed(
            steps in proptest::collection::vec((0..40u32, prop_oneof![Just(0u64), Just(13), Just(15), any::<u64>()]), 1..200),
        ) {
            let (mut index, mut model) = (Index::default(), BTreeMap::new());
            for (slot, hash) in steps {
                let hash = hash << 32;
                match model.remove(&slot) {
                    Some(hash) => index.remove(hash, slot),
                    None => {
                        index.insert(hash, slot);
                        model.insert(slot, hash);
                    }
                }
                for slot in 0..40 {
                    let hash = model.get(&slot).copied();
                    prop_assert_eq!(index.find(hash.unwrap_or_default(), |found| found == slot), hash.map(|_| slot));
                }
            }
        }
    }
}

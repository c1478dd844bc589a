//! The memory that the tables of a shard share.

use std::cell::Cell;

/// How much all overlays of a shard hold, and may hold.
#[derive(Debug)]
pub(crate) struct Budget {
    cached: Cell<usize>,
    open: Cell<usize>,
    /// Overlays that share it.
    overlays: Cell<usize>,
    /// Clean rows are evicted beyond this many bytes.
    cache_limit: usize,
    /// A commit comes early when more than this is written and not frozen.
    commit_at: usize,
    /// Tasks get no events while more than this is written and not frozen.
    open_limit: usize,
}

impl Budget {
    /// A shard's share of the settings `cache-memory` and `commit-bytes`. Half of the cache may be open, for the other half may be
    /// on its way into the store meanwhile.
    pub fn new(cache: usize, commit_at: usize) -> Self {
        let open_limit = cache / 2;
        let none = || Cell::new(0);
        Self {
            cached: none(),
            open: none(),
            overlays: none(),
            cache_limit: cache,
            commit_at: commit_at.min(open_limit),
            open_limit,
        }
    }

    /// Whether so much is written that a commit should not wait for its time.
    pub fn wants_commit(&self) -> bool {
        self.open.get() > self.commit_at
    }

    /// Whether more is written than may wait for the next commit.
    pub fn is_open_full(&self) -> bool {
        self.open.get() > self.open_limit
    }

    /// What each overlay has open in the mean when a commit is wanted, and when all is open that may be.
    pub(super) fn commit_share(&self) -> usize {
        self.commit_at / self.overlays.get().max(1)
    }

    pub(super) fn open_share(&self) -> usize {
        self.open_limit / self.overlays.get().max(1)
    }

    /// Whether more is cached than should be.
    pub fn is_over(&self) -> bool {
        self.has_no_room_for(0)
    }

    pub(super) fn has_no_room_for(&self, bytes: usize) -> bool {
        self.cached.get() + bytes > self.cache_limit
    }

    pub(super) fn cache(&self, plus: usize, minus: usize) {
        self.cached.set(self.cached.get() + plus - minus);
    }

    pub(super) fn open(&self, plus: usize, minus: usize) {
        self.open.set(self.open.get() + plus - minus);
    }

    pub(super) fn join(&self) {
        self.overlays.set(self.overlays.get() + 1);
    }

    pub(super) fn leave(&self) {
        self.overlays.set(self.overlays.get() - 1);
    }

    /// Bytes cached and bytes open.
    #[cfg(test)]
    pub fn used(&self) -> (usize, usize) {
        (self.cached.get(), self.open.get())
    }
}

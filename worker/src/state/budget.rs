//! How the memory of a worker's stores is shared between what is written and what is read.

/// All stores on disk together: the setting `store-memory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreMemory(u64);

impl StoreMemory {
    pub fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The whole of it. Blocks that were read have what isn't written to at the moment.
    #[cfg(feature = "rocksdb")]
    pub fn all(self) -> u64 {
        self.0
    }

    /// Bytes above which stores are flushed, the largest first.
    pub fn unflushed(self) -> u64 {
        self.0 / 3
    }

    /// Bytes above which RocksDB flushes by itself whichever store writes: what comes while flushes are under way has to fit.
    #[cfg(feature = "rocksdb")]
    pub fn write_buffers(self) -> u64 {
        2 * self.unflushed()
    }
}

#[cfg(test)]
impl Default for StoreMemory {
    fn default() -> Self {
        Self::new(192 << 20)
    }
}

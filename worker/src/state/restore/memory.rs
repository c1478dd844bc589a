//! One bound for the batches of all replays of a worker.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Limits;

/// Records wait in the log, and cost nothing, until there is room for a batch of them. Whoever has waited longest comes first.
#[derive(Debug)]
pub(crate) struct BatchMemory {
    free: Arc<Semaphore>,
    all: u32,
}

/// Room for a batch, until it is dropped.
pub(super) struct Room(Option<OwnedSemaphorePermit>);

const KIB: u64 = 1 << 10;

impl BatchMemory {
    pub fn new(bytes: u64) -> Self {
        let all = u32::try_from(bytes / KIB).unwrap_or(u32::MAX).max(1);
        Self { free: Arc::new(Semaphore::new(all as usize)), all }
    }

    /// Room for a full batch; one larger than all there is has it to itself.
    pub(super) async fn room(&self, limits: &Limits) -> Room {
        let wanted = in_kib(limits.batch_bytes as u64).min(self.all);
        Room(self.free.clone().acquire_many_owned(wanted).await.ok())
    }

    #[cfg(test)]
    pub fn free_bytes(&self) -> u64 {
        self.free.available_permits() as u64 * KIB
    }
}

impl Room {
    /// Gives back what the batch has no need for.
    pub fn shrink(&mut self, bytes: u64) {
        if let Some(permit) = &mut self.0 {
            let spare = permit.num_permits().saturating_sub(in_kib(bytes) as usize);
            drop(permit.split(spare));
        }
    }
}

fn in_kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_batch_keeps_what_it_has_filled_and_the_next_one_waits_for_room() {
        let memory = BatchMemory::new(10 << 10);
        let limits = Limits { batch_bytes: 8 << 10, ..Limits::default() };
        let mut first = memory.room(&limits).await;
        assert!(futures::poll!(std::pin::pin!(memory.room(&limits))).is_pending());
        first.shrink(1_025);
        assert_eq!(memory.free_bytes(), 8 << 10);
        let second = memory.room(&limits).await;
        drop((first, second));
        assert_eq!(memory.free_bytes(), 10 << 10);
        let huge = Limits { batch_bytes: 1 << 30, ..Limits::default() };
        drop(memory.room(&huge).await);
        assert_eq!(memory.free_bytes(), 10 << 10);
    }
}

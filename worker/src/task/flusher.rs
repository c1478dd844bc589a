//! Flushes the stores of a worker when the policy says so, beside the work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use crate::rt::{self, Rt};
use crate::state::{Applied, FlushLimits, FlushPolicy, Position, SharedStore, StoreId};
use crate::status::TableMeter;

/// The policy, and the stores that it is about. Told by the shards, run by the control runtime.
pub(crate) struct Flusher {
    policy: Mutex<FlushPolicy>,
    stores: Mutex<BTreeMap<StoreId, (SharedStore, Arc<TableMeter>)>>,
    noted: Notify,
}

impl Flusher {
    pub fn new(limits: FlushLimits) -> Self {
        Self { policy: Mutex::new(FlushPolicy::new(limits)), stores: Mutex::default(), noted: Notify::new() }
    }

    /// A store is in use, with this position on disk – or has a new holder, and then what is to be flushed stays so. Returns the hold
    /// of the one before, whose drop may block.
    pub fn opened(
        &self,
        id: &StoreId,
        store: SharedStore,
        meter: Arc<TableMeter>,
        flushed: Option<&Position>,
    ) -> Option<SharedStore> {
        let mut stores = self.stores.lock().unwrap();
        if !stores.contains_key(id) {
            meter.flushed.set(flushed.map_or(0, |position| position.next_offset));
            self.policy.lock().unwrap().opened(id.clone(), flushed);
        }
        stores.insert(id.clone(), (store, meter)).map(|(before, _)| before)
    }

    /// A store is no longer in use. Returns the hold on it, whose drop may block.
    pub fn closed(&self, id: &StoreId) -> Option<SharedStore> {
        let mut stores = self.stores.lock().unwrap();
        self.policy.lock().unwrap().closed(id);
        stores.remove(id).map(|(store, _)| store)
    }

    /// A store that is in use.
    pub fn store(&self, id: &StoreId) -> Option<SharedStore> {
        self.stores.lock().unwrap().get(id).map(|(store, _)| store.clone())
    }

    /// Rows were applied to a store.
    pub fn note(&self, id: &StoreId, applied: Applied) {
        self.policy.lock().unwrap().note(id, applied, rt::now());
        self.noted.notify_one();
    }

    /// Whether a store will have to be flushed once it gets so many changelog records more.
    pub fn is_reached_by(&self, id: &StoreId, records: u64) -> bool {
        self.policy.lock().unwrap().is_reached_by(id, records)
    }

    /// Writes into a store that is in use that it was at its changelog's end at `seen`, if it is still where its meter says.
    pub async fn confirm(&self, rt: Rt, meter: &TableMeter, seen: i64) {
        let id = StoreId { table: meter.table.to_string(), partition: meter.partition };
        let Some(store) = self.store(&id) else { return };
        let at = meter.stored.get();
        match rt.blocking(move || store.confirm(at, seen)).await {
            Ok(true) => {
                meter.written_at.set(seen);
                self.note(&id, Applied::POSITION);
            }
            // What it got meanwhile says its own age.
            Ok(false) => {}
            // Whoever works with the store meets it too, and says it.
            Err(error) => tracing::debug!("{id}: its age is not written: {error}"),
        }
    }

    /// Flushes what is due, for ever.
    pub async fn run(&self, rt: Rt) {
        loop {
            let (due, next) = {
                let mut policy = self.policy.lock().unwrap();
                (policy.due(rt::now()), policy.next_due())
            };
            for id in due {
                self.flush(rt, &id).await;
            }
            let until = next.unwrap_or_else(|| rt::now() + Duration::from_secs(3_600));
            tokio::select! {
                biased;
                () = self.noted.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    async fn flush(&self, rt: Rt, id: &StoreId) {
        let Some((store, meter)) = self.stores.lock().unwrap().get(id).cloned() else { return };
        let flushed = rt
            .blocking(move || {
                let flushed = store.flush_position();
                drop(store);
                flushed
            })
            .await;
        let mut policy = self.policy.lock().unwrap();
        match flushed {
            Ok(position) => {
                policy.flushed(id, position.as_ref());
                if let Some(position) = position {
                    meter.flushed.set(position.next_offset);
                }
            }
            Err(error) => {
                policy.failed(id, rt::now());
                tracing::error!("{id}: not flushed, tried again soon: {error}");
            }
        }
    }
}

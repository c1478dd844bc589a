//! A table's store, opened and brought along its changelog: the same for a task that is to run and for a standby.

use std::sync::Arc;

use super::TaskId;
use super::flusher::Flusher;
use super::open::OpenError;
use super::shard::Shared;
use crate::log::{Bounds, LogError, TopicFacts};
use crate::rt;
use crate::state::{
    Applied, ChangelogFacts, Limits, Listener, Position, Progress, Replay, Restore, RestoreError, SharedStore, Size, Span,
    StoreError, StoreId, WipeReason,
};
use crate::status::{TableMeter, TaskMeter};
use crate::table::TableNode;
use crate::time::TopicPartition;

/// One partition of one table, closed.
pub(super) struct Shelf {
    pub id: StoreId,
    pub changelog: TopicPartition,
    pub meter: Arc<TableMeter>,
}

/// Where a changelog begins and ends, and when that was asked.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub bounds: Bounds,
    at: i64,
}

/// The same with its store open, which is no further than where its changelog says.
pub(super) struct Open<'a> {
    pub store: SharedStore,
    pub facts: TopicFacts,
    replay: Replay<'a>,
    span: Span,
    shelf: &'a Shelf,
    shared: &'a Shared,
}

/// What a standby hears of its batches.
struct Followed<'a> {
    shelf: &'a Shelf,
    flusher: &'a Flusher,
}

/// The same of a restore, whose progress can be watched.
struct Restored<'a> {
    all: Followed<'a>,
    progress: Arc<Progress>,
}

/// The tables of a task.
pub(super) fn shelves_of(shared: &Shared, id: TaskId, meter: &TaskMeter) -> Vec<Shelf> {
    let tables = shared.topology.groups[id.group as usize].tables.iter().zip(&meter.tables);
    let shelf = |(node, meter): (&&TableNode, &Arc<TableMeter>)| Shelf {
        id: StoreId { table: node.name.to_string(), partition: id.partition },
        changelog: TopicPartition::new(node.changelog(), id.partition),
        meter: meter.clone(),
    };
    tables.map(shelf).collect()
}

impl Shelf {
    /// Where the changelog begins and ends now.
    pub async fn bounds(&self, shared: &Shared) -> Result<Asked, LogError> {
        let at = rt::wall_millis();
        let bounds = shared.log.bounds(std::slice::from_ref(&self.changelog)).await?[0];
        self.meter.horizon.saw(bounds.end, at);
        Ok(Asked { bounds, at })
    }

    /// Opens the store, and empties it if what it has can't be brought to the end of this changelog.
    pub async fn open<'a>(&'a self, shared: &'a Shared, asked: Asked) -> Result<Open<'a>, OpenError> {
        let topic = &self.changelog.topic;
        let facts = shared.log.topics(std::slice::from_ref(topic)).await?;
        let facts = *facts.get(topic).ok_or_else(|| LogError::UnknownTopic(topic.clone()))?;
        let (stores, id) = (shared.stores.clone(), self.id.clone());
        let opened = shared.rt.blocking(move || {
            let opened = stores.store(&id.table, id.partition)?;
            let position = opened.store.position()?;
            Ok::<_, StoreError>((opened, position))
        });
        let (opened, stored) = opened.await?;
        if let Some(reason) = opened.wiped {
            self.note_wipe(reason);
        }
        let bounds = match mutant!("restore ends before the end") {
            true => Bounds { end: asked.bounds.end - (asked.bounds.end - asked.bounds.start).min(1), ..asked.bounds },
            false => asked.bounds,
        };
        let changelog = ChangelogFacts {
            topic_id: facts.id,
            bounds,
            asked_at: asked.at,
            epoch_end: self.epoch_end(shared, stored).await?,
            tombstone_life: shared.tombstones.of(topic),
        };
        let end = asked.bounds.end;
        let at_end = Span { topic_id: facts.id, from: end, to: end, asked_at: asked.at };
        let (span, flushed) = match Restore::plan(stored, &changelog) {
            Restore::Replay(_) if stored.is_some() && mutant!("copy with a lag taken as it is") => (at_end, stored),
            Restore::UpToDate => (at_end, stored),
            Restore::Replay(span) => (span, stored),
            Restore::WipeAndReplay(reason, span) => {
                self.wipe(shared, reason).await?;
                (span, None)
            }
        };
        let store = opened.store;
        self.meter.stored.set(span.from);
        let before = shared.flusher.opened(&self.id, store.clone(), self.meter.clone(), flushed.as_ref());
        shared.rt.blocking(move || drop(before)).await;
        let limits = Limits::new(shared.throttle.clone(), shared.batches.clone());
        let replay = Replay::begin(shared.rt, &*shared.log, &self.changelog, store.clone(), span, limits).await?;
        Ok(Open { store, facts, replay, span, shelf: self, shared })
    }

    /// Where the leader's epoch ends under which the store has read last.
    async fn epoch_end(&self, shared: &Shared, stored: Option<Position>) -> Result<Option<i64>, LogError> {
        match stored.filter(|position| position.leader_epoch >= 0) {
            Some(position) => shared.log.epoch_end(&self.changelog, position.leader_epoch).await,
            None => Ok(None),
        }
    }

    /// Empties the store, to be rebuilt.
    async fn wipe(&self, shared: &Shared, reason: WipeReason) -> Result<(), StoreError> {
        self.note_wipe(reason);
        let before = shared.flusher.closed(&self.id);
        let (stores, id) = (shared.stores.clone(), self.id.clone());
        let wipe = move || {
            drop(before);
            stores.wipe(&id.table, id.partition)
        };
        shared.rt.blocking(wipe).await
    }

    fn note_wipe(&self, reason: WipeReason) {
        self.meter.wiped(reason);
        tracing::warn!("{}: the local store is wiped and rebuilt: {reason}", self.changelog);
    }
}

impl Open<'_> {
    pub fn changelog(&self) -> &TopicPartition {
        &self.shelf.changelog
    }

    /// Whether the changelog has something, and the store has nothing of it.
    pub fn is_cold(&self, asked: Asked) -> bool {
        self.span.from == asked.bounds.start && self.span.from < self.span.to
    }

    /// Brings the store to the end that the changelog had when it was asked.
    pub async fn restore(&mut self) -> Result<Position, OpenError> {
        let progress = Arc::new(Progress::default());
        if self.span.from < self.span.to {
            tracing::info!("{}: restoring offsets {} to {}", self.shelf.changelog, self.span.from, self.span.to);
            progress.begin(self.span, rt::now());
            self.shelf.meter.set_restore(Some(progress.clone()));
        }
        let listener = Restored { all: self.listener(), progress };
        let restored = self.replay.run(&listener).await;
        drop(listener);
        match restored {
            Ok(position) => {
                self.shelf.meter.store_at(&position);
                Ok(position)
            }
            Err(error) => Err(self.failed(error).await),
        }
    }

    /// Keeps the store at the changelog's end; returns only why it can't.
    pub async fn follow(&mut self) -> OpenError {
        let listener = self.listener();
        let error = self.replay.follow(&self.shelf.meter.horizon, &listener).await;
        self.failed(error).await
    }

    fn listener<'b>(&self) -> Followed<'b>
    where
        Self: 'b,
    {
        Followed { shelf: self.shelf, flusher: &self.shared.flusher }
    }

    /// A store that turns out corrupt is wiped; what the changelog has lost meanwhile is seen by the next plan.
    async fn failed(&mut self, error: RestoreError) -> OpenError {
        if matches!(error, RestoreError::Store(StoreError::Corrupt(_)))
            && let Err(error) = self.shelf.wipe(self.shared, WipeReason::Corrupt).await
        {
            return error.into();
        }
        error.into()
    }
}

impl Followed<'_> {
    fn took(&self, unflushed: Option<Applied>, position: &Position) {
        let Shelf { id, meter, .. } = self.shelf;
        meter.store_at(position);
        match unflushed {
            Some(applied) => self.flusher.note(id, applied),
            None => meter.flushed.set(position.next_offset),
        }
    }
}

impl Listener for Followed<'_> {
    fn applied(&self, unflushed: Option<Applied>, size: Size, position: &Position) {
        self.took(unflushed, position);
        self.shelf.meter.followed.add(size.records);
    }
}

impl Listener for Restored<'_> {
    fn applied(&self, unflushed: Option<Applied>, size: Size, position: &Position) {
        self.all.took(unflushed, position);
        self.all.shelf.meter.restored.add(size.records);
        self.progress.advance(position.next_offset, size);
    }
}

/// Also when the restore was dropped half way.
impl Drop for Restored<'_> {
    fn drop(&mut self) {
        self.all.shelf.meter.set_restore(None);
    }
}

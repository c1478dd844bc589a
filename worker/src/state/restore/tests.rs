//! Replays against a changelog with gaps, cut short at any point.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::task::LocalSet;

use super::*;
use crate::log::{Bounds, BoxFuture, LogEnd, NewTopic, Producer, Record, Row, Stored, TopicFacts, TopicId, Wake};
use crate::state::conformance::row;
use crate::state::rows::are_sorted;
use crate::state::{KeyValue, Rows, WipeReason};

/// How long the changelog keeps tombstones, in milliseconds of its own time.
const TOMBSTONE_LIFE: i64 = 1_000;

/// A changelog partition that tests compact, cut and make anew. Readers see it up to `visible`.
#[derive(Clone, Default)]
struct Changelog(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    id: TopicId,
    start: i64,
    end: i64,
    visible: i64,
    /// Up to where it was compacted.
    clean: i64,
    now: i64,
    /// Where each leader's epoch begins; the index is the epoch.
    epochs: Vec<i64>,
    records: BTreeMap<i64, Written>,
    wakes: Vec<Wake>,
}

struct Written {
    row: Row,
    epoch: i32,
    /// When a compaction first left the tombstone in place: from then on it lives for its time.
    cleaned: Option<i64>,
}

impl Changelog {
    fn new() -> Self {
        let log = Self::default();
        log.recreate();
        log
    }

    fn append(&self, row: Row) {
        let mut state = self.0.lock().unwrap();
        let (offset, epoch) = (state.end, state.epochs.len() as i32 - 1);
        state.records.insert(offset, Written { row, epoch, cleaned: None });
        state.end += 1;
    }

    fn wait(&self, millis: i64) {
        self.0.lock().unwrap().now += millis;
    }

    /// Another leader, that lacks the last records.
    fn lose(&self, records: i64) {
        let mut state = self.0.lock().unwrap();
        // A leader that lacks records has not compacted anything away for their sake.
        state.end = (state.end - records).max(state.start).max(state.clean);
        let end = state.end;
        state.records.retain(|offset, _| *offset < end);
        // Epochs that begin where nothing is left are none.
        let lost = state.epochs.iter().filter(|start| **start >= end).count();
        let last = state.epochs.len();
        state.epochs[last - lost..].fill(end);
        state.epochs.push(end);
    }

    /// Where an epoch ends; as a leader it doesn't know those that have no records.
    fn epoch_end(&self, epoch: i32) -> Option<i64> {
        let state = self.0.lock().unwrap();
        (epoch >= 0).then(|| state.epochs.get(epoch as usize + 1).copied().unwrap_or(state.end))
    }

    /// Offsets without a record, as the end of a transaction leaves them.
    fn skip(&self, offsets: i64) {
        self.0.lock().unwrap().end += offsets;
    }

    /// Drops all but the last record of each key, and those that are tombstones and have lived.
    fn compact(&self) {
        let mut state = self.0.lock().unwrap();
        let now = state.now;
        state.clean = state.end;
        let last: HashMap<Vec<u8>, i64> =
            state.records.iter().map(|(offset, written)| (written.row.key.clone(), *offset)).collect();
        let lives =
            |written: &mut Written| written.row.value.is_some() || now - *written.cleaned.get_or_insert(now) <= TOMBSTONE_LIFE;
        state.records.retain(|offset, written| last[&written.row.key] == *offset && lives(written));
    }

    fn cut_before(&self, start: i64) {
        let mut state = self.0.lock().unwrap();
        state.start = start;
        state.records.retain(|offset, _| *offset >= start);
    }

    fn recreate(&self) {
        let mut state = self.0.lock().unwrap();
        let mut id = state.id;
        id[0] += 1;
        *state = State { id, now: state.now.max(1), epochs: vec![0], ..State::default() };
    }

    fn show(&self, visible: i64) {
        let wakes = {
            let mut state = self.0.lock().unwrap();
            state.visible = visible;
            state.wakes.clone()
        };
        wakes.iter().for_each(|wake| wake());
    }

    fn id(&self) -> TopicId {
        self.0.lock().unwrap().id
    }

    fn limits(&self) -> Bounds {
        let state = self.0.lock().unwrap();
        Bounds { start: state.start, end: state.end }
    }

    /// The table that the whole changelog stands for.
    fn table(&self) -> Vec<KeyValue> {
        let mut table = BTreeMap::new();
        for Written { row, .. } in self.0.lock().unwrap().records.values() {
            match &row.value {
                Some(value) => table.insert(row.key.clone(), value.clone()),
                None => table.remove(&row.key),
            };
        }
        table.into_iter().collect()
    }
}

impl Log for Changelog {
    fn topics<'a>(&'a self, _: &'a [String]) -> BoxFuture<'a, Result<HashMap<String, TopicFacts>, LogError>> {
        unreachable!("a replay is given its span")
    }
    fn create<'a>(&'a self, _: &'a [NewTopic]) -> BoxFuture<'a, Result<(), LogError>> {
        unreachable!("a replay creates nothing")
    }
    fn bounds<'a>(&'a self, _: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Bounds>, LogError>> {
        unreachable!("a replay is given its span")
    }
    fn ends<'a>(&'a self, _: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<LogEnd>, LogError>> {
        let state = self.0.lock().unwrap();
        let end = LogEnd { offset: state.end, leader_epoch: state.epochs.len() as i32 - 1 };
        Box::pin(std::future::ready(Ok(vec![end])))
    }
    fn epoch_end<'a>(&'a self, _: &'a TopicPartition, _: i32) -> BoxFuture<'a, Result<Option<i64>, LogError>> {
        unreachable!("a replay is given its span")
    }
    fn tombstone_lives<'a>(&'a self, _: &'a [String]) -> BoxFuture<'a, Result<HashMap<String, Duration>, LogError>> {
        unreachable!("a replay is given its span")
    }
    fn fetch(&self, partition: &TopicPartition, start: i64, reader: Reader) -> Result<Box<dyn Fetch>, LogError> {
        assert_eq!(reader, Reader::Changelog);
        Ok(Box::new(Reading { log: self.clone(), partition: partition.clone(), position: start }))
    }
    fn producer(&self) -> Arc<dyn Producer> {
        unreachable!("a replay writes nothing to the log")
    }
}

struct Reading {
    log: Changelog,
    partition: TopicPartition,
    position: i64,
}

impl Fetch for Reading {
    fn poll(&mut self, max: usize, out: &mut VecDeque<Record>) -> Result<(), LogError> {
        let state = self.log.0.lock().unwrap();
        if self.position < state.start {
            return Err(LogError::OutOfRange { partition: self.partition.clone(), offset: self.position });
        }
        let visible = state.visible.min(state.end);
        for (offset, Written { row, epoch, .. }) in state.records.range(self.position..visible.max(self.position)).take(max) {
            let stored = Stored { key: Some(row.key.clone()), value: row.value.clone(), headers: vec![] };
            out.push_back(Record::memory(*offset, 0, *epoch, Arc::new(stored)));
            self.position = offset + 1;
        }
        if out.len() < max {
            self.position = self.position.max(visible);
        }
        Ok(())
    }
    fn position(&self) -> i64 {
        self.position
    }
    fn on_ready(&mut self, wake: Wake) {
        self.log.0.lock().unwrap().wakes.push(wake);
    }
}

/// A store that forgets what wasn't flushed when it crashes – or some of it: the disk may have got more than was asked for.
struct Crashing(Mutex<Vec<Image>>);

#[derive(Clone, Default)]
struct Image {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    position: Option<Position>,
    flushed: bool,
}

impl Crashing {
    fn new() -> Self {
        Self(Mutex::new(vec![Image { flushed: true, ..Image::default() }]))
    }

    fn crash(&self, keep: usize) {
        let mut images = self.0.lock().unwrap();
        let flushed = images.iter().rposition(|image| image.flushed).unwrap_or(0);
        let kept = flushed + keep % (images.len() - flushed);
        images.truncate(kept + 1);
        images[kept].flushed = true;
    }

    fn wipe(&self) {
        *self.0.lock().unwrap() = vec![Image { flushed: true, ..Image::default() }];
    }

    fn rows(&self) -> Vec<KeyValue> {
        self.last().rows.into_iter().collect()
    }

    fn last(&self) -> Image {
        self.0.lock().unwrap().last().unwrap().clone()
    }
}

impl StateStore for Crashing {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.last().rows.get(key).cloned())
    }
    fn apply(&self, rows: &dyn Rows, position: &Position) -> Result<(), StoreError> {
        assert!(are_sorted(rows));
        let mut image = Image { flushed: false, position: Some(*position), ..self.last() };
        rows.each(&mut |key, value| {
            match value {
                Some(value) => image.rows.insert(key.to_vec(), value.to_vec()),
                None => image.rows.remove(key),
            };
        });
        self.0.lock().unwrap().push(image);
        Ok(())
    }
    fn position(&self) -> Result<Option<Position>, StoreError> {
        Ok(self.last().position)
    }
    fn scan(&self, _: &[u8], _: usize) -> Result<Vec<KeyValue>, StoreError> {
        Ok(self.rows())
    }
    fn flush(&self) -> Result<(), StoreError> {
        self.0.lock().unwrap().last_mut().unwrap().flushed = true;
        Ok(())
    }
}

fn changelog() -> TopicPartition {
    TopicPartition::new("app-counts-changelog", 0)
}

fn small_batches() -> Limits {
    // Of three rows or four, of which the fuller ones get a file of their own.
    Limits { batch_bytes: 110, file_bytes: 130, ..Limits::default() }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

fn plan(log: &Changelog, store: &dyn StateStore) -> Restore {
    let stored = store.position().unwrap();
    let asked_at = log.0.lock().unwrap().now;
    let facts = ChangelogFacts {
        topic_id: log.id(),
        bounds: log.limits(),
        asked_at,
        epoch_end: stored.and_then(|stored| log.epoch_end(stored.leader_epoch)),
        tombstone_life: Some(Duration::from_millis(TOMBSTONE_LIFE as u64)),
    };
    Restore::plan(stored, &facts)
}

impl Listener for Progress {
    fn applied(&self, _: Option<Applied>, size: Size, position: &Position) {
        self.advance(position.next_offset, size);
    }
}

async fn replay(
    rt: &Rt,
    log: &Changelog,
    of: &TopicPartition,
    store: &SharedStore,
    span: Span,
    limits: &Limits,
    progress: &Progress,
) -> Result<Position, RestoreError> {
    progress.begin(span, rt::now());
    Replay::begin(*rt, log, of, store.clone(), span, limits.clone()).await?.run(progress).await
}

/// Plans and replays to the end, as a task does.
async fn restore(log: &Changelog, store: &Arc<Crashing>) -> Position {
    let span = match plan(log, &**store) {
        Restore::UpToDate => return store.position().unwrap().unwrap(),
        Restore::Replay(span) => span,
        Restore::WipeAndReplay(_, span) => {
            store.wipe();
            span
        }
    };
    log.show(i64::MAX);
    let store: SharedStore = store.clone();
    replay(&Rt::single(), log, &changelog(), &store, span, &small_batches(), &Progress::default()).await.unwrap()
}

/// Replays while the log shows its records up to `visible` only, and drops the replay where it waits.
async fn interrupted(log: &Changelog, store: &Arc<Crashing>, visible: i64) {
    let span = match plan(log, &**store) {
        Restore::UpToDate => return,
        Restore::Replay(span) => span,
        Restore::WipeAndReplay(_, span) => {
            store.wipe();
            span
        }
    };
    log.show(visible);
    let store: SharedStore = store.clone();
    let (rt, limits, progress) = (Rt::single(), small_batches(), Progress::default());
    let of = changelog();
    let mut replay = std::pin::pin!(replay(&rt, log, &of, &store, span, &limits, &progress));
    for _ in 0..visible {
        if let Poll::Ready(ended) = futures::poll!(replay.as_mut()) {
            ended.unwrap();
            return;
        }
    }
}

#[derive(Clone, Debug)]
enum Happens {
    Append { key: u8, value: Option<u8> },
    Skip,
    Compact,
    Recreate,
    Wait { millis: i64 },
    Lose { records: i64 },
    Interrupted { visible: i64, crash: Option<usize> },
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        12 => (0u8..6, proptest::option::weighted(0.7, any::<u8>())).prop_map(|(key, value)| Happens::Append { key, value }),
        2 => Just(Happens::Skip),
        2 => Just(Happens::Compact),
        1 => Just(Happens::Recreate),
        2 => (0i64..TOMBSTONE_LIFE * 2).prop_map(|millis| Happens::Wait { millis }),
        2 => (0i64..8).prop_map(|records| Happens::Lose { records }),
        4 => (0i64..40, proptest::option::of(0usize..8)).prop_map(|(visible, crash)| Happens::Interrupted { visible, crash }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn whatever_happens_in_between_a_replay_to_the_end_makes_the_table(history in vec(happens(), 0..80)) {
        run(async {
            let (log, store) = (Changelog::new(), Arc::new(Crashing::new()));
            for event in history {
                match event {
                    Happens::Append { key, value } => log.append(Row { key: vec![key], value: value.map(|value| vec![value]) }),
                    Happens::Skip => log.skip(2),
                    Happens::Compact => log.compact(),
                    Happens::Recreate => log.recreate(),
                    Happens::Wait { millis } => log.wait(millis),
                    // What a store has read behind the last record that there was, nobody can judge: it has no epoch.
                    Happens::Lose { .. } if store.position().unwrap().is_some_and(|stored| stored.leader_epoch < 0) => {}
                    Happens::Lose { records } => log.lose(records),
                    Happens::Interrupted { visible, crash } => {
                        interrupted(&log, &store, visible).await;
                        if let Some(keep) = crash {
                            store.crash(keep);
                        }
                    }
                }
            }
            let position = restore(&log, &store).await;
            assert_eq!(store.rows(), log.table());
            assert_eq!((position.next_offset, position.topic_id), (log.limits().end, log.id()));
            assert_eq!(store.position().unwrap(), Some(position));
        });
    }
}

#[test]
fn a_replay_ends_at_a_position_that_no_record_has() {
    run(async {
        let log = Changelog::new();
        log.append(row("a", Some("1")));
        log.skip(5);
        let store = Arc::new(Crashing::new());
        assert_eq!(restore(&log, &store).await.next_offset, 6);
        assert_eq!(plan(&log, &*store), Restore::UpToDate);
    });
}

#[test]
fn an_empty_changelog_leaves_its_name_in_the_new_store() {
    run(async {
        let (log, store) = (Changelog::new(), Arc::new(Crashing::new()));
        restore(&log, &store).await;
        let recreated = log.clone();
        recreated.recreate();
        assert!(matches!(plan(&log, &*store), Restore::WipeAndReplay(WipeReason::OtherChangelog, _)));
    });
}

#[test]
fn a_replay_waits_for_records_that_are_not_there_yet_and_tells_how_far_it_is() {
    run(async {
        let log = Changelog::new();
        for n in 0..10 {
            log.append(row(format!("{n}"), Some("x")));
        }
        log.show(7);
        let store: SharedStore = Arc::new(Crashing::new());
        let (progress, limits, of) = (Progress::default(), small_batches(), changelog());
        let span = Span { topic_id: log.id(), from: 0, to: 10, asked_at: 1 };
        let rt = Rt::single();
        let mut replay = std::pin::pin!(replay(&rt, &log, &of, &store, span, &limits, &progress));
        for _ in 0..10 {
            assert!(futures::poll!(replay.as_mut()).is_pending());
        }
        assert_eq!(progress.reading().map(|reading| (reading.position, reading.records, reading.remaining())), Some((7, 7, 3)));
        assert_eq!(store.position().unwrap().unwrap().next_offset, 7);
        log.show(10);
        assert_eq!(replay.await.unwrap().next_offset, 10);
        assert_eq!(progress.reading().unwrap().remaining(), 0);
    });
}

#[test]
fn a_changelog_that_loses_its_beginning_meanwhile_ends_the_replay_and_the_next_plan_wipes() {
    run(async {
        let log = Changelog::new();
        for n in 0..10 {
            log.append(row(format!("{n}"), Some("x")));
        }
        let store = Arc::new(Crashing::new());
        interrupted(&log, &store, 4).await;
        let Restore::Replay(span) = plan(&log, &*store) else { panic!("4 of 10 are in the store") };
        log.cut_before(6);
        let (shared, limits): (SharedStore, _) = (store.clone(), small_batches());
        let ended = replay(&Rt::single(), &log, &changelog(), &shared, span, &limits, &Progress::default()).await;
        assert_eq!(ended, Err(RestoreError::OutOfRange { changelog: changelog(), offset: 4 }));
        assert!(matches!(plan(&log, &*store), Restore::WipeAndReplay(WipeReason::OffsetOutOfRange, _)));
        restore(&log, &store).await;
        assert_eq!(store.rows(), log.table());
    });
}

#[test]
fn until_it_is_at_the_end_a_store_stays_as_old_as_it_was() {
    run(async {
        let log = Changelog::new();
        let store = Arc::new(Crashing::new());
        log.wait(1_200);
        store.apply(&NO_ROWS, &Position { topic_id: log.id(), next_offset: 0, leader_epoch: 0, written_at: 1_000 }).unwrap();
        for n in 0..10 {
            log.append(row(format!("{n}"), Some("x")));
        }
        interrupted(&log, &store, 7).await;
        assert_eq!(store.position().unwrap().unwrap().written_at, 1_000);
        assert!(restore(&log, &store).await.written_at > 1_000);
    });
}

#[test]
fn a_throttled_replay_puts_into_the_store_what_it_took_and_waits() {
    run(async {
        let log = Changelog::new();
        for n in 0..1_000 {
            log.append(row(format!("{n:04}"), Some("123456")));
        }
        log.show(i64::MAX);
        let throttle = Arc::new(Throttle::new(NonZeroU64::new(1).unwrap()));
        let limits = Limits { throttle: Some(throttle), ..Limits::default() };
        let store: SharedStore = Arc::new(Crashing::new());
        let (rt, of, progress) = (Rt::single(), changelog(), Progress::default());
        let span = Span { topic_id: log.id(), from: 0, to: 1_000, asked_at: 1 };
        let mut replay = std::pin::pin!(replay(&rt, &log, &of, &store, span, &limits, &progress));
        for _ in 0..10 {
            assert!(futures::poll!(replay.as_mut()).is_pending());
        }
        assert_eq!(store.position().unwrap().unwrap().next_offset, 1, "the rest is due in hours");
    });
}

#[test]
fn a_standby_follows_batch_by_batch_without_a_gap_and_knows_when_it_was_at_the_end() {
    run(async {
        let (log, horizon, heard) = (Changelog::new(), Horizon::default(), Mutex::new(Vec::new()));
        let add = |from: i64, to: i64| (from..to).for_each(|n| log.append(row(format!("{}", n % 7), Some(&n.to_string()))));
        add(0, 5);
        log.show(i64::MAX);
        let crashing = Arc::new(Crashing::new());
        let (store, of): (SharedStore, _) = (crashing.clone(), changelog());
        let Restore::Replay(span) = plan(&log, &*store) else { panic!("the store is new") };
        let mut replay = Replay::begin(Rt::single(), &log, &of, store.clone(), span, small_batches()).await.unwrap();
        struct Heard<'a>(&'a Mutex<Vec<i64>>);
        impl Listener for Heard<'_> {
            fn applied(&self, _: Option<Applied>, _: Size, position: &Position) {
                self.0.lock().unwrap().push(position.next_offset);
            }
        }
        let listener = Heard(&heard);
        let restored = replay.run(&listener).await.unwrap();
        assert_eq!(restored.next_offset, 5);
        let mut follow = std::pin::pin!(replay.follow(&horizon, &listener));
        let reaches = async |follow: &mut (dyn Future<Output = RestoreError> + Unpin), offset: i64| {
            let until = async {
                while store.position().unwrap().unwrap().next_offset < offset {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! { biased; error = follow => panic!("{error}"), () = until => {} }
        };
        add(5, 12);
        log.skip(3);
        log.show(i64::MAX);
        reaches(&mut follow, 15).await;
        assert_eq!(crashing.rows(), log.table());
        assert_eq!(store.position().unwrap().unwrap().written_at, restored.written_at, "nobody has said where the end is");
        horizon.saw(20, 7_000);
        add(15, 19);
        log.show(i64::MAX);
        reaches(&mut follow, 19).await;
        assert_eq!(store.position().unwrap().unwrap().written_at, restored.written_at, "one is missing");
        add(19, 20);
        log.show(i64::MAX);
        reaches(&mut follow, 20).await;
        assert_eq!(store.position().unwrap().unwrap().written_at, 7_000);
        assert_eq!(crashing.rows(), log.table());
        assert!(heard.lock().unwrap().is_sorted_by(|a, b| a < b));

        log.cut_before(25);
        assert_eq!(follow.await, RestoreError::OutOfRange { changelog: changelog(), offset: 20 });
    });
}

#[cfg(feature = "rocksdb")]
#[test]
fn a_store_on_disk_is_restored_closed_and_up_to_date_when_it_is_opened_again() {
    use crate::state::{Place, Stores};

    let datadir = tempfile::TempDir::new().unwrap();
    let open = || Stores::open(&Place::Disk(datadir.path().to_path_buf(), crate::state::StoreMemory::default())).unwrap();
    run(async {
        let log = Changelog::new();
        for n in 0..10_000 {
            log.append(row(format!("{}", n * n % 1_009), (n % 7 != 0).then_some("x")));
        }
        log.show(i64::MAX);
        let stores = open();
        let store = stores.store("counts", 0).unwrap().store;
        let Restore::Replay(span) = plan(&log, &*store) else { panic!("the store is new") };
        let limits = Limits { batch_bytes: 25_000, file_bytes: 25_010, ..Limits::default() };
        replay(&Rt::threads(), &log, &changelog(), &store, span, &limits, &Progress::default()).await.unwrap();
        drop((store, stores));

        let store = open().store("counts", 0).unwrap().store;
        assert_eq!(plan(&log, &*store), Restore::UpToDate);
        assert_eq!(store.scan(b"", usize::MAX).unwrap(), log.table());
    });
}

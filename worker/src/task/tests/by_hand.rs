//! What gets into the stores, commit by commit: a task without agents, moved by the test's hand.

use std::rc::Rc;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::life::{self, Term};
use super::super::open::Opened;
use super::super::shard::Shard;
use super::super::{Task, TaskContext, TaskTable, apply, commit};
use super::membership::shared;
use super::*;
use crate::log::NewTopic;
use crate::state::{KeyValue, NO_ROWS, Position, Rows, SharedStore, StateStore, StoreError};

const ID: TaskId = TaskId { group: 0, partition: 0 };
const TERM: Term = Term { epoch: 1, tenure: 0 };
const TABLES: [&str; 2] = ["first", "second"];

/// A store that takes nothing while it fails.
struct Failing {
    store: SharedStore,
    fails: AtomicBool,
}

impl StateStore for Failing {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(key)
    }

    fn apply(&self, rows: &dyn Rows, position: &Position) -> Result<(), StoreError> {
        match self.fails.load(Ordering::Relaxed) {
            true => Err(StoreError::Io("on purpose".into())),
            false => self.store.apply(rows, position),
        }
    }

    fn position(&self) -> Result<Option<Position>, StoreError> {
        self.store.position()
    }

    fn scan(&self, from: &[u8], limit: usize) -> Result<Vec<KeyValue>, StoreError> {
        self.store.scan(from, limit)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.store.flush()
    }
}

/// A task with one input and the two tables.
struct ByHand {
    shard: Rc<Shard>,
    meter: Arc<TaskMeter>,
    log: Arc<MemoryLog>,
    stores: Vec<Arc<Failing>>,
    task: Rc<Task>,
}

impl ByHand {
    async fn begin(id: &str) -> Self {
        let app = App::new(id);
        let input = app.topic::<String, u64>("in").partitions(1);
        let [first, second] = TABLES.map(|name| app.table::<String, u64>(name));
        app.agent("nobody", (input, first, second), async |_, _, _| Ok(()));
        let (shared, log) = (shared(app.node()), control::memory_log(id));
        let shard = Rc::new(Shard::new(shared, 0));
        let (mut tables, mut stores) = (Vec::new(), Vec::new());
        for node in &shard.topology.groups[0].tables {
            let changelog = TopicPartition::new(node.changelog(), 0);
            log.create(&[NewTopic { name: changelog.topic.clone(), partitions: 1, config: vec![] }]).await.unwrap();
            let facts = log.topics(slice::from_ref(&changelog.topic)).await.unwrap()[&changelog.topic];
            let store = shard.stores.store(node.name, 0).unwrap().store;
            // As an opened store has one.
            let position = Position { topic_id: facts.id, next_offset: 0, leader_epoch: -1, written_at: 0 };
            store.apply(&NO_ROWS, &position).unwrap();
            let store = Arc::new(Failing { store, fails: AtomicBool::new(false) });
            tables.push(TaskTable::new(node, store.clone(), changelog, facts, &shard.budget));
            stores.push(store);
        }
        let meter = shard.meter(ID, 0);
        let task = life::begin(&shard, ID, TERM, &meter, Opened { tables, starts: vec![0], behind: None }).unwrap();
        Self { shard, meter, log, stores, task }
    }

    /// An event is handed out, and writes its row to these tables.
    fn event(&self, offset: i64, tables: &[&str]) {
        self.task.feeds[0].tracker.borrow_mut().hand_out(offset);
        for table in self.task.tables.iter().filter(|table| tables.contains(&table.node.name)) {
            let overlay = TaskContext(self.task.clone()).overlay::<String, u64>(table.node);
            overlay.lend(&format!("row {offset}"), true, |row| *row = Some(1)).unwrap();
        }
    }

    fn done(&self, offset: i64) {
        self.task.feeds[0].tracker.borrow_mut().acknowledge(offset);
    }

    async fn commit(&self) {
        assert!(self.task.freeze(), "there is something to commit");
        commit::commit(&self.shard, slice::from_ref(&self.task)).await;
    }

    async fn apply(&self) -> Result<(), StoreError> {
        apply::apply(&self.shard, &self.task).await
    }

    async fn start_over(&mut self) {
        let kept = life::keep(&self.shard, &self.task).await.expect("the stores are good");
        self.task = life::begin(&self.shard, ID, TERM, &self.meter, kept).unwrap();
    }

    fn positions(&self) -> Vec<i64> {
        self.stores.iter().map(|store| store.position().unwrap().unwrap().next_offset).collect()
    }

    fn has_rows(&self, key: &str) -> Vec<bool> {
        self.stores.iter().map(|store| store.get(key.as_bytes()).unwrap().is_some()).collect()
    }
}

#[test]
fn nothing_goes_into_a_store_behind_rows_that_failed_to() {
    on_one_thread(async {
        let hand = ByHand::begin("behind a failure").await;
        hand.event(0, &TABLES);
        hand.done(0);
        hand.commit().await;
        let fails = |fails| hand.stores[0].fails.store(fails, Ordering::Relaxed);
        fails(true);
        assert_eq!(hand.apply().await, Err(StoreError::Io("on purpose".into())));
        fails(false);
        hand.event(1, &TABLES);
        hand.done(1);
        hand.commit().await;
        hand.apply().await.unwrap_err();
        assert_eq!(hand.positions(), [0, 1], "who opens the first one again replays what it lacks");
        assert_eq!(hand.has_rows("row 1"), [false, false]);
    });
}

#[cfg(feature = "rocksdb")]
#[test]
fn rows_that_their_changelog_has_lost_again_do_not_get_into_the_store() {
    on_one_thread(async {
        let hand = ByHand::begin("lost again").await;
        hand.event(0, &TABLES);
        hand.done(0);
        hand.commit().await;
        hand.log.cut(&hand.task.tables[0].changelog, 0);
        let error = hand.apply().await.unwrap_err();
        let said = "the changelog lost again-first-changelog[0] was cut: it ends at 0, and rows were written up to 1";
        assert_eq!(error, StoreError::Io(said.into()));
        assert_eq!(hand.positions(), [0, 1]);
        assert_eq!(hand.has_rows("row 0"), [false, true]);
    });
}

/// A first event is in hand all the time. The flush of its rows fails, with that of the first table landed; the next one doesn't.
async fn after_a_failed_flush(id: &str) -> ByHand {
    let mut hand = ByHand::begin(id).await;
    hand.log.decide_fates(|topic, _| if topic.contains("second") { Fate::Fail("on purpose") } else { Fate::Deliver });
    hand.event(0, &TABLES);
    hand.commit().await;
    hand.start_over().await;
    hand.log.decide_fates(|_, _| Fate::Deliver);
    hand.event(0, &TABLES);
    hand.commit().await;
    hand.apply().await.unwrap();
    hand
}

#[test]
fn stores_stay_before_what_a_failed_flush_left_of_events_that_were_still_in_hand() {
    on_one_thread(async {
        let hand = after_a_failed_flush("left of one in hand").await;
        assert_eq!((hand.positions(), hand.has_rows("row 0")), (vec![0, 0], vec![true, true]));
    });
}

#[test]
fn a_table_that_nobody_writes_to_any_more_catches_up_when_what_a_failed_flush_left_is_passed() {
    on_one_thread(async {
        let hand = after_a_failed_flush("quiet since").await;
        hand.done(0);
        hand.event(1, &["second"]);
        hand.done(1);
        hand.commit().await;
        hand.apply().await.unwrap();
        assert_eq!(hand.positions(), [2, 2], "of the first table the failed flush has landed, of the second one another row");
    });
}

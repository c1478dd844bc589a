//! The overlay over a store in memory, against a model of maps; and what it refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use proptest::prelude::*;

use super::budget::Budget;
use super::overlay::show;
use super::*;
use crate::App;
use crate::log::{Row, partition_of};
use crate::state::{self, Position, SharedStore, Stores};

/// One table's partition with its store, as a task has it.
struct Rows<V: Value> {
    table: LocalTable<String, V>,
    overlay: Rc<Overlay<String, V>>,
    store: SharedStore,
    budget: Rc<Budget>,
    next_offset: i64,
}

impl<V: Value> Rows<V> {
    fn new(memory: usize) -> Self {
        Self::of_partition(0, 1, memory)
    }

    fn of_partition(partition: u32, partitions: u32, memory: usize) -> Self {
        let store = Stores::open(&state::Place::Memory).unwrap().store("t", partition).unwrap().store;
        let node = App::new("app").table::<String, V>("t").node;
        let budget = Rc::new(Budget::new(memory, memory));
        let place = Place { table: "t", partition, partitions, store: store.clone(), budget: budget.clone() };
        let overlay = Rc::new(Overlay::new(place));
        Self { table: LocalTable::new(node, overlay.clone()), overlay, store, budget, next_offset: 0 }
    }

    /// The epoch ends and another one begins: what was not applied is gone.
    fn begin_anew(&mut self) {
        let node = App::new("app").table::<String, V>("t").node;
        let place = Place { table: "t", partition: 0, partitions: 1, store: self.store.clone(), budget: self.budget.clone() };
        self.overlay = Rc::new(Overlay::new(place));
        self.table = LocalTable::new(node, self.overlay.clone());
    }

    /// The rest of the frozen generation, encoded.
    fn encode(&self, slice: usize) -> Vec<Row> {
        std::iter::from_fn(|| self.overlay.encode(slice).unwrap()).flatten().collect()
    }

    /// Applies what one or several commits have encoded.
    fn apply(&mut self, rows: Vec<Row>, generation: u32) {
        self.next_offset += rows.len() as i64;
        let position = Position { topic_id: [1; 16], next_offset: self.next_offset, leader_epoch: -1, written_at: 0 };
        self.store.apply(&Row::last_of_each_key(rows), &position).unwrap();
        self.overlay.applied(generation);
    }

    fn commit(&mut self) -> Vec<Row> {
        let generation = self.overlay.freeze();
        let rows = self.encode(100);
        self.apply(rows.clone(), generation);
        rows
    }

    fn items(&self) -> Vec<(String, V)> {
        self.table.items().collect::<Result<_, _>>().unwrap()
    }
}

fn row(key: &str, value: Option<&str>) -> Row {
    Row { key: key.as_bytes().to_vec(), value: value.map(|value| value.as_bytes().to_vec()) }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u8, u32),
    Update(u8, u32),
    /// From the table's default, and removed again if the sum is even.
    Alter(u8, u32),
    Remove(u8),
    Get(u8),
    Contains(u8),
    Query(u8),
    /// In the closure of an update of the first key the second one is written.
    Nested(u8, u8, u32),
    Items,
    Freeze,
    Encode(usize),
    Commit,
    Apply,
    BeginAnew,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..24u8;
    let number = || 0..1_000u32;
    prop_oneof![
        4 => (key(), number()).prop_map(|(key, n)| Step::Insert(key, n)),
        8 => (key(), number()).prop_map(|(key, n)| Step::Update(key, n)),
        4 => (key(), number()).prop_map(|(key, n)| Step::Alter(key, n)),
        3 => key().prop_map(Step::Remove),
        6 => key().prop_map(Step::Get),
        2 => key().prop_map(Step::Contains),
        3 => key().prop_map(Step::Query),
        2 => (key(), key(), number()).prop_map(|(a, b, n)| Step::Nested(a, b, n)),
        1 => Just(Step::Items),
        4 => Just(Step::Freeze),
        6 => (1..5usize).prop_map(Step::Encode),
        5 => Just(Step::Commit),
        3 => Just(Step::Apply),
        1 => Just(Step::BeginAnew),
    ]
}

fn key(n: u8) -> String {
    // Of different lengths, one of them empty, and some not ASCII.
    "ключ-".chars().chain("0123456789".chars()).cycle().skip(usize::from(n)).take(usize::from(n % 7)).collect::<String>()
        + &if n == 0 { String::new() } else { n.to_string() }
}

type Model = BTreeMap<String, u32>;

/// A generation that is being committed, as it must come out.
struct Frozen {
    generation: u32,
    rows: Model,
    written: BTreeSet<String>,
    encoded: Vec<Row>,
    complete: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// What is encoded for a generation is what the model held at its freeze, whatever is written, read and evicted meanwhile; and
    /// nothing that was not written is encoded.
    #[test]
    fn every_generation_is_encoded_as_it_was_frozen_and_no_update_is_lost(
        steps in proptest::collection::vec(step(), 1..150),
        memory in prop_oneof![Just(0usize), 0..4_000usize, Just(1 << 20)],
    ) {
        let mut rows = Rows::<u32>::new(memory);
        let (mut now, mut stored) = (Model::new(), Model::new());
        let mut written = BTreeSet::new();
        let mut frozen: Option<Frozen> = None;
        let mut unapplied: Option<(Vec<Row>, u32, Model)> = None;
        for step in steps {
            match step {
                Step::Insert(k, n) => {
                    rows.table.insert(&key(k), n).unwrap();
                    now.insert(key(k), n);
                    written.insert(key(k));
                }
                Step::Update(k, n) => {
                    let sum = rows.table.update(&key(k), |sum| { *sum += n; *sum }).unwrap();
                    *now.entry(key(k)).or_default() += n;
                    prop_assert_eq!(sum, now[&key(k)]);
                    written.insert(key(k));
                }
                Step::Alter(k, n) => {
                    let alter = |row: &mut Option<u32>| {
                        let sum = row.unwrap_or_default() + n;
                        *row = (sum % 2 == 1).then_some(sum);
                    };
                    rows.table.alter(&key(k), alter).unwrap();
                    let mut row = now.remove(&key(k));
                    alter(&mut row);
                    now.extend(row.map(|row| (key(k), row)));
                    written.insert(key(k));
                }
                Step::Remove(k) => {
                    rows.table.remove(&key(k)).unwrap();
                    now.remove(&key(k));
                    written.insert(key(k));
                }
                Step::Get(k) => prop_assert_eq!(rows.table.get(&key(k)).unwrap(), now.get(&key(k)).copied()),
                Step::Contains(k) => prop_assert_eq!(rows.table.contains(&key(k)).unwrap(), now.contains_key(&key(k))),
                Step::Query(k) => {
                    let shown = rows.overlay.read(key(k).as_bytes()).unwrap();
                    prop_assert_eq!(shown, now.get(&key(k)).map(|n| n.to_string().into_bytes()));
                }
                Step::Nested(a, b, n) => {
                    let inner = rows.table.update(&key(a), |sum| { *sum += 1; rows.table.insert(&key(b), n) }).unwrap();
                    *now.entry(key(a)).or_default() += 1;
                    written.insert(key(a));
                    if key(a) == key(b) {
                        prop_assert_eq!(inner, Err(TableError::InUse { table: "t", key: key(a) }));
                    } else {
                        inner.unwrap();
                        now.insert(key(b), n);
                        written.insert(key(b));
                    }
                }
                Step::Items => prop_assert_eq!(rows.items(), now.clone().into_iter().collect::<Vec<_>>()),
                Step::Freeze if frozen.is_none() => {
                    prop_assert_eq!(rows.overlay.open_rows(), written.len());
                    let generation = rows.overlay.freeze();
                    prop_assert_eq!(rows.budget.used().1, 0);
                    let written = std::mem::take(&mut written);
                    frozen = Some(Frozen { generation, rows: now.clone(), written, encoded: Vec::new(), complete: false });
                }
                Step::Encode(slice) => if let Some(frozen) = &mut frozen && !frozen.complete {
                    match rows.overlay.encode(slice * 100).unwrap() {
                        Some(rows) => frozen.encoded.extend(rows),
                        None => frozen.complete = true,
                    }
                },
                Step::Commit => if let Some(Frozen { generation, rows: expected, written, mut encoded, complete }) = frozen.take() {
                    if !complete {
                        encoded.extend(rows.encode(300));
                    }
                    let of_key = |key: &String| {
                        Row { key: key.clone().into_bytes(), value: expected.get(key).map(|n| n.to_string().into_bytes()) }
                    };
                    let mut sorted = encoded.clone();
                    sorted.sort_by(|a, b| a.key.cmp(&b.key));
                    prop_assert_eq!(sorted, written.iter().map(of_key).collect::<Vec<_>>());
                    let (before, _, _) = unapplied.take().unwrap_or_default();
                    unapplied = Some(([before, encoded].concat(), generation, expected));
                },
                Step::Apply => if let Some((encoded, generation, expected)) = unapplied.take() {
                    rows.apply(encoded, generation);
                    stored = expected;
                },
                Step::BeginAnew => {
                    rows.begin_anew();
                    (now, frozen, unapplied) = (stored.clone(), None, None);
                    written.clear();
                    prop_assert_eq!(rows.budget.used(), (0, 0));
                }
                Step::Freeze => {}
            }
        }
        prop_assert_eq!(rows.items(), now.into_iter().collect::<Vec<_>>());
        let budget = rows.budget.clone();
        drop(rows);
        prop_assert_eq!(budget.used(), (0, 0));
    }
}

#[test]
fn clean_rows_are_evicted_at_the_bound_and_dirty_ones_never() {
    const MEMORY: usize = 10_000;
    let mut rows = Rows::<u32>::new(MEMORY);
    for n in 0..2_000u32 {
        rows.table.insert(&n.to_string(), n).unwrap();
        if rows.budget.is_open_full() {
            rows.commit();
            assert!(!rows.budget.is_open_full());
        }
        assert_eq!(rows.table.get(&(n / 2).to_string()), Ok(Some(n / 2)));
        assert_eq!(rows.table.get(&format!("absent {n}")), Ok(None));
        assert!(rows.budget.used().0 < MEMORY + 1_000, "{:?}", rows.budget.used());
    }
    (2_000..4_000u32).for_each(|n| rows.table.insert(&n.to_string(), n).unwrap());
    assert!(rows.budget.used().0 > 2_000 * 96, "nothing of this is in the store yet: {:?}", rows.budget.used());
    assert_eq!(rows.items().len(), 4_000);
}

#[test]
fn a_row_that_grows_within_an_interval_counts_with_what_it_has_become() {
    let mut rows = Rows::<Vec<u8>>::new(1 << 20);
    rows.table.insert("a", vec![1; 10]).unwrap();
    let first = rows.budget.used();
    rows.commit();
    for _ in 0..1_000 {
        rows.table.update("a", |bytes| bytes.extend([1; 100])).unwrap();
    }
    let (cached, open) = rows.budget.used();
    assert!(cached - first.0 > 50_000 && open > 50_000, "at least what it was after half of its writes: {cached}, {open}");
    rows.commit();
    let (cached, open) = rows.budget.used();
    assert!((100_000..101_000).contains(&cached) && open == 0, "{cached}, {open}");
    rows.table.insert("b", vec![2; 200_000]).unwrap();
    assert!(rows.budget.used().1 > 200_000, "the first write counts at once");
}

#[test]
fn the_closure_of_a_row_gets_an_error_for_its_own_row_and_all_others() {
    let mut rows = Rows::<u32>::new(1 << 20);
    rows.table.insert("a", 1).unwrap();
    rows.table.insert("b", 2).unwrap();
    let generation = rows.overlay.freeze();
    let in_use = TableError::InUse { table: "t", key: "a".into() };
    let (own, other, all) = rows
        .table
        .with("a", |_| (rows.table.update("a", |n| *n += 1), rows.table.get("b"), rows.table.items().next().unwrap().map(drop)))
        .unwrap();
    assert_eq!((own, other, all), (Err(in_use.clone()), Ok(Some(2)), Err(in_use)));
    let mut encoded = rows.encode(1);
    encoded.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(encoded, [row("a", Some("1")), row("b", Some("2"))], "a row in use is not one that is absent");
    rows.apply(encoded, generation);
    assert_eq!(rows.table.get("a"), Ok(Some(1)));
}

#[test]
fn a_row_whose_closure_panics_stays_in_the_table() {
    let mut rows = Rows::<u32>::new(1 << 20);
    rows.table.insert("a", 1).unwrap();
    let read = catch_unwind(AssertUnwindSafe(|| rows.table.with("a", |_| panic!("while reading"))));
    assert!(read.is_err());
    let written = catch_unwind(AssertUnwindSafe(|| {
        rows.table.update("a", |n| {
            *n += 1;
            panic!("after writing")
        })
    }));
    assert!(written.is_err());
    assert_eq!(rows.table.get("a"), Ok(Some(2)));
    assert_eq!(rows.commit(), [row("a", Some("2"))]);
}

#[test]
fn a_key_of_another_partition_is_refused_by_reads_and_writes() {
    let key = (0..).map(|n: u32| n.to_string()).find(|key| partition_of(key.as_bytes(), 4) == 3).unwrap();
    let rows = Rows::<u32>::of_partition(1, 4, 1 << 20);
    let refused = TableError::WrongPartition { table: "t", key: key.clone(), key_partition: 3, task_partition: 1 };
    assert_eq!(rows.table.update(&key, |n| *n += 1), Err(refused.clone()));
    assert_eq!(rows.table.get(&key), Err(refused.clone()));
    assert_eq!(
        refused.to_string(),
        format!("table `t`: key \"{key}\" belongs to partition 3, this task has 1; use a source that is keyed by the table's key")
    );
    assert_eq!((rows.overlay.open_rows(), rows.budget.used()), (0, (0, 0)));
}

#[test]
fn after_its_epoch_a_table_gives_nothing_away() {
    let rows = Rows::<u32>::new(1 << 20);
    rows.table.insert("a", 1).unwrap();
    rows.overlay.end();
    let revoked = TableError::Revoked { table: "t", partition: 0 };
    assert_eq!(rows.table.get("a"), Err(revoked.clone()));
    assert_eq!(rows.table.insert("a", 2), Err(revoked.clone()));
    assert_eq!(rows.table.items().collect::<Result<Vec<_>, _>>(), Err(revoked.clone()));
    assert_eq!(rows.overlay.read(b"a"), Err(revoked));
    assert_eq!(rows.budget.used(), (0, 0), "what can't be reached any more takes no room");
}

#[test]
fn a_row_is_found_by_the_bytes_of_its_key_only() {
    let store = Stores::open(&state::Place::Memory).unwrap().store("t", 0).unwrap().store;
    let budget = Rc::new(Budget::new(1 << 20, 1 << 20));
    let overlay = Overlay::<u64, u64>::new(Place { table: "t", partition: 0, partitions: 1, store, budget });
    overlay.lend(&5, true, |row| *row = Some(7)).unwrap();
    assert_eq!(overlay.read(b"5"), Ok(Some(b"7".to_vec())));
    for other in [&b" 5"[..], b"5 ", b"05", b"five", b"", b"\xff"] {
        assert_eq!(overlay.read(other), Ok(None), "{other:?}");
    }
}

#[test]
fn a_value_that_encodes_to_null_is_no_row_before_and_after_the_commit() {
    let mut rows = Rows::<Option<u32>>::new(1 << 20);
    rows.table.insert("a", Some(1)).unwrap();
    rows.commit();
    rows.table.insert("a", None).unwrap();
    let absent = |rows: &Rows<Option<u32>>| {
        assert_eq!(rows.table.get("a"), Ok(None));
        assert_eq!(rows.table.contains("a"), Ok(false));
        assert_eq!(rows.overlay.read(b"a"), Ok(None));
        assert_eq!(rows.items(), []);
    };
    absent(&rows);
    assert_eq!(rows.commit(), [row("a", None)]);
    absent(&rows);
    rows.begin_anew();
    absent(&rows);
}

#[test]
fn items_are_those_of_the_call_while_the_loop_writes_over_more_than_a_page() {
    let mut rows = Rows::<u32>::new(1 << 20);
    let key = |n: u32| format!("{n:05}");
    (0..3_000).for_each(|n| rows.table.insert(&key(n), n).unwrap());
    rows.commit();
    (2_990..3_010).for_each(|n| rows.table.insert(&key(n), 2 * n).unwrap());
    (0..10).for_each(|n| rows.table.remove(&key(n)).unwrap());
    let mut seen = Vec::new();
    for item in rows.table.items() {
        let (own, n) = item.unwrap();
        rows.table.insert(&format!("{own}+"), n).unwrap();
        rows.table.remove(&own).unwrap();
        seen.push((own, n));
    }
    let expected = (10..3_010).map(|n| (key(n), if n < 2_990 { n } else { 2 * n }));
    assert!(seen.into_iter().eq(expected));
    assert_eq!(rows.table.keys().next(), Some(Ok("00010+".to_string())));
}

#[test]
fn bytes_that_are_no_row_are_an_error_that_names_the_key() {
    let mut rows = Rows::<u32>::new(1 << 20);
    rows.apply(vec![row("a", Some("one"))], 0);
    let error = rows.table.get("a").unwrap_err().to_string();
    assert!(error.starts_with("table `t`: the row of key \"a\" can't be decoded"), "{error}");
    assert!(rows.table.items().next().unwrap().is_err());
}

#[test]
fn a_key_is_shown_as_text_or_in_base_16_and_cut_where_it_is_long() {
    assert_eq!(show("ключ".as_bytes()), "ключ");
    assert_eq!(show(&[0xff, 1]), "ff01");
    assert_eq!(show(b""), "");
    assert_eq!(show(&[b'a'; 101]), "a".repeat(100) + "…");
    assert_eq!(show("й".repeat(51).as_bytes()), "й".repeat(51), "characters count, not bytes");
}

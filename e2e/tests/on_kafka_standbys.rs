//! A worker dies with its volume, and another one has all of it: a copy that needs the tail of its changelogs at most.

use std::collections::BTreeMap;

use faust_e2e::offsets::record_counts;
use faust_e2e::page_views::{CHANGELOG, VIEWS};
use faust_e2e::pages::TableState;
use faust_e2e::{Oracle, PageViews, State, Views, Worker, wait};

const PARTITIONS: i32 = 6;
const PER_SECOND: u32 = 5_000;

#[test]
fn a_worker_that_loses_its_volume_is_replaced_by_its_copy_on_kafka() {
    let stage = PageViews::on_kafka(env!("CARGO_BIN_EXE_e2e-page-views"), PARTITIONS)
        .flag("commit-interval", "100ms")
        .flag("standby-replicas", "1");
    let (anna, bert) = (stage.workers.start("anna"), stage.workers.start("bert"));
    stage.until_shared(&[&anna, &bert]);
    let flow = Views::of_pages(3_000).flow(&stage.kafka, VIEWS, PER_SECOND);
    until_copied(&anna, &bert);
    wait::until("changelogs much longer than a tail", || {
        let changes: i64 = record_counts(&stage.kafka, CHANGELOG, PARTITIONS).iter().sum();
        if changes >= 50_000 { Ok(()) } else { Err(format!("{changes} changes")) }
    });
    until_copied(&anna, &bert);

    // What the copies have before the kill needs no restore afterwards.
    let before = bert.state();
    let copies = before.standbys();
    let window = stage.offsets.around(&anna.state().partitions(), || anna.kill());
    stage.workers.delete_data_folder("anna");
    stage.until_shared(&[&bert]);
    let after = bert.state();
    let ends = record_counts(&stage.kafka, CHANGELOG, PARTITIONS);
    for partition in copies {
        let (was, is) = (table(&before, partition), table(&after, partition));
        let tail = (ends[partition as usize] - was.stored.expect("a copy")) as u64;
        let restored = is.restored - was.restored;
        assert!(restored <= tail, "partition {partition}: {restored} records restored, the tail were {tail}");
        assert!(10 * restored < ends[partition as usize] as u64, "partition {partition}: {restored} of {ends:?} restored");
    }
    assert_eq!(after.wiped(), BTreeMap::new());

    // Back on an empty volume: built again from the changelogs, then as good as before.
    let anna = stage.workers.start("anna");
    stage.until_shared(&[&anna, &bert]);
    until_copied(&anna, &bert);
    assert!(anna.state().restored() > 0, "its volume was empty");
    flow.finish();
    stage.offsets.until_consumed();
    until_copied(&anna, &bert);
    let last = stage.offsets.around(&bert.state().partitions(), || bert.kill());
    stage.until_shared(&[&anna]);
    let views = Oracle::read(&stage.kafka, VIEWS);
    views.assert_at_least_once(&stage.table(&[&anna], &views.keys()), &[window, last]);
}

/// Waits until each has copies of all that the other one has, and those lack nothing worth a word.
#[track_caller]
fn until_copied(one: &Worker, other: &Worker) {
    for (owner, copier) in [(one, other), (other, one)] {
        copier.until("has copies of all that the other one has", |state| {
            state.caught_up && owner.pages().state().is_ok_and(|theirs| theirs.partitions() == state.standbys())
        });
    }
}

/// In whichever role.
fn table(state: &State, partition: i32) -> TableState {
    state.tasks.iter().find(|task| task.partition() == partition).expect("the task").tables[0].clone()
}

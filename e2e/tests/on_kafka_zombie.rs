//! A worker that slept beyond its session wakes with work in hand that others have done since: it must harm nobody.

use faust_e2e::oracle::assert_same;
use faust_e2e::page_views::{GROUP, VIEWS};
use faust_e2e::{Oracle, PageViews, State, Views, Window, Worker, wait};

/// Kafka's code for a member that the group doesn't know any more.
const UNKNOWN_MEMBER: i16 = 25;

#[test]
fn a_zombie_changes_nothing_and_joins_again_on_kafka() {
    // Commits come seldom, so that the zombie has much in hand when it falls asleep.
    let stage = PageViews::on_kafka(env!("CARGO_BIN_EXE_e2e-page-views"), 12).flag("commit-interval", "2s");
    let mut views = Views::of_pages(1_000);
    views.produce(&stage.kafka, VIEWS, 10_000);
    let (anna, bert) = (stage.workers.start("anna"), stage.workers.start("bert"));
    stage.until_shared(&[&anna, &bert]);
    stage.offsets.until_consumed();
    let rested = anna.state();

    let flow = views.flow(&stage.kafka, VIEWS, 2_000);
    let (asleep, window) = freeze_with_work_in_hand(&stage, &anna, &rested);
    stage.until_shared(&[&bert]);
    flow.finish();
    stage.offsets.until_consumed();

    // Everything is counted and committed by the owner that lives; nobody writes any more.
    let views = Oracle::read(&stage.kafka, VIEWS);
    let (ends, table) = (stage.offsets.committed(), stage.table(&[&bert], &views.keys()));
    views.assert_at_least_once(&table, &[window]);

    // The broker refuses what the zombie would commit.
    let partition = asleep.partitions()[0];
    assert_eq!(stage.offsets.commit_as(&asleep.member, asleep.generation, partition, 0), UNKNOWN_MEMBER);

    anna.wake();
    anna.until("has joined again as another member", |state| state.ready && state.member != asleep.member);
    stage.until_shared(&[&anna, &bert]);
    let last_epoch = asleep.active().map(|task| task.epoch).max().expect("it had tasks");
    assert!(anna.state().active().all(|task| task.epoch > last_epoch), "it went on with what it had: {:?}", anna.state());

    assert_same("the owner that lived and the changelog's last values", &table, &stage.changelog());
    assert_same("the owner that lived and those that live", &table, &stage.table(&[&anna, &bert], &views.keys()));
    assert_eq!(stage.offsets.committed(), ends, "an offset was committed by the zombie");
    let output = stage.kafka.tool("ConsumerGroupCommand", ["--describe", "--group", GROUP, "--members"]).unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains(&asleep.member));
}

/// Freezes the worker when it has counted views that it has not committed; its last state, and what it may have counted for nothing.
/// All partitions must have been committed to their ends before, when its state was `rested`.
fn freeze_with_work_in_hand(stage: &PageViews, worker: &Worker, rested: &State) -> (State, Window) {
    let records = |state: &State, partition: i32| state.task(partition).expect("nothing moves").inputs[0].records as i64;
    wait::until("the worker is frozen with work in hand", || {
        let state = worker.state();
        let window = stage.offsets.around(&state.partitions(), || worker.freeze());
        // It sleeps, so that what it had counted before and has not committed now it has in hand.
        let in_hand = state.active().filter(|task| {
            let (partition, input) = (task.partition(), &task.inputs[0]);
            let start = rested.task(partition).expect("nothing moves").inputs[0].committed.expect("it has committed");
            let position = start + input.records as i64 - records(rested, partition);
            position > window.0[&partition].start
        });
        if in_hand.count() * 2 > state.partitions().len() {
            return Ok((state, window));
        }
        worker.wake();
        Err(format!("{window:?} at {state:?}"))
    })
}

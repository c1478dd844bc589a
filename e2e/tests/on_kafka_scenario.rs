//! The whole story: two workers count exactly; then, while records flow, workers are killed, added, stopped, robbed of their data
//! and frozen, and what comes out is bounded by what was under way at those moments.

use faust_e2e::oracle::assert_same;
use faust_e2e::page_views::{COUNTED, VIEWS};
use faust_e2e::{Oracle, PageViews, State, Views, Window, Worker, records};

const PAGES: usize = 3_000;
const FIRST: usize = 200_000;
const PER_SECOND: u32 = 2_000;

#[test]
fn counts_are_exact_and_then_bear_kills_stops_and_sleep_on_kafka() {
    let stage = PageViews::on_kafka(env!("CARGO_BIN_EXE_e2e-page-views"), 12).flag("commit-interval", "200ms");
    let mut views = Views::of_pages(PAGES);

    // Nothing happens, and the counts are exact.
    views.produce(&stage.kafka, VIEWS, FIRST);
    let (anna, bert) = (stage.workers.start("anna"), stage.workers.start("bert"));
    stage.until_shared(&[&anna, &bert]);
    stage.offsets.until_consumed();
    let first = Oracle::read(&stage.kafka, VIEWS);
    assert_eq!(first.total(), FIRST as u64);
    first.assert_exact(&stage.table(&[&anna, &bert], &first.keys()));

    // Everything happens, while records flow.
    let flow = views.flow(&stage.kafka, VIEWS, PER_SECOND);
    let mut windows: Vec<Window> = Vec::new();
    let mut around = |worker: Worker, act: fn(&Worker)| {
        until_counting(&worker);
        let partitions = worker.state().partitions();
        windows.push(stage.offsets.around(&partitions, || act(&worker)));
        worker
    };

    around(anna, Worker::kill);
    let anna = stage.workers.start("anna");
    stage.until_shared(&[&anna, &bert]);

    let cleo = stage.workers.start("cleo");
    stage.until_shared(&[&anna, &bert, &cleo]);

    around(bert, stop_well);
    stage.until_shared(&[&anna, &cleo]);

    around(cleo, stop_well);
    stage.workers.delete_data_folder("cleo");
    let cleo = stage.workers.start("cleo");
    stage.until_shared(&[&anna, &cleo]);

    let anna = around(anna, Worker::freeze);
    stage.until_shared(&[&cleo]);
    anna.wake();
    stage.until_shared(&[&anna, &cleo]);

    // All is counted, hardly anything twice, and everybody tells the same.
    flow.finish();
    stage.offsets.until_consumed();
    let views = Oracle::read(&stage.kafka, VIEWS);
    let counted = stage.table(&[&anna, &cleo], &views.keys());
    views.assert_at_least_once(&counted, &windows);
    let under_way: u64 = views.in_windows(&windows).values().sum();
    assert!(under_way > 0, "nothing was under way at any of it: {windows:?}");
    assert!(under_way * 50 < views.total(), "{under_way} of {} records lie in the windows {windows:?}", views.total());
    assert_same("HTTP and the changelog", &counted, &stage.changelog());
    assert_every_view_told(&stage, &views);
}

/// Waits until records reach the worker.
#[track_caller]
fn until_counting(worker: &Worker) {
    let records = |state: &State| state.active().map(|task| task.inputs[0].records).sum::<u64>();
    let before = records(&worker.state());
    worker.until("goes on counting", |state| records(state) > before + 100);
}

#[track_caller]
fn stop_well(worker: &Worker) {
    assert_eq!(worker.stop(), 0);
}

/// `page_view_counts` has every position of the input.
fn assert_every_view_told(stage: &PageViews, views: &Oracle) {
    let mut untold = views.positions();
    for record in records::read(&stage.kafka, COUNTED) {
        let value = record.value.expect("a message of the app has a value");
        let told: serde_json::Value = serde_json::from_slice(&value).expect("a message of the app is JSON");
        assert_eq!(told["page"].as_str().map(str::as_bytes), record.key.as_deref());
        untold.remove(&(told["partition"].as_i64().expect("a partition") as i32, told["offset"].as_i64().expect("an offset")));
    }
    assert!(untold.is_empty(), "{} views were never told, the first: {:?}", untold.len(), untold.first());
}

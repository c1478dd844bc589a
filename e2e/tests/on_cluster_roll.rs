//! A roll waits for the pod that it replaced: for its tables, when that takes long.

use std::time::Duration;

use faust_e2e::cluster::{App, Change, Kcat, Operator, Stage, Watch, most_unready, times_to_ready};
use faust_e2e::page_views::{CHANGELOG, GROUP, VIEWS};
use faust_e2e::{Offsets, Oracle, Views, records};
use serde_json::json;

const PARTITIONS: i32 = 12;
const VIEWED: usize = 20_000;
/// Pages of about the same length, so that every partition has about the same to restore.
const PAGES: usize = 199;
/// How long a pod is to restore.
const RESTORE: Duration = Duration::from_secs(20);

#[test]
fn a_roll_waits_for_tables_that_are_restored_for_long_on_cluster() {
    let stage = Stage::set();
    let operator = stage.step("helm install", || Operator::install(&stage.cluster));
    // Tables go with their pod and nobody has copies, so that its successor has to read them all.
    let app = stage.step("kubectl apply", || {
        let app = App::apply(&stage, json!({ "spec": { "storage": { "type": "Ephemeral" }, "standbyReplicas": 0 } }));
        app.wait_ready();
        app
    });
    let offsets = Offsets::of(stage.cluster.kafka(), GROUP, VIEWS, PARTITIONS);
    let rate = stage.step("views are counted", || {
        Views::of_pages(PAGES).produce_to(Kcat::to(stage.cluster.kafka(), VIEWS), VIEWED);
        offsets.until_consumed();
        let mut bytes = [0; PARTITIONS as usize];
        for record in records::read(stage.cluster.kafka(), CHANGELOG) {
            let length = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len) as u64;
            bytes[record.partition as usize] += length(&record.key) + length(&record.value);
        }
        let shared = app.until_shared(2, PARTITIONS);
        let least =
            shared.iter().map(|partitions| partitions.iter().map(|partition| bytes[*partition as usize]).sum::<u64>()).min();
        least.expect("two pods") / RESTORE.as_secs()
    });

    stage.step(format_args!("another image, and {rate} bytes of changelog a second"), || {
        let (mark, watch) = (operator.mark(), Watch::of_pods(&stage, &app.pod_names(2)));
        app.patch(&json!({ "spec": { "image": stage.cluster.next_image(), "settings": { "restore-rate": rate.to_string() } } }));
        app.until_rolled();
        let changes = watch.changes();
        let (most, story) = most_unready(&changes, &app.pod_names(2));
        assert_eq!(most, 1, "pods that were not ready at once: {story:?}");
        let times = times_to_ready(&changes, &app.pod_names(2));
        stage.say(format_args!("    until ready: {times:?}"));
        assert_eq!(times.keys().collect::<Vec<_>>(), app.pod_names(2).iter().collect::<Vec<_>>());
        assert!(times.values().all(|time| *time > RESTORE / 2), "the restore took long: {times:?}");
        if let Some(mark) = mark {
            let mut deleted = operator.until_deleted(mark, 2);
            deleted.sort();
            assert_eq!(deleted, app.pod_names(2), "each pod was deleted exactly once");
        }
        for (pod, image) in images(&changes) {
            assert_eq!(image, stage.cluster.next_image(), "{pod} came back with the new image");
        }
    });
    let restored: Vec<u64> = (0..2).map(|ordinal| app.pages(ordinal).state().map_or(0, |state| state.restored())).collect();
    stage.say(format_args!("    {restored:?} records were restored"));
    let oracle = Oracle::read(stage.cluster.kafka(), VIEWS);
    oracle.assert_exact(&app.table(2, &oracle.keys()));
}

/// Of the pods that were made while it was watched, the image of each.
fn images(changes: &[Change]) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let deleted = changes.iter().position(|change| change.what == "DELETED").unwrap_or(changes.len());
    let made = changes[deleted..].iter().filter(|change| change.what == "ADDED");
    made.map(|change| (text(&change.object["metadata"]["name"]), text(&change.object["spec"]["containers"][0]["image"]))).collect()
}

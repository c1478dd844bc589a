//! A worker's HTTP pages: rows of its tables, and why there is none.

use faust_e2e::orders::COUNT;
use faust_e2e::{Orders, Row};
use faust_testbed::shared;

const ORDERS: &str = env!("CARGO_BIN_EXE_e2e-orders");

#[test]
fn a_row_is_found_by_any_key_and_only_where_it_is_on_kafka() {
    let stage = Orders::on(shared(), ORDERS, 8);
    let long = "long".repeat(3_000);
    stage.send(["plain", "grö/ße?", "", &long], COUNT);
    let keys = stage.one_key_each();
    let (anna, bert) = (stage.workers.start("anna"), stage.workers.start("bert"));
    anna.until("has its share", |state| state.ready && state.partitions().len() == 4);
    bert.until("has its share", |state| state.ready && state.partitions().len() == 4);
    stage.offsets.until_consumed();

    let (of_anna, of_bert) = (anna.state().partitions(), bert.state().partitions());
    for (partition, key) in keys.iter().enumerate() {
        let (owner, other) = if of_anna.contains(&(partition as i32)) { (&anna, &bert) } else { (&bert, &anna) };
        assert_eq!((owner.row("done", key), other.row("done", key)), (Row::Is("1".into()), Row::NotHere));
        let (code, sentence) = other.pages().get(&format!("/tables/done/{key}")).unwrap();
        assert!(code == 421 && sentence.contains(&format!("partition {partition}")), "{code} {sentence}");
    }
    assert!(of_anna.iter().all(|partition| !of_bert.contains(partition)));

    let answers =
        |path: &str| [&anna, &bert].map(|worker| worker.pages().get(path).unwrap()).into_iter().find(|(code, _)| *code != 421);
    let one = Some((200, "1".to_string()));
    let paths = ["/tables/done/plain", "/tables/done?key=plain", "/tables/done/gr%C3%B6%2F%C3%9Fe%3F", "/tables/done?key="];
    paths.into_iter().for_each(|path| assert_eq!(answers(path), one, "{path}"));
    assert_eq!(answers(&format!("/tables/done?key={long}")), one);
    assert_eq!(answers("/tables/done/nobody"), Some((404, "no such key\n".into())));
    assert_eq!(answers("/tables/gone/plain").map(|(code, _)| code), Some(404));
    assert_eq!(answers("/tables/done").map(|(code, _)| code), Some(400));
}

#[test]
fn a_restore_under_way_is_told_with_what_remains_and_a_row_in_it_is_not_shown_on_kafka() {
    let stage = Orders::on(shared(), ORDERS, 1);
    let keys: Vec<String> = (0..2_000).map(|n| format!("{n}-{}", "x".repeat(500))).collect();
    stage.send(&keys, COUNT);
    let worker = stage.workers.start("anna");
    stage.offsets.until_consumed();
    worker.kill();
    stage.workers.delete_data_folder("anna");

    let worker = stage.workers.start_with("anna", &[("restore-rate", "10KiB")]);
    let seen = worker.until("restores", |state| state.tasks.iter().any(|task| task.tables[0].restore.is_some()));
    let restore = seen.tasks[0].tables[0].restore.as_ref().unwrap();
    assert_eq!((restore.from, restore.to), (0, 2_000));
    assert!(matches!(worker.row("done", &keys[0]), Row::NotYet(_)));
    worker.until_unready(&["opened or restored"]);
    assert_eq!(worker.pages().get("/livez").unwrap().0, 200);
    assert!(worker.pages().metric("faust_restore_remaining_records").unwrap() > 0.0);
    // A worker that restores is told to stop like any other.
    assert_eq!(worker.stop(), 0);
}

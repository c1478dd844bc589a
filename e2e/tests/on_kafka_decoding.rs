//! A record that doesn't decode, under each of the three policies.

use std::collections::BTreeMap;

use faust_e2e::Orders;
use faust_e2e::orders::COUNT;
use faust_testbed::shared;

const ORDERS: &str = env!("CARGO_BIN_EXE_e2e-orders");

#[test]
fn it_stops_its_partition_and_no_other_on_kafka() {
    let stage = Orders::on(shared(), ORDERS, 2);
    let keys = stage.one_key_each();
    let poison = stage.offsets.ends()[0];
    stage.send_bytes(0, Some(keys[0].as_bytes()), Some(b"{\"type\":\"cou"));
    stage.send(&keys, COUNT);

    let worker = stage.workers.start("anna");
    let sentence = worker.until_unready(&[&format!("{}[0]@{poison}", stage.topic), "value", "on-decode-error"]);
    stage.until_row(&worker, &keys[1], 2);
    stage.until_row(&worker, &keys[0], 1);
    let state = worker.state();
    assert!(sentence.contains(state.task(0).unwrap().problem.as_deref().expect("a problem")));
    assert_eq!(state.task(1).unwrap().problem, None);
    assert_eq!(worker.stop(), 0);
    assert_eq!(stage.offsets.committed(), [Some(poison), Some(stage.offsets.ends()[1])]);
}

#[test]
fn it_is_skipped_and_counted_on_kafka() {
    let stage = Orders::on(shared(), ORDERS, 2).flag("on-decode-error", "skip");
    let keys = stage.one_key_each();
    stage.send_bytes(0, Some(keys[0].as_bytes()), Some(b"{\"type\":\"cou"));
    // A key that isn't text, none, and a tombstone, which this topic's types don't have either.
    stage.send_bytes(0, Some(b"\xff"), Some(COUNT.as_bytes()));
    stage.send_bytes(1, None, Some(COUNT.as_bytes()));
    stage.send_bytes(1, Some(keys[1].as_bytes()), None);
    stage.send(&keys, COUNT);

    let worker = stage.workers.start("anna");
    worker.until_ready();
    stage.offsets.until_consumed();
    keys.iter().for_each(|key| stage.until_row(&worker, key, 2));
    let counted = BTreeMap::from([("decode".to_string(), 4), ("input_expired".to_string(), 0)]);
    assert_eq!(worker.state().dropped(), counted);
    assert_eq!(worker.pages().metric("faust_dropped_records_total"), Ok(4.0));
}

#[test]
fn it_ends_the_worker_with_its_name_on_kafka() {
    let stage = Orders::on(shared(), ORDERS, 2).flag("on-decode-error", "fail");
    let keys = stage.one_key_each();
    let poison = stage.offsets.ends()[1];
    stage.send_bytes(1, Some(keys[1].as_bytes()), Some(b"null"));

    let worker = stage.workers.start("anna");
    assert_eq!(worker.until_ended(), 1);
    assert!(worker.log().contains(&format!("error: {}[1]@{poison}: the value", stage.topic)), "{}", worker.log());
    assert!(stage.offsets.committed()[1].is_none_or(|committed| committed <= poison));
}

//! How a worker ends: refused, failed, told to.

use std::net::TcpListener;
use std::time::Duration;

use faust_e2e::orders::{COUNT, END, FAIL, PANIC, wait_seconds};
use faust_e2e::{Orders, Worker};
use faust_testbed::shared;

const ORDERS: &str = env!("CARGO_BIN_EXE_e2e-orders");

#[test]
fn what_a_worker_is_refused_for_has_its_code_and_sentence_on_kafka() {
    let stage = Orders::on(shared(), ORDERS, 2);
    let refused = |worker: Worker, code: i32, words: &[&str]| {
        assert_eq!(worker.until_ended(), code, "{}", worker.log());
        let log = worker.log();
        let sentence = log.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("no sentence: {log}"));
        assert!(words.iter().all(|word| sentence.contains(word)), "{words:?} not all in: {sentence}");
    };

    refused(stage.workers.start_with("anna", &[("web-prot", "0")]), 2, &["--web-prot"]);
    refused(stage.workers.start_with("anna", &[("commit-interval", "often")]), 78, &["commit-interval", "often"]);
    refused(stage.workers.start_with("anna", &[("session-timeout", "100ms")]), 78, &["session-timeout", "100ms"]);

    // The broker's own limit is half an hour.
    refused(stage.workers.start_with("anna", &[("session-timeout", "1h"), ("rebalance-timeout", "1h")]), 69, &["session"]);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    refused(stage.workers.start_with("anna", &[("web-port", &port)]), 78, &["web-port", &port]);

    let first = stage.workers.start("anna");
    first.until_ready();
    refused(stage.workers.start("anna"), 78, &["data folder", "in use", "--datadir"]);
    first.until_ready();

    let unknown = stage.workers.variable("FAUST_WEB_PROT", "1");
    refused(unknown.start("bert"), 78, &["FAUST_WEB_PROT", "FAUST_WEB_PORT"]);
}

#[test]
fn an_agent_that_fails_panics_or_ends_is_named_with_its_event_and_commits_nothing_of_it_on_kafka() {
    let ends = [(FAIL, "agent `obey` failed at "), (PANIC, "agent `obey` panicked at "), (END, "agent `obey`")];
    for (order, words) in ends {
        let stage = Orders::on(shared(), ORDERS, 2);
        let keys = stage.one_key_each();
        let worker = stage.workers.start("anna");
        worker.until_ready();
        stage.offsets.until_consumed();

        let at = stage.offsets.ends()[1];
        stage.send([&keys[1]], order);
        assert_eq!(worker.until_ended(), 1, "{}", worker.log());
        let log = worker.log();
        let sentence = log.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("no sentence: {log}"));
        assert!(sentence.contains(words), "{sentence}");
        assert!(order == END || sentence.contains(&format!("{}[1]@{at}", stage.topic)), "{sentence}");
        assert_eq!(stage.offsets.committed()[1], Some(at));
        let rows = faust_e2e::changelog::last_values(stage.broker, &stage.changelog, 2);
        assert_eq!(rows[&keys[1]], "1", "the failed event's write is in the changelog");
    }
}

#[test]
fn a_worker_that_is_told_to_stop_has_committed_what_it_has_counted_on_kafka() {
    // It commits by itself only when it is told to stop.
    let stage = Orders::on(shared(), ORDERS, 4).flag("commit-interval", "10m");
    let keys = stage.one_key_each();
    let worker = stage.workers.start("anna");
    keys.iter().for_each(|key| stage.until_row(&worker, key, 1));
    let counted = worker.state();
    assert_eq!(worker.stop(), 0);

    for (partition, committed) in stage.offsets.committed().into_iter().enumerate() {
        let records = counted.task(partition as i32).unwrap().inputs[0].records as i64;
        assert!(committed >= Some(records), "partition {partition}: {committed:?} committed, {records} counted");
    }
    let worker = stage.workers.start("anna");
    worker.until_ready();
    stage.send(&keys, COUNT);
    keys.iter().for_each(|key| stage.until_row(&worker, key, 2));
}

#[test]
fn a_second_signal_ends_a_worker_at_once_on_kafka() {
    let stage = Orders::on(shared(), ORDERS, 2);
    let worker = stage.workers.start("anna");
    worker.until_ready();
    stage.send(["a"], &wait_seconds(120));
    stage.until_row(&worker, "a", 1);

    worker.terminate();
    worker.until_logged("stopping");
    worker.terminate();
    assert_eq!(worker.ends_within(Duration::from_secs(3)), 128 + 15);
}

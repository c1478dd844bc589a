//! An agent that keeps its shard's thread, and one that never finishes an event: named, and the others go on.

use faust_e2e::orders::{COUNT, block_seconds, wait_seconds};
use faust_e2e::{Orders, wait};
use faust_testbed::shared;

const ORDERS: &str = env!("CARGO_BIN_EXE_e2e-orders");

#[test]
fn an_agent_that_keeps_its_thread_is_named_and_the_other_shards_go_on_on_kafka() {
    let stage = Orders::on(shared(), ORDERS, 2).flag("session-timeout", "10s");
    let keys = stage.one_key_each();
    let worker = stage.workers.start("anna");
    keys.iter().for_each(|key| stage.until_row(&worker, key, 1));
    stage.offsets.until_consumed();
    let at = stage.offsets.ends()[0];
    stage.send([&keys[0]], &block_seconds(15));
    let sentence = worker.until_unready(&["agent `obey` has kept the thread", "spawn_blocking"]);
    assert!(sentence.contains(&format!("at {}[0]@{at}:", stage.topic)), "{sentence}");
    stage.send([&keys[1]], COUNT);
    stage.until_row(&worker, &keys[1], 2);

    // It comes back, and nothing was lost: neither the membership nor the event.
    stage.until_row(&worker, &keys[0], 2);
    worker.until_ready();
    assert_eq!(worker.state().tasks.iter().map(|task| task.starts_over).sum::<u64>(), 0);
    assert_eq!(worker.stop(), 0);
}

#[test]
fn an_event_that_is_never_finished_ends_the_worker_where_that_is_asked_for_on_kafka() {
    let stage = Orders::on(shared(), ORDERS, 2)
        .flag("event-timeout", "500ms")
        .flag("on-event-timeout", "exit")
        .flag("shutdown-timeout", "1s");
    let keys = stage.one_key_each();
    let worker = stage.workers.start("anna");
    worker.until_ready();
    stage.offsets.until_consumed();
    let at = stage.offsets.ends()[1];
    stage.send([&keys[1]], &wait_seconds(600));
    assert_eq!(worker.until_ended(), 1, "{}", worker.log());
    let log = worker.log();
    let sentence = log.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("no sentence: {log}"));
    assert!(sentence.contains(&format!("agent obey is still in the middle of {}[1]@{at}", stage.topic)), "{sentence}");
    assert!(sentence.contains("`on-event-timeout`"), "{sentence}");
    wait::until("nothing of it is committed", || match stage.offsets.committed()[1] {
        Some(committed) if committed == at => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

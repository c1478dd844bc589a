//! What a worker waits for, says while it waits, and goes on after.

use faust_e2e::orders::{COUNT, wait_seconds};
use faust_e2e::{Deployment, Orders, changelog, wait};
use faust_testbed::{Kafka, shared, unique};

const ORDERS: &str = env!("CARGO_BIN_EXE_e2e-orders");

#[test]
fn a_missing_topic_is_named_and_waited_for_on_kafka() {
    let stage = Orders::without_topic(shared(), ORDERS, 2);
    let worker = stage.workers.start("anna");
    let sentence = worker.until_unready(&[&stage.topic, "don't exist", "create"]);
    assert_eq!(worker.state().waiting.as_deref(), Some(sentence.trim()));
    assert!(worker.log().contains(sentence.trim()));

    stage.create_topic();
    worker.until_ready();
    stage.send(["a", "b", "a"], COUNT);
    stage.until_row(&worker, "a", 2);
    assert_eq!(worker.stop(), 0);
}

#[test]
fn under_an_operator_no_topic_is_created_and_each_is_waited_for_on_kafka() {
    // A broker that creates what is asked for.
    let kafka = Kafka::builder().config("auto.create.topics.enable", true).start().unwrap();
    let stage = Orders::without_topic(&kafka, ORDERS, 2).flag("topic-management", "operator");
    let worker = stage.workers.start("anna");
    worker.until_unready(&[&stage.topic, "don't exist"]);
    assert_eq!(worker.state().reason.as_deref(), Some("WaitingForTopics"));

    stage.create_topic();
    worker.until_unready(&[&stage.changelog, "2 partitions", "topic-management"]);
    let known = kafka.tool("TopicCommand", ["--list"]).unwrap();
    let known = String::from_utf8(known.stdout).unwrap();
    assert!(known.lines().any(|topic| topic == stage.topic) && !known.contains(&stage.changelog), "{known}");

    stage.broker.create_topic(&stage.changelog, 2, &[("cleanup.policy", "compact")]).unwrap();
    worker.until_ready();
    assert_eq!(worker.stop(), 0);
}

#[test]
fn partition_counts_that_differ_are_named_and_waited_for_on_kafka() {
    let (broker, id) = (shared(), unique("pair"));
    let (left, right) = (format!("{id}-left"), format!("{id}-right"));
    broker.create_topic(&left, 2, &[]).unwrap();
    broker.create_topic(&right, 3, &[]).unwrap();
    let workers = Deployment::new(env!("CARGO_BIN_EXE_e2e-pair"), broker).variable("FAUST_TEST_APP", &id);
    let worker = workers.start("anna");
    worker.until_unready(&[&left, "2", &right, "3"]);

    broker.delete_topic(&right).unwrap();
    worker.until_unready(&[&right, "don't exist"]);
    broker.create_topic(&right, 2, &[]).unwrap();
    assert_eq!(worker.until_ready().partitions(), [0, 1]);
}

#[test]
fn a_changelog_of_another_size_is_named_and_waited_for_on_kafka() {
    let stage = Orders::on(shared(), ORDERS, 2);
    stage.broker.create_topic(&stage.changelog, 3, &[]).unwrap();
    let worker = stage.workers.start("anna");
    worker.until_unready(&[&stage.changelog, "3 partitions", "2"]);

    stage.broker.delete_topic(&stage.changelog).unwrap();
    worker.until_ready();
}

#[test]
fn a_broker_that_is_away_is_waited_for_on_kafka() {
    let kafka = Kafka::start().unwrap();
    let stage = Orders::on(&kafka, ORDERS, 4);
    let keys = stage.one_key_each();

    kafka.stop().unwrap();
    let worker = stage.workers.start("anna");
    worker.until_unready(&[&kafka.bootstrap()]);
    kafka.restart().unwrap();
    worker.until_ready();
    stage.offsets.until_consumed();
    stage.until_row(&worker, &keys[0], 1);

    kafka.kill().unwrap();
    worker.until_unready(&["coordinator"]);
    assert!(worker.pages().get("/livez").unwrap().0 == 200, "alive, whatever Kafka does");
    kafka.restart().unwrap();
    stage.send(&keys, COUNT);
    worker.until_ready();
    stage.offsets.until_consumed();
    keys.iter().for_each(|key| stage.until_row(&worker, key, 2));
    assert_eq!(worker.stop(), 0);
}

#[test]
fn an_event_that_takes_ten_seconds_delays_no_commit_of_others_on_kafka() {
    let stage = Orders::on(shared(), ORDERS, 8);
    let keys = stage.one_key_each();
    let worker = stage.workers.start("anna");
    stage.offsets.until_consumed();
    let before = stage.offsets.committed();

    stage.send([&keys[0]], &wait_seconds(10));
    stage.until_row(&worker, &keys[0], 2);
    stage.send(&keys[1..], COUNT);
    let ends = stage.offsets.ends();
    wait::until("all others have committed", || {
        let committed = stage.offsets.committed();
        let others = committed.iter().zip(&ends).skip(1).all(|(committed, end)| *committed == Some(*end));
        if others { Ok(()) } else { Err(format!("{committed:?} of {ends:?}")) }
    });
    assert_eq!(stage.offsets.committed()[0], before[0], "the waiting event is committed");
    worker.until("names who misses commits", |state| state.task(0).is_some_and(|task| task.missed_commits > 0));
    worker.until_ready();

    stage.offsets.until_consumed();
    keys.iter().for_each(|key| stage.until_row(&worker, key, 2));
}

#[test]
fn a_flush_that_kafka_does_not_take_commits_nothing_and_is_tried_again_on_kafka() {
    let stage = Orders::on(shared(), ORDERS, 2);
    stage.broker.create_topic(&stage.changelog, 2, &[("cleanup.policy", "compact"), ("max.message.bytes", "500")]).unwrap();
    let long = "k".repeat(1_000);
    stage.send([&long], COUNT);

    // Its only flush is the one at its end.
    let worker = stage.workers.start_with("anna", &[("commit-interval", "10m")]);
    stage.until_row(&worker, &long, 1);
    assert_eq!(worker.stop(), 1, "it ended as if all were well");

    let worker = stage.workers.start("anna");
    worker.until_unready(&["starting over", &stage.changelog]);
    worker.until("has tried again", |state| state.tasks.iter().any(|task| task.starts_over > 1));
    assert_eq!(stage.offsets.committed(), [Some(0), Some(0)], "what was not flushed is committed");

    let entity = ["--alter", "--entity-type", "topics", "--entity-name", &stage.changelog];
    stage.broker.tool("ConfigCommand", entity.into_iter().chain(["--add-config", "max.message.bytes=100000"])).unwrap();
    stage.offsets.until_consumed();
    worker.until_ready();
    stage.until_row(&worker, &long, 1);
    assert_eq!(worker.stop(), 0);
    assert_eq!(changelog::last_values(stage.broker, &stage.changelog, 2)[&long], "1");
}

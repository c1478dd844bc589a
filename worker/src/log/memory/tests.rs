use super::faults::Fate;
use super::*;
use crate::log::conformance::World;

fn world() -> (Arc<MemoryLog>, World) {
    let log = MemoryLog::new(1);
    (log.clone(), World { log, topic: "topic".to_string(), expire: Box::new(|_, _| {}) })
}

fn row(key: u32, value: u32) -> Row {
    Row { key: key.to_be_bytes().to_vec(), value: Some(value.to_be_bytes().to_vec()) }
}

#[tokio::test]
async fn a_compacted_topic_keeps_the_last_record_of_each_key_at_its_offset() {
    let (log, world) = world();
    let config = vec![("cleanup.policy".to_string(), "compact".to_string())];
    log.create(&[NewTopic { name: world.topic.clone(), partitions: 1, config }]).await.unwrap();
    let keys = 1_000;
    for round in 0..40 {
        let rows: Vec<Row> = (0..keys).map(|key| row(key, round)).collect();
        world.fill_rows(0, &rows).await;
    }
    let held = log.topics.partition(&world.topic, 0).unwrap().state().entries.len();
    assert!(held < COMPACT_FROM, "{held}");
    let mut tape = world.changelog(0, 0);
    let seen = tape.read(held).await;
    assert!(seen.is_sorted_by(|a, b| a.offset < b.offset));
    let latest: HashMap<_, _> = seen.into_iter().map(|seen| (seen.key, seen.value)).collect();
    assert_eq!(latest.len(), keys as usize);
    assert!(latest.values().all(|value| value.as_deref() == Some(&39u32.to_be_bytes())));
    assert_eq!(log.bounds(&[world.at(0)]).await, Ok(vec![Bounds { start: 0, end: 40_000 }]));
}

#[tokio::test]
async fn old_records_expire_but_not_before_their_reader_has_had_them() {
    let (log, world) = world();
    let mut tape = world.source(0, 0);
    let rows: Vec<Row> = (0..RETAINED as u32 + 1_000).map(|i| row(i, i)).collect();
    world.fill_rows(0, &rows).await;
    assert_eq!(tape.read(rows.len()).await.len(), rows.len());
    world.fill_rows(0, &rows[..1]).await;
    let end = rows.len() as i64 + 1;
    assert_eq!(log.bounds(&[world.at(0)]).await, Ok(vec![Bounds { start: end - RETAINED as i64, end }]));
}

#[tokio::test]
async fn fates_decide_what_becomes_of_records() {
    let (log, world) = world();
    let send = |delivery: &Arc<Deliveries>| log.producer().send(world.outgoing(0, b"v"), delivery);
    let held = Arc::new(Deliveries::default());
    log.decide_fates(|_, _| Fate::Hold);
    send(&held).unwrap();
    assert_eq!(held.outstanding(), 1);
    log.decide_fates(|_, _| Fate::Fail("on purpose"));
    let failed = Arc::new(Deliveries::default());
    send(&failed).unwrap();
    assert_eq!(failed.settled().await, Err("on purpose".to_string()));
    log.decide_fates(|_, _| Fate::Full);
    let full = Arc::new(Deliveries::default());
    assert_eq!(send(&full), Err(ProduceError::Full));
    assert_eq!(log.producer().send_rows(&world.at(0), &[row(1, 1)], &full), Ok(0));
    assert_eq!(full.settled().await, Ok(None));
    log.decide_fates(|_, _| Fate::Deliver);
    log.report_held();
    assert_eq!(held.settled().await, Ok(Some(0)));
    assert_eq!(world.fill(0, 1).await, 1);
}

#[tokio::test]
async fn a_topic_that_is_deleted_tells_its_readers_and_comes_back_as_another_one() {
    let (log, world) = world();
    world.fill(0, 3).await;
    let names = [world.topic.clone()];
    let before = log.topics(&names).await.unwrap();
    let mut tape = world.source(0, 3);
    assert_eq!(tape.poll(), Ok(vec![]));
    log.delete_topic(&world.topic);
    assert_eq!(tape.error().await, LogError::UnknownTopic(world.topic.clone()));
    let after = log.topics(&names).await.unwrap();
    assert_ne!(before[&world.topic].id, after[&world.topic].id);
    assert_eq!(log.bounds(&[world.at(0)]).await, Ok(vec![Bounds { start: 0, end: 0 }]));
}

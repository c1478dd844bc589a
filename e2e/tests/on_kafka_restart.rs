//! A worker comes back: on its own folder it reads the tail of its changelog, on an empty or broken one all of it, and it sees when
//! the changelog is another one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use faust_e2e::offsets::record_counts;
use faust_e2e::oracle::{Counts, assert_same};
use faust_e2e::page_views::{CHANGELOG, VIEWS};
use faust_e2e::records::Producer;
use faust_e2e::{Oracle, PageViews, Views, records, wait};

const PARTITIONS: i32 = 12;
const VIEWED: i64 = 200_000;
const PER_SECOND: u32 = 20_000;
const FLUSH_RECORDS: u64 = 2_000;

#[test]
fn a_worker_that_comes_back_reads_of_its_changelog_what_it_lacks_on_kafka() {
    let stage = PageViews::on_kafka(env!("CARGO_BIN_EXE_e2e-page-views"), PARTITIONS)
        .flag("flush-records", &FLUSH_RECORDS.to_string())
        .flag("commit-interval", "100ms");
    let worker = stage.workers.start("anna");
    worker.until_ready();
    let flow = Views::of_pages(3_000).flow(&stage.kafka, VIEWS, PER_SECOND);
    wait::until("many views are there, and a changelog much longer than what is not flushed", || {
        let views: i64 = stage.offsets.ends().iter().sum();
        let changes: i64 = record_counts(&stage.kafka, CHANGELOG, PARTITIONS).iter().sum();
        let enough = views >= VIEWED && changes >= 3 * FLUSH_RECORDS as i64 * PARTITIONS as i64;
        if enough { Ok(()) } else { Err(format!("{views} views, {changes} changes")) }
    });
    flow.finish();
    stage.offsets.until_consumed();
    let views = Oracle::read(&stage.kafka, VIEWS);
    let changelog = record_counts(&stage.kafka, CHANGELOG, PARTITIONS);
    let whole = changelog.iter().sum::<i64>() as u64;

    // Killed: it reads what it had not flushed.
    worker.kill();
    let worker = stage.workers.start("anna");
    let state = worker.until_ready();
    for table in state.tasks.iter().map(|task| &task.tables[0]) {
        let dirty = keys_of(&views, table.partition) as u64;
        let limit = FLUSH_RECORDS + dirty;
        assert!(table.restored <= limit, "partition {}: {} records, more than {limit}", table.partition, table.restored);
    }
    assert!(state.restored() * 2 < whole, "{} of {whole} records were read again", state.restored());
    assert_eq!(state.wiped(), BTreeMap::new());
    views.assert_exact(&stage.table(&[&worker], &views.keys()));

    // Killed and robbed: it reads everything.
    worker.kill();
    stage.workers.delete_data_folder("anna");
    let worker = stage.workers.start("anna");
    assert_eq!(worker.until_ready().restored(), whole);
    views.assert_exact(&stage.table(&[&worker], &views.keys()));

    // Killed, and one store broken: that one is read anew.
    worker.kill();
    fs::write(stage.workers.data_folder("anna").join("v1/page_counts/3/CURRENT"), "broken\n").unwrap();
    let worker = stage.workers.start("anna");
    let state = worker.until_ready();
    assert_eq!(state.wiped(), BTreeMap::from([("corrupt".to_string(), 1)]));
    assert_eq!(state.task(3).unwrap().tables[0].restored, changelog[3] as u64);
    views.assert_exact(&stage.table(&[&worker], &views.keys()));

    // Stopped, and the changelog made anew, longer than it was: offsets alone would not tell.
    assert_eq!(worker.stop(), 0);
    let other = make_changelog_anew(&stage, &changelog);
    let worker = stage.workers.start("anna");
    assert_eq!(worker.until_ready().wiped(), BTreeMap::from([("other_changelog".to_string(), PARTITIONS as u64)]));
    assert_same("the new changelog and HTTP", &other, &stage.table(&[&worker], &views.keys()));
}

fn keys_of(views: &Oracle, partition: i32) -> usize {
    views.of_partition(partition).collect::<BTreeSet<_>>().len()
}

/// Deletes the changelog and writes another, of which every partition has more records than before and every count is by 1,000 higher;
/// the new counts.
fn make_changelog_anew(stage: &PageViews, lengths: &[i64]) -> Counts {
    let mut last: BTreeMap<i32, Counts> = BTreeMap::new();
    for record in records::read(&stage.kafka, CHANGELOG) {
        let key = String::from_utf8(record.key.unwrap()).unwrap();
        let count: u64 = serde_json::from_slice(&record.value.unwrap()).unwrap();
        last.entry(record.partition).or_default().insert(key, count + 1_000);
    }
    stage.kafka.delete_topic(CHANGELOG).unwrap();
    stage.kafka.create_topic(CHANGELOG, PARTITIONS as u32, &[("cleanup.policy", "compact")]).unwrap();
    let producer = Producer::to(&stage.kafka);
    for (partition, rows) in &last {
        let rounds = lengths[*partition as usize] as usize / rows.len() + 1;
        for (key, count) in std::iter::repeat_n(rows, rounds).flatten() {
            producer.send_to(CHANGELOG, *partition, Some(key.as_bytes()), Some(count.to_string().as_bytes()));
        }
    }
    producer.flush();
    let longer = record_counts(&stage.kafka, CHANGELOG, PARTITIONS);
    assert!(longer.iter().zip(lengths).all(|(new, old)| new > old));
    last.into_values().flatten().collect()
}

//! Restoring a table from its changelog: the worker, Kafka Streams, and the mere reading of the topic with rdkafka.

use faust_testbed::Kafka;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;

use crate::input::{self, Shape};
use crate::process::{Running, pinned};
use crate::report::{Report, median, ratio};
use crate::worker::{Worker, sum};
use crate::{Programs, Result};

/// One restore, without its first quarter.
#[derive(Clone, Copy)]
struct Pace {
    megabytes_per_second: f64,
    records_per_cpu_second: f64,
    peak_rss_mb: i64,
}

/// Restores `shape.records` with values of `size` bytes.
pub fn run(report: &mut Report, programs: &Programs, shape: Shape, size: usize, rounds: u64) -> Result<()> {
    let kafka = Kafka::start()?;
    let brokers = kafka.bootstrap();
    let app = "restore";
    let changelog = format!("{app}-counts-changelog");
    eprintln!("filling a changelog with {} records of {} bytes", shape.records, 8 + size);
    kafka.create_topic(crate::INPUT, shape.partitions, &[])?;
    input::changelog(&kafka, &changelog, shape, size)?;
    let record = (8 + size) as f64;

    let (mut ours, mut read, mut streams) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        read.push(said(programs.reader(&brokers, &changelog, shape.records), record)?);
        commit_start(&brokers, app, shape.partitions)?;
        ours.push(worker(programs, &brokers, app, shape, record)?);
        if let Some(classpath) = &programs.streams {
            // An application of the same name: it takes the changelog for its own.
            let mut command = pinned("java");
            command.args(["-Xmx2g", "-cp", classpath, "bench.Restore", &brokers, app, crate::INPUT, &shape.records.to_string()]);
            streams.push(said(command, record)?);
        }
        eprintln!("restore, round {}: {:.0} MB/s", round + 1, ours[ours.len() - 1].megabytes_per_second);
    }
    report.line("| program | MB/s | records per CPU-second | peak RSS |\n|---|---|---|---|");
    let rows = [("rdkafka, reading only", &read), ("faust worker", &ours), ("Kafka Streams", &streams)];
    for (program, paces) in rows.into_iter().filter(|(_, paces)| !paces.is_empty()) {
        report.line(format_args!(
            "| {program} | {:.0} | {:.0} k | {:.0} MB |",
            middle(paces, |pace| pace.megabytes_per_second).unwrap_or_default(),
            middle(paces, |pace| pace.records_per_cpu_second).unwrap_or_default() / 1e3,
            middle(paces, |pace| pace.peak_rss_mb as f64).unwrap_or_default(),
        ));
    }
    let speed = |paces: &[Pace]| middle(paces, |pace| pace.megabytes_per_second);
    let thrift = |paces: &[Pace]| middle(paces, |pace| pace.records_per_cpu_second);
    report.goals();
    report.at_least("MB/s, to reading only", ratio(speed(&ours), speed(&read)), 0.5);
    report.at_least("records per CPU-second, to Kafka Streams", ratio(thrift(&ours), thrift(&streams)), 3.0);
    Ok(())
}

fn middle(paces: &[Pace], of: fn(&Pace) -> f64) -> Option<f64> {
    (!paces.is_empty()).then(|| median(paces.iter().map(of).collect()))
}

/// The worker, from the first quarter on until the last table runs. What it puts off until then counts too, as CPU time.
fn worker(programs: &Programs, brokers: &str, app: &str, shape: Shape, record: f64) -> Result<Pace> {
    let mut worker = Worker::start(&programs.worker, brokers, app, 1_000, &[])?;
    let (warm, end) = worker.watch(shape.records, |state| {
        let done = sum(state, "tables", "restored");
        (done, done == shape.records && state["ready"] == true)
    })?;
    let cpu_seconds = worker.rest()?;
    let usage = worker.stop()?;
    let records = (end.done - warm.done) as f64;
    Ok(Pace {
        megabytes_per_second: records * record / 1e6 / (end.seconds - warm.seconds),
        records_per_cpu_second: records / (cpu_seconds - warm.cpu_seconds),
        peak_rss_mb: usage.peak_rss_mb,
    })
}

/// A program that says itself how it was from the first quarter on.
fn said(command: std::process::Command, record: f64) -> Result<Pace> {
    let (said, usage): (Value, _) = Running::start(command)?.report()?;
    let number = |field: &str| said[field].as_f64().ok_or_else(|| format!("no `{field}` in {said}"));
    let records = number("records_warm")?;
    Ok(Pace {
        megabytes_per_second: records * record / 1e6 / number("seconds_warm")?,
        records_per_cpu_second: records / number("cpu_seconds_warm")?,
        peak_rss_mb: usage.peak_rss_mb,
    })
}

/// A changelog with records and no committed offset would be refused: it would be counted twice.
fn commit_start(brokers: &str, app: &str, partitions: u32) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", app).create()?;
    let mut offsets = TopicPartitionList::new();
    for partition in 0..partitions {
        offsets.add_partition_offset(crate::INPUT, partition as i32, Offset::Offset(0))?;
    }
    Ok(consumer.commit(&offsets, CommitMode::Sync)?)
}

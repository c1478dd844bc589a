//! `make bench`: the worker beside what it is measured against, in one run on a broker of its own, each program pinned to one core and
//! each output compared with the oracle's.
//!
//! `faust-bench HAND_LOOP WORKER READER [STREAMS_CLASSPATH [FAUST_PYTHON]]`, from the repository's folder; an empty peer is left out.
//! What it does is in the environment: see [`Plan`].
#![allow(clippy::disallowed_methods, reason = "measures from outside; nothing here is simulated")]

use std::env;
use std::error::Error;
use std::process::Command;

use faust_testbed::Kafka;

mod count;
mod input;
mod oracle;
mod process;
mod report;
mod restore;
mod worker;

use count::{Figures, Job};
use input::Shape;
use process::pinned;
use report::{Report, Table, ratio};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The topic that all read.
pub const INPUT: &str = "bench-input";
/// That of faust-streaming, which takes a hundredth of it.
const SMALL_INPUT: &str = "bench-input-small";

const PARTITIONS: u32 = 8;
const KEYS: u64 = 100_000;
const COMMITS_MS: [u64; 2] = [1_000, 100];

const WORKER: &str = "faust worker";
const ROOMY: &str = "faust worker, 512 MiB";
/// A worker's name and options.
type Variant = (&'static str, &'static [&'static str]);
const AS_IT_COMES: Variant = (WORKER, &[]);
/// With as much memory as a hash map without a bound takes for itself.
const WITH_ROOM: Variant = (ROOMY, &["--cache-memory", "512MiB", "--store-memory", "512MiB"]);
const PLAIN: &str = "hand-loop plain";
const BEST: &str = "hand-loop best";
const STREAMS: &str = "Kafka Streams 4.3.1";
const FAUST: &str = "faust-streaming 0.15.3";

/// What is measured, and where it lies.
pub struct Programs {
    pub hand_loop: String,
    pub worker: String,
    reader: String,
    /// Kafka Streams' class path.
    pub streams: Option<String>,
    /// The Python that has faust-streaming.
    faust: Option<String>,
}

/// How much is measured.
struct Plan {
    /// `BENCH_RECORDS`, of the whole comparison. 8,000,000 for figures to be quoted: the JVM isn't warm before.
    records: u64,
    /// `BENCH_ROUNDS`: medians are of so many.
    rounds: u64,
    /// `BENCH_SMALL_RECORDS`, for faust-streaming.
    small_records: u64,
    /// `BENCH_RESTORE_RECORDS`, of a changelog.
    restore_records: u64,
    /// `BENCH_PARTS`: some of `count`, `partitions`, `keys`, `restore`.
    parts: String,
}

impl Programs {
    fn from_arguments() -> Result<Self> {
        let mut arguments = env::args().skip(1);
        let usage = "usage: faust-bench HAND_LOOP WORKER READER [STREAMS_CLASSPATH [FAUST_PYTHON]]";
        let mut required = || arguments.next().ok_or(usage);
        let (hand_loop, worker, reader) = (required()?, required()?, required()?);
        let mut peer = || arguments.next().filter(|path| !path.is_empty());
        Ok(Self { hand_loop, worker, reader, streams: peer(), faust: peer() })
    }

    /// Reads a topic and nothing else.
    pub fn reader(&self, brokers: &str, topic: &str, records: u64) -> Command {
        let mut command = pinned(&self.reader);
        command.args([brokers, topic, &records.to_string()]);
        command
    }
}

impl Plan {
    fn from_environment() -> Result<Self> {
        let number = |name: &str, default: u64| match env::var(name) {
            Ok(text) => text.parse().map_err(|_| format!("{name}={text} is no number")),
            Err(_) => Ok(default),
        };
        let records = number("BENCH_RECORDS", 2_000_000)?;
        Ok(Self {
            records,
            rounds: number("BENCH_ROUNDS", 1)?,
            small_records: number("BENCH_SMALL_RECORDS", 50_000)?,
            restore_records: number("BENCH_RESTORE_RECORDS", records * 5 / 2)?,
            parts: env::var("BENCH_PARTS").unwrap_or_else(|_| "count partitions keys restore".into()),
        })
    }

    fn has(&self, part: &str) -> bool {
        self.parts.split([' ', ',']).any(|own| own == part)
    }
}

fn main() -> Result<()> {
    let (programs, plan) = (Programs::from_arguments()?, Plan::from_environment()?);
    let file = env::var("BENCH_FILE").unwrap_or_else(|_| "bench.md".into());
    let mut report = Report::new(file.into());
    for (peer, there) in [(STREAMS, programs.streams.is_some()), (FAUST, programs.faust.is_some())] {
        if !there {
            report.line(format_args!("{peer} is left out of this run."));
        }
    }
    let base = Shape { records: plan.records, partitions: PARTITIONS, keys: KEYS };
    let mut count = None;
    if plan.has("count") {
        report.section("Count by key", sentence(base, plan.rounds));
        count = Some(count_by_key(&mut report, &programs, &plan, base)?);
    }
    if plan.has("partitions") {
        let shape = Shape { partitions: 10 * PARTITIONS, ..base };
        report.section("Ten times the partitions", sentence(shape, plan.rounds));
        let table = worker_and_loops(&mut report, &programs, shape, plan.rounds, &[AS_IT_COMES])?;
        report.goals();
        for commit_ms in COMMITS_MS {
            let before = count.as_ref().and_then(|count| count.warm(WORKER, commit_ms));
            let what = format!("{WORKER}, {commit_ms} ms, to itself with {PARTITIONS} partitions");
            report.at_most(&what, ratio(table.warm(WORKER, commit_ms), before), 1.3);
        }
    }
    if plan.has("keys") {
        let shape = Shape { keys: 10 * KEYS, ..base };
        report.section("Ten times the keys", sentence(shape, plan.rounds));
        let table = worker_and_loops(&mut report, &programs, shape, plan.rounds, &[AS_IT_COMES, WITH_ROOM])?;
        report.goals();
        for commit_ms in COMMITS_MS {
            // With the fewer keys both workers have room for all of them.
            let growth = |program, before| ratio(table.warm(program, commit_ms), count.as_ref()?.warm(before, commit_ms));
            for (worker, peer) in [(WORKER, PLAIN), (WORKER, BEST), (ROOMY, PLAIN), (ROOMY, BEST)] {
                let what = format!("growth of {worker}, {commit_ms} ms, to that of {peer}");
                report.at_most(&what, ratio(growth(worker, WORKER), growth(peer, peer)), 1.3);
            }
        }
    }
    if plan.has("restore") {
        for (records, size) in [(plan.restore_records, 8), (plan.restore_records / 20, 1_000)] {
            let shape = Shape { records, partitions: PARTITIONS, keys: (records / 10).max(1) };
            let sentence = format!("{records} records of 8 + {size} bytes, {} keys, {PARTITIONS} partitions.", shape.keys);
            report.section("Restore", sentence);
            restore::run(&mut report, &programs, shape, size, plan.rounds)?;
        }
    }
    report.close()
}

fn sentence(shape: Shape, rounds: u64) -> String {
    let Shape { records, partitions, keys } = shape;
    format!("{records} records, {partitions} partitions, {keys} keys; median of {rounds}. *Warm* is without the first quarter.")
}

/// Everybody on the same topic, and the goals.
fn count_by_key(report: &mut Report, programs: &Programs, plan: &Plan, shape: Shape) -> Result<Table> {
    let kafka = Kafka::start()?;
    let brokers = kafka.bootstrap();
    eprintln!("producing {} records to {} partitions", shape.records, shape.partitions);
    let expected = input::views(&kafka, INPUT, shape)?;
    let small = Shape { records: plan.small_records, ..shape };
    let small_expected = input::views(&kafka, SMALL_INPUT, small)?;
    let mut table = Table::default();
    for round in 0..plan.rounds {
        own_round(&mut table, &kafka, programs, shape, round, expected, &[AS_IT_COMES])?;
        if let Some(classpath) = &programs.streams {
            for commit_ms in [30_000, 1_000, 100] {
                let job = Job { programs, brokers: &brokers, input: INPUT, records: shape.records, commit_ms };
                table.add(STREAMS, commit_ms, job.streams(classpath)?, expected);
            }
        }
        if let Some(python) = &programs.faust {
            let job = Job { programs, brokers: &brokers, input: SMALL_INPUT, records: small.records, commit_ms: 1_000 };
            table.add(FAUST, 1_000, job.faust_streaming(python)?, small_expected);
        }
    }
    report.table(&table);
    report.goals();
    for commit_ms in COMMITS_MS {
        let own = |program| ratio(table.warm(WORKER, commit_ms), table.warm(program, commit_ms));
        report.at_most(&format!("CPU, {commit_ms} ms, to {PLAIN}"), own(PLAIN), 1.0);
        report.at_most(&format!("CPU, {commit_ms} ms, to {BEST}"), own(BEST), 1.4);
        report.at_most(&format!("CPU, {commit_ms} ms, to {STREAMS}"), own(STREAMS), 0.1);
    }
    let own = table.warm(WORKER, 1_000);
    report.at_most(&format!("CPU, 1000 ms, to {STREAMS} with 30000 ms"), ratio(own, table.warm(STREAMS, 30_000)), 0.2);
    report.at_most(&format!("CPU, 1000 ms, to {FAUST}"), ratio(own, table.warm(FAUST, 1_000)), 0.003);
    let memory = ratio(table.rss(WORKER, 1_000), table.rss(STREAMS, 1_000));
    report.at_most(&format!("peak RSS, 1000 ms, to {STREAMS}"), memory, 0.15);
    Ok(table)
}

fn worker_and_loops(report: &mut Report, programs: &Programs, shape: Shape, rounds: u64, workers: &[Variant]) -> Result<Table> {
    let kafka = Kafka::start()?;
    eprintln!("producing {} records to {} partitions", shape.records, shape.partitions);
    let expected = input::views(&kafka, INPUT, shape)?;
    let mut table = Table::default();
    for round in 0..rounds {
        own_round(&mut table, &kafka, programs, shape, round, expected, workers)?;
    }
    report.table(&table);
    Ok(table)
}

/// Loops and workers in turn, each with a fresh changelog.
fn own_round(
    table: &mut Table,
    kafka: &Kafka,
    programs: &Programs,
    shape: Shape,
    round: u64,
    expected: u64,
    workers: &[Variant],
) -> Result<()> {
    let brokers = kafka.bootstrap();
    for commit_ms in COMMITS_MS {
        let job = Job { programs, brokers: &brokers, input: INPUT, records: shape.records, commit_ms };
        let mut add = |program: &str, figures: Figures| table.add(program, commit_ms, figures, expected);
        for (mode, program) in [("plain", PLAIN), ("best", BEST)] {
            let changelog = format!("loop-{mode}-{commit_ms}-{round}");
            kafka.create_topic(&changelog, shape.partitions, &[("cleanup.policy", "compact")])?;
            add(program, job.hand_loop(mode, &changelog)?);
        }
        for (n, (program, options)) in workers.iter().enumerate() {
            add(program, job.worker(&format!("bench-{n}-{commit_ms}-{round}"), options)?);
        }
    }
    Ok(())
}

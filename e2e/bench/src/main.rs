//! `make bench`: count by key on a real broker, ours and the hand-written loop in turn, pinned to one core, with the oracle's verdict.
//!
//! `bench HAND_LOOP WORKER`: the two programs to measure. `BENCH_RECORDS` and `BENCH_ROUNDS` change the defaults.
#![allow(clippy::disallowed_methods, reason = "measures from outside; nothing here is simulated")]

use std::error::Error;

use faust_testbed::Kafka;

mod input;
mod oracle;
mod run;

use run::{Figures, hand_loop, worker};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The topic that both read.
pub const INPUT: &str = "bench-input";
pub const PARTITIONS: u32 = 8;
pub const KEYS: u64 = 100_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [loop_program, worker_program] = arguments.as_slice() else { return Err("usage: bench HAND_LOOP WORKER".into()) };
    let records = number("BENCH_RECORDS", 2_000_000);
    let rounds = number("BENCH_ROUNDS", 1);
    let kafka = Kafka::start()?;
    let brokers = kafka.bootstrap();
    eprintln!("producing {records} records to {PARTITIONS} partitions");
    kafka.create_topic(INPUT, PARTITIONS, &[])?;
    let expected = input::produce(&brokers, records)?;

    println!("{}", Figures::HEADER);
    let mut wrong = false;
    for round in 0..rounds {
        for commit_ms in [1_000, 100] {
            for mode in ["plain", "best"] {
                let changelog = format!("loop-{mode}-{commit_ms}-{round}");
                kafka.create_topic(&changelog, PARTITIONS, &[("cleanup.policy", "compact")])?;
                let figures = hand_loop(loop_program, mode, &brokers, &changelog, records, commit_ms)?;
                wrong |= !figures.print(&format!("hand-loop {mode}"), commit_ms, records, expected);
            }
            let figures = worker(worker_program, &brokers, &format!("bench-{commit_ms}-{round}"), records, commit_ms)?;
            wrong |= !figures.print("faust worker", commit_ms, records, expected);
        }
    }
    if wrong { Err("a program counted wrong".into()) } else { Ok(()) }
}

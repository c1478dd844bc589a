//! Many seeds, on several threads, and what came of them all.
#![allow(clippy::disallowed_methods, reason = "it measures how long simulations take, which are on threads of their own")]

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::plan::{self, Config};
use super::world::{self, Report};
use crate::mutants;

#[derive(Default)]
pub(super) struct Summary {
    pub seeds: u64,
    pub failed: Vec<u64>,
    steps: u64,
    inputs: u64,
    twice: u64,
    simulated: Duration,
    took: Duration,
    faults: BTreeMap<&'static str, u64>,
}

pub(super) fn simulate(seeds: Range<u64>, threads: usize, mistake: Option<&'static str>) -> Summary {
    let (begun, next) = (Instant::now(), AtomicU64::new(seeds.start));
    let work = || {
        mutants::make(mistake);
        let mut summary = Summary::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return summary;
            }
            summary.add(seed, world::run(seed, &plan::plan(seed, &Config::of(seed)), false));
        }
    };
    let mut all = Summary::default();
    std::thread::scope(|scope| {
        for thread in (0..threads).map(|_| scope.spawn(work)).collect::<Vec<_>>() {
            all.merge(thread.join().expect("a simulation panicked"));
        }
    });
    all.failed.sort_unstable();
    all.took = begun.elapsed();
    all
}

impl Summary {
    fn add(&mut self, seed: u64, report: Report) {
        self.seeds += 1;
        self.steps += report.steps;
        self.inputs += report.inputs;
        self.twice += report.twice;
        self.simulated += Duration::from_millis(report.simulated);
        report.faults.into_iter().for_each(|(kind, count)| *self.faults.entry(kind).or_default() += count);
        if !report.violations.is_empty() {
            println!("seed {seed}: {}", report.violations[0]);
            self.failed.push(seed);
        }
    }

    fn merge(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.inputs += other.inputs;
        self.twice += other.twice;
        self.simulated += other.simulated;
        other.faults.into_iter().for_each(|(kind, count)| *self.faults.entry(kind).or_default() += count);
        self.failed.extend(other.failed);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} seeds in {:.1?}, {} failed", self.seeds, self.took, self.failed.len())?;
        writeln!(f, "{} steps, {:.1} h simulated", self.steps, self.simulated.as_secs_f64() / 3_600.0)?;
        writeln!(f, "{} inputs, {} of them folded once more", self.inputs, self.twice)?;
        for (kind, count) in &self.faults {
            writeln!(f, "{count:>9} {kind}")?;
        }
        Ok(())
    }
}

//! The engine with one mistake at a time: each has to be found, or the simulation doesn't look where it should.

use super::plan::{self, Config};
use super::world;
use crate::mutants;

/// Seeds that a mistake has until it must have been found.
const SEEDS: u64 = 400;

const MISTAKES: &[&str] = &[
    // Who may write.
    "no lease check",
    "lease from the answer",
    "epoch not checked",
    "rows on their way not awaited",
    // Commit.
    "commit before flush",
    "failed flush commits",
    "outputs not awaited",
    "commit past what is in flight",
    "commit in the generation of now",
    "refused commit counts as done",
    "failed apply counts as done",
    "start over where it was",
    "start is not committed",
    // Tables.
    "restore ends before the end",
    "copy with a lag taken as it is",
    "position beside the batch",
    "eviction before apply",
    // The group.
    "released while it drains",
    "not in hand while it drains",
    "given before it is let go of",
    "drain commits nothing",
    "nonce stays",
];

/// The first seed that finds the mistake, and how.
fn found(mistake: &'static str) -> Option<(u64, String)> {
    mutants::make(Some(mistake));
    let found = (0..SEEDS).find_map(|seed| {
        let report = world::run(seed, &plan::plan(seed, &Config::of(seed)), false);
        Some((seed, report.violations.into_iter().next()?))
    });
    mutants::make(None);
    found
}

#[test]
#[ignore = "takes minutes"]
fn every_mistake_is_found() {
    let mut missed = Vec::new();
    for mistake in MISTAKES {
        match found(mistake) {
            Some((seed, how)) => println!("{mistake:<40} seed {seed:>3}  {how}"),
            None => missed.push(mistake),
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS} seeds: {missed:?}");
}

//! The engine with one mistake at a time: each has to be found, or the simulation doesn't look where it should.

use super::plan::{self, Config};
use super::world;
use crate::mutants;

/// Seeds that a mistake has until it must have been found.
const SEEDS: u64 = 1_000;

/// Each with a seed that is known to find it, which is tried first.
const MISTAKES: &[(&str, u64)] = &[
    // Who may write.
    ("no lease check", 65),
    ("lease from the answer", 292),
    ("epoch not checked", 165),
    // Commit.
    ("commit before flush", 0),
    ("failed flush commits", 8),
    ("outputs not awaited", 2),
    ("commit past what is in flight", 0),
    ("refused commit counts as done", 45),
    ("failed apply counts as done", 6),
    ("start over where it was", 8),
    ("start is not committed", 17),
    // Tables.
    ("restore ends before the end", 0),
    ("copy with a lag taken as it is", 2),
    ("position beside the batch", 17),
    ("eviction before apply", 10),
    // The group.
    ("released while it drains", 7),
    ("not in hand while it drains", 7),
    ("given before it is let go of", 5),
    ("drain commits nothing", 1),
    ("cold is not told", 3),
];

/// The first seed that finds the mistake, and how.
fn found(mistake: &'static str, first: u64) -> Option<(u64, String)> {
    mutants::make(Some(mistake));
    let found = std::iter::once(first).chain(0..SEEDS).find_map(|seed| {
        let report = world::run(seed, &plan::plan(seed, &Config::of(seed)), false);
        Some((seed, report.violations.into_iter().next()?))
    });
    mutants::make(None);
    found
}

#[test]
fn every_mistake_is_found() {
    let mut missed = Vec::new();
    for (mistake, seed) in MISTAKES {
        match found(mistake, *seed) {
            Some((seed, how)) => println!("{mistake:<36} seed {seed:>3}  {how}"),
            None => missed.push(mistake),
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS} seeds: {missed:?}");
}

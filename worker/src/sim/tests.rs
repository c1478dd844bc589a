use super::plan::{self, Config};
use super::world::{self, Report};

/// Seeds that `cargo test` runs.
const SEEDS: u64 = 300;

fn run(seed: u64, keep: bool) -> Report {
    world::run(seed, &plan::plan(seed, &Config::of(seed)), keep)
}

/// The shortest plan of a seed that fails, and what happened under it.
fn explain(seed: u64) -> String {
    let faults = plan::shrink(plan::plan(seed, &Config::of(seed)), |faults| !world::run(seed, faults, false).violations.is_empty());
    let report = world::run(seed, &faults, true);
    let list = |lines: Vec<String>| lines.into_iter().map(|line| format!("  {line}\n")).collect::<String>();
    let last = report.lines.len().saturating_sub(150);
    format!(
        "seed {seed} fails:\n{}with {:?}\nfaults:\n{}the last of what happened:\n{}",
        list(report.violations.clone()),
        Config::of(seed),
        list(faults.iter().map(ToString::to_string).collect()),
        list(report.lines[last..].to_vec()),
    )
}

#[test]
fn no_seed_loses_anything() {
    for seed in 0..SEEDS {
        if !run(seed, false).violations.is_empty() {
            panic!("{}", explain(seed));
        }
    }
}

#[test]
fn a_seed_is_the_same_every_time() {
    for seed in 0..5 {
        let (once, again) = (run(seed, true), run(seed, true));
        let differs = once.lines.iter().zip(&again.lines).position(|(once, again)| once != again);
        if let Some(at) = differs {
            panic!("seed {seed} differs:\n{}\n{}", once.lines[at], again.lines[at]);
        }
        assert_eq!((once.lines.len(), once.hash), (again.lines.len(), again.hash));
    }
}

/// `SEEDS=10000` seeds `FROM` one on, under a `MISTAKE` of `mutants` if one is named; or `SEED=17` alone, told step by step. See
/// `make sim`.
#[test]
#[ignore = "as long as it is told to"]
fn simulate() {
    let mistake = std::env::var("MISTAKE").ok().map(|name| &*name.leak());
    crate::mutants::make(mistake);
    if let Some(seed) = number("SEED") {
        let report = run(seed, true);
        report.lines.iter().for_each(|line| println!("{line}"));
        println!("{:#?}", report.violations);
        if !report.violations.is_empty() {
            panic!("{}", explain(seed));
        }
        return;
    }
    let (from, seeds) = (number("FROM").unwrap_or(0), number("SEEDS").unwrap_or(1_000));
    let summary = super::many::simulate(from..from + seeds, number("THREADS").unwrap_or(2) as usize, mistake);
    println!("{summary}");
    if let Some(seed) = summary.failed.first() {
        panic!("{}", explain(*seed));
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

//! Chaos for some minutes: rounds over all settings, each fault once in each. Told at its end, and written to a file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use faust_e2e::chaos::{Report, Round, Site, play};

const USAGE: &str = "Usage: e2e-chaos MINUTES SEED REPORT";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("e2e-chaos: {problem}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it goes on for so long in real time")]
fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let [minutes, seed, report] = arguments else { return Err(USAGE.into()) };
    let minutes: u64 = minutes.parse().map_err(|_| format!("MINUTES is a number, not `{minutes}`"))?;
    let seed: u64 = seed.parse().map_err(|_| format!("SEED is a number, not `{seed}`"))?;
    let file = PathBuf::from(report);
    let program = std::env::current_exe().map_err(|error| error.to_string())?.with_file_name("e2e-chaos-worker");

    let begun = Instant::now();
    eprintln!("seed {seed}");
    let site = Site::set().map_err(|error| error.to_string())?;
    let mut report = Report::default();
    for round in Round::all(seed) {
        report.add(play(&site, &program, &round));
        // As it is so far, for who stops the run.
        std::fs::write(&file, format!("Seed {seed}.\n\n{report}")).map_err(|error| format!("{}: {error}", file.display()))?;
        if begun.elapsed() >= Duration::from_secs(60 * minutes) {
            break;
        }
    }
    println!("Seed {seed}.\n\n{report}");
    println!("(also in {})", file.display());
    Ok(if report.violations().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

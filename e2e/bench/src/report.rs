//! The tables of a run in Markdown: medians over its rounds, and how they stand to the goals.

use std::collections::HashMap;
use std::fmt::{Display, Write};
use std::fs;
use std::path::PathBuf;

use crate::Result;
use crate::count::Figures;
use crate::oracle::Digest;

/// Collects what is printed, for the file.
pub struct Report {
    text: String,
    file: PathBuf,
    /// A program counted wrong.
    wrong: bool,
}

/// Runs of several programs on one input, in the order of their first run.
#[derive(Default)]
pub struct Table {
    order: Vec<(String, u64)>,
    runs: HashMap<(String, u64), Vec<(Figures, Digest)>>,
}

impl Report {
    pub fn new(file: PathBuf) -> Self {
        Self { text: String::new(), file, wrong: false }
    }

    pub fn line(&mut self, line: impl Display) {
        println!("{line}");
        writeln!(self.text, "{line}").expect("a string takes everything");
    }

    /// A heading, with a sentence below it.
    pub fn section(&mut self, title: &str, sentence: impl Display) {
        self.line(format_args!("\n## {title}\n\n{sentence}\n"));
    }

    pub fn table(&mut self, table: &Table) {
        self.line("| program | commit | CPU-s per M, warm | whole | records/s | to the changelog | peak RSS | oracle |");
        self.line("|---|---|---|---|---|---|---|---|");
        for run in &table.order {
            let ((program, commit_ms), figures) = (run, table.median(&run.0, run.1).expect("it ran"));
            let right = table.runs[run].iter().all(|(figures, expected)| figures.digest == *expected);
            self.wrong |= !right;
            self.line(format_args!(
                "| {program} | {commit_ms} ms | {:.2} | {:.2} | {:.0} k | {} | {} MB | {} |",
                figures.warm,
                figures.whole,
                figures.records_per_second / 1e3,
                figures.to_changelog.map_or("–".into(), |share| format!("{:.0} %", share * 100.0)),
                figures.peak_rss_mb,
                if right { "equal" } else { "DIFFERS" },
            ));
        }
    }

    /// A measured ratio beside the one that it should not be above.
    pub fn at_most(&mut self, what: &str, measured: Option<f64>, goal: f64) {
        let Some(measured) = measured else { return self.line(format_args!("| {what} | not measured | ≤ {goal} | – |")) };
        self.line(format_args!("| {what} | {measured:.4} | ≤ {goal} | {} |", if measured <= goal { "met" } else { "MISSED" }));
    }

    pub fn at_least(&mut self, what: &str, measured: Option<f64>, goal: f64) {
        let Some(measured) = measured else { return self.line(format_args!("| {what} | not measured | ≥ {goal} | – |")) };
        self.line(format_args!("| {what} | {measured:.2} | ≥ {goal} | {} |", if measured >= goal { "met" } else { "MISSED" }));
    }

    pub fn goals(&mut self) {
        self.line("\n| ratio | measured | goal | |\n|---|---|---|---|");
    }

    /// Writes the file. An error if a program counted wrong.
    pub fn close(self) -> Result<()> {
        fs::write(&self.file, &self.text)?;
        eprintln!("the tables are in {}", self.file.display());
        if self.wrong { Err("a program counted wrong".into()) } else { Ok(()) }
    }
}

impl Table {
    pub fn add(&mut self, program: &str, commit_ms: u64, figures: Figures, expected: Digest) {
        eprintln!(
            "{program}, {commit_ms} ms: {:.2} CPU-s per M warm, {:.2} whole, {:.0} k records/s, {} MB",
            figures.warm,
            figures.whole,
            figures.records_per_second / 1e3,
            figures.peak_rss_mb
        );
        let run = (program.to_string(), commit_ms);
        if !self.runs.contains_key(&run) {
            self.order.push(run.clone());
        }
        self.runs.entry(run).or_default().push((figures, expected));
    }

    /// Each figure's own median.
    pub fn median(&self, program: &str, commit_ms: u64) -> Option<Figures> {
        let runs = self.runs.get(&(program.to_string(), commit_ms))?;
        let of = |figure: fn(&Figures) -> f64| median(runs.iter().map(|(figures, _)| figure(figures)).collect());
        Some(Figures {
            whole: of(|figures| figures.whole),
            warm: of(|figures| figures.warm),
            records_per_second: of(|figures| figures.records_per_second),
            peak_rss_mb: of(|figures| figures.peak_rss_mb as f64) as i64,
            to_changelog: runs[0].0.to_changelog.map(|_| of(|figures| figures.to_changelog.unwrap_or_default())),
            digest: runs[0].0.digest,
        })
    }

    pub fn warm(&self, program: &str, commit_ms: u64) -> Option<f64> {
        self.median(program, commit_ms).map(|figures| figures.warm)
    }

    pub fn rss(&self, program: &str, commit_ms: u64) -> Option<f64> {
        self.median(program, commit_ms).map(|figures| figures.peak_rss_mb as f64)
    }
}

/// The middle one, of an even number the lower of the two.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[(figures.len() - 1) / 2]
}

/// `a / b`, where both are known.
pub fn ratio(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a? / b?)
}

//! Count by key: the worker, the hand-written loop, Kafka Streams and faust-streaming, each on the same topic.

use serde_json::Value;

use crate::oracle::{self, Digest};
use crate::process::{Running, Usage, pinned};
use crate::worker::{Worker, sum};
use crate::{Programs, Result};

/// What one run came to.
#[derive(Clone, Copy)]
pub struct Figures {
    /// CPU-seconds per million records, from the program's start to its end.
    pub whole: f64,
    /// The same without the first quarter of the records.
    pub warm: f64,
    pub records_per_second: f64,
    pub peak_rss_mb: i64,
    /// Records in the changelog, as a share of the input; where it is known.
    pub to_changelog: Option<f64>,
    pub digest: Digest,
}

/// The topic to count, and who counts it.
pub struct Job<'a> {
    pub programs: &'a Programs,
    pub brokers: &'a str,
    pub input: &'a str,
    pub records: u64,
    pub commit_ms: u64,
}

impl Job<'_> {
    /// The frozen loop. It says itself how fast it was and what it counted. It can't bear a commit before its first record, which comes
    /// on a machine that is busy with other things: then it is run once more.
    pub fn hand_loop(&self, mode: &str, changelog: &str) -> Result<Figures> {
        let run = || {
            let mut command = pinned(&self.programs.hand_loop);
            command.args([mode, self.brokers, self.input, changelog, &self.records.to_string(), &self.commit_ms.to_string()]);
            Running::start(command)?.report()
        };
        self.figures(run().or_else(|error| {
            eprintln!("the frozen loop failed and is run once more: {error}");
            run()
        })?)
    }

    /// Kafka Streams with one thread, for it has one core.
    pub fn streams(&self, classpath: &str) -> Result<Figures> {
        let mut command = pinned("java");
        command.args(["-Xmx2g", "-cp", classpath, "bench.Count", self.brokers, self.input]);
        command.args([&self.records.to_string(), &self.commit_ms.to_string(), "at_least_once", "1"]);
        self.figures(Running::start(command)?.report()?)
    }

    pub fn faust_streaming(&self, python: &str) -> Result<Figures> {
        let mut command = pinned(python);
        command.args(["e2e/bench/faust-streaming/count.py", self.brokers, self.input, &self.records.to_string()]);
        command.arg((self.commit_ms as f64 / 1e3).to_string());
        self.figures(Running::start(command)?.report()?)
    }

    /// Our worker, from its start until every record is committed; then it is told to stop. Everything that it does is in its figures.
    pub fn worker(&self, app: &str, options: &[&str]) -> Result<Figures> {
        let mut worker = Worker::start(&self.programs.worker, self.brokers, app, self.commit_ms, options)?;
        let progress = |state: &Value| (sum(state, "inputs", "records"), sum(state, "inputs", "committed") == self.records);
        let (warm, end) = worker.watch(self.records, progress)?;
        let usage = worker.stop()?;
        let (digest, changelog_records) = oracle::changelog(self.brokers, &format!("{app}-counts-changelog"))?;
        Ok(Figures {
            whole: usage.cpu_seconds / self.records as f64 * 1e6,
            warm: (end.cpu_seconds - warm.cpu_seconds) / (end.done - warm.done) as f64 * 1e6,
            records_per_second: self.records as f64 / end.seconds,
            peak_rss_mb: usage.peak_rss_mb,
            to_changelog: Some(changelog_records as f64 / self.records as f64),
            digest,
        })
    }

    fn figures(&self, (said, usage): (Value, Usage)) -> Result<Figures> {
        let number = |field: &str| said[field].as_f64().ok_or_else(|| format!("no `{field}` in {said}"));
        Ok(Figures {
            whole: usage.cpu_seconds / self.records as f64 * 1e6,
            warm: number("cpu_s_per_million_warm")?,
            records_per_second: number("records_per_s")?,
            peak_rss_mb: usage.peak_rss_mb,
            to_changelog: said["changelog_records"].as_f64().map(|records| records / self.records as f64),
            digest: u64::from_str_radix(said["digest"].as_str().unwrap_or_default(), 16)?,
        })
    }
}

//! Our worker as a measured program: watched through `/state`, as an operator would.

use std::net::TcpListener;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::Result;
use crate::process::{Running, Usage, pinned};

const LOOK: Duration = Duration::from_millis(50);

/// How often it is asked whether it has come to rest, and the share of a core below which it has.
const REST: Duration = Duration::from_millis(500);
const RESTING: f64 = 0.1;

/// How long a worker may take for what it is to do.
const HANGS: Duration = Duration::from_secs(1_800);

pub struct Worker {
    running: Running,
    port: u16,
    _datadir: TempDir,
}

/// How far a worker was at one moment, and what that had cost.
#[derive(Clone, Copy, Default)]
pub struct Mark {
    pub done: u64,
    pub cpu_seconds: f64,
    pub seconds: f64,
}

impl Worker {
    pub fn start(program: &str, brokers: &str, app: &str, commit_ms: u64, options: &[&str]) -> Result<Self> {
        let datadir = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command: Command = pinned(program);
        command
            .args(["worker", "--broker", brokers, "--commit-interval", &format!("{commit_ms}ms"), "--log-level", "warn"])
            .args(["--web-port", &port.to_string(), "--datadir"])
            .arg(datadir.path())
            .args(options)
            .env("BENCH_APP", app);
        Ok(Self { running: Running::start(command)?, port, _datadir: datadir })
    }

    /// Watches until `progress` says that it is at `end`; how it was when the first quarter was done, and at the end.
    pub fn watch(&mut self, end: u64, progress: impl Fn(&Value) -> (u64, bool)) -> Result<(Mark, Mark)> {
        let deadline = Instant::now() + HANGS;
        let (mut warm, mut last) = (None, Mark::default());
        while Instant::now() < deadline {
            sleep(LOOK);
            if self.running.has_ended()? {
                return Err(format!("the worker ended after {} of {end}", last.done).into());
            }
            let Some(state) = self.state() else { continue };
            let (done, finished) = progress(&state);
            last = Mark { done, cpu_seconds: self.running.cpu_seconds()?, seconds: self.running.seconds() };
            if done >= end / 4 {
                warm.get_or_insert(last);
            }
            if finished {
                return Ok((warm.unwrap_or_default(), last));
            }
        }
        Err(format!("the worker came to {} of {end} within {HANGS:?}", last.done).into())
    }

    /// Waits until it has finished what it does beside its work, as RocksDB's compactions; the CPU time by then.
    pub fn rest(&self) -> Result<f64> {
        let mut before = self.running.cpu_seconds()?;
        let deadline = Instant::now() + HANGS;
        while Instant::now() < deadline {
            sleep(REST);
            let now = self.running.cpu_seconds()?;
            if now - before < REST.as_secs_f64() * RESTING {
                return Ok(now);
            }
            before = now;
        }
        Err(format!("the worker did not come to rest within {HANGS:?}").into())
    }

    pub fn stop(self) -> Result<Usage> {
        self.running.terminate();
        Ok(self.running.finish()?.1)
    }

    fn state(&self) -> Option<Value> {
        let mut answer = ureq::get(format!("http://127.0.0.1:{}/state", self.port)).call().ok()?;
        serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()
    }
}

/// The sum of a number over all tasks' inputs or tables.
pub fn sum(state: &Value, of: &str, field: &str) -> u64 {
    let tasks = state["tasks"].as_array().into_iter().flatten();
    tasks.flat_map(|task| task[of].as_array().into_iter().flatten()).filter_map(|one| one[field].as_u64()).sum()
}

//! Runs one program on one core and takes its figures from the operating system.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::oracle::{self, Digest};
use crate::{PARTITIONS, Result};

/// The core that the measured program gets; the broker takes the others as the system likes.
const CORE: usize = 0;

/// What one run came to.
pub struct Figures {
    cpu_seconds: f64,
    records_per_second: f64,
    peak_rss_mb: i64,
    changelog_records: u64,
    digest: Digest,
}

impl Figures {
    pub const HEADER: &str =
        "| program | commit | CPU-s per M | records/s | to the changelog | peak RSS | oracle |\n|---|---|---|---|---|---|---|";

    /// Prints a row of the table; whether the count is right.
    pub fn print(&self, program: &str, commit_ms: u64, records: u64, expected: Digest) -> bool {
        let right = self.digest == expected;
        println!(
            "| {program} | {commit_ms} ms | {:.2} | {:.0} k | {:.0} % | {} MB | {} |",
            self.cpu_seconds / records as f64 * 1e6,
            self.records_per_second / 1e3,
            self.changelog_records as f64 / records as f64 * 100.0,
            self.peak_rss_mb,
            if right { "equal" } else { "DIFFERS" },
        );
        right
    }
}

/// The frozen loop. It says itself how fast it was and what it counted.
pub fn hand_loop(program: &str, mode: &str, brokers: &str, changelog: &str, records: u64, commit_ms: u64) -> Result<Figures> {
    let arguments = [mode, brokers, crate::INPUT, changelog, &records.to_string(), &commit_ms.to_string()];
    let child = pinned(program).args(arguments).stdout(Stdio::piped()).spawn()?;
    let (output, usage) = finish(child)?;
    let said: Value = serde_json::from_str(&output)?;
    let digest = u64::from_str_radix(said["digest"].as_str().unwrap_or_default(), 16)?;
    Ok(Figures {
        cpu_seconds: usage.cpu_seconds,
        records_per_second: said["records_per_s"].as_f64().unwrap_or_default(),
        peak_rss_mb: usage.peak_rss_mb,
        changelog_records: said["changelog_records"].as_u64().unwrap_or_default(),
        digest,
    })
}

/// Our worker, from its start until every record is committed; then it is told to stop. Everything that it does is in its figures.
pub fn worker(program: &str, brokers: &str, app: &str, records: u64, commit_ms: u64) -> Result<Figures> {
    let datadir = tempfile::tempdir()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let child = pinned(program)
        .args(["worker", "--broker", brokers, "--commit-interval", &format!("{commit_ms}ms"), "--web-port", &port.to_string()])
        .arg("--datadir")
        .arg(datadir.path())
        .args(["--log-level", "warn"])
        .env("BENCH_APP", app)
        .stdout(Stdio::piped())
        .spawn()?;
    let begun = Instant::now();
    let committed = wait_until_committed(port, records);
    let seconds = begun.elapsed().as_secs_f64();
    // SAFETY: the child has not been waited for, so its pid is its own.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    let (_, usage) = finish(child)?;
    committed?;
    let (digest, changelog_records) = oracle::changelog(brokers, &format!("{app}-counts-changelog"))?;
    Ok(Figures {
        cpu_seconds: usage.cpu_seconds,
        records_per_second: records as f64 / seconds,
        peak_rss_mb: usage.peak_rss_mb,
        changelog_records,
        digest,
    })
}

/// Asks `/state` until the committed offsets add up to all records.
fn wait_until_committed(port: u16, records: u64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(300);
    let mut seen = 0;
    while Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
        let Ok(mut answer) = ureq::get(format!("http://127.0.0.1:{port}/state")).call() else { continue };
        let state: Value = serde_json::from_str(&answer.body_mut().read_to_string()?)?;
        let inputs =
            state["tasks"].as_array().into_iter().flatten().flat_map(|task| task["inputs"].as_array().into_iter().flatten());
        let committed: Vec<u64> = inputs.filter_map(|input| input["committed"].as_u64()).collect();
        seen = committed.iter().sum();
        if committed.len() == PARTITIONS as usize && seen == records {
            return Ok(());
        }
    }
    Err(format!("the worker committed {seen} of {records} records within its time").into())
}

fn pinned(program: &str) -> Command {
    let mut command = Command::new(program);
    let pin = || {
        // SAFETY: an all-zero cpu_set_t is an empty set.
        let mut cores: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is valid and large enough for this core.
        unsafe { libc::CPU_SET(CORE, &mut cores) };
        // SAFETY: the set is valid for the size given.
        match unsafe { libc::sched_setaffinity(0, size_of_val(&cores), &cores) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: what runs between fork and exec only makes a system call.
    unsafe { command.pre_exec(pin) };
    command
}

struct Usage {
    cpu_seconds: f64,
    peak_rss_mb: i64,
}

/// Waits for the end; what it printed, and what the system says that it used.
fn finish(mut child: Child) -> Result<(String, Usage)> {
    let mut output = String::new();
    if let Some(stdout) = child.stdout.as_mut() {
        std::io::Read::read_to_string(stdout, &mut output)?;
    }
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both are valid and writable, and the child has not been waited for.
    let waited = unsafe { libc::wait4(child.id() as i32, &mut status, 0, usage.as_mut_ptr()) };
    if waited < 0 || status != 0 {
        return Err(format!("a measured program ended with status {status}").into());
    }
    // SAFETY: zeroed is a valid rusage, and wait4 has filled it.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok((output, Usage { cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime), peak_rss_mb: usage.ru_maxrss / 1024 }))
}

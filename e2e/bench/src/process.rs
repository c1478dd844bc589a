//! A measured process: pinned to one core, its CPU time and memory taken from the operating system.

use std::fs;
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Result;

/// The core that the measured program gets; the broker takes the others as the system likes.
const CORE: usize = 0;

/// How long one run may take before it is given up.
const HANGS: Duration = Duration::from_secs(3_600);

/// A program that will be pinned to one core.
pub fn pinned(program: &str) -> Command {
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

/// A running program, killed if it is dropped before its end.
pub struct Running {
    child: Child,
    begun: Instant,
    ended: bool,
}

/// What a program used from its start to its end.
pub struct Usage {
    pub cpu_seconds: f64,
    pub peak_rss_mb: i64,
}

impl Running {
    pub fn start(mut command: Command) -> Result<Self> {
        let child = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
        Ok(Self { child, begun: Instant::now(), ended: false })
    }

    /// Whether it has ended, by itself or by a signal; what it said about that is on the screen.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// CPU time until now, of all threads.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in brackets, may hold anything.
        let (_, fields) = stat.rsplit_once(')').ok_or("no process name in /proc/…/stat")?;
        let ticks: Vec<u64> = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        // SAFETY: a question to the system without arguments that could be wrong.
        let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        Ok(ticks.iter().sum::<u64>() as f64 / per_second as f64)
    }

    /// The most memory that it has had, while it runs. What `wait4` says is no less than what this process had when it forked.
    fn peak_rss_kb(&self) -> Option<i64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }

    /// Asks it to stop, as an orchestrator would.
    pub fn terminate(&self) {
        // SAFETY: the child has not been waited for, so its pid is its own.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
    }

    /// Waits for the end; what it printed, and what the system says that it used.
    pub fn finish(mut self) -> Result<(String, Usage)> {
        let (mut status, mut usage, mut peak_rss_kb) = (0, MaybeUninit::<libc::rusage>::zeroed(), 0);
        loop {
            peak_rss_kb = self.peak_rss_kb().unwrap_or(peak_rss_kb);
            // SAFETY: both are valid and writable, and the child has not been waited for.
            let waited = unsafe { libc::wait4(self.child.id() as i32, &mut status, libc::WNOHANG, usage.as_mut_ptr()) };
            match waited {
                0 if self.begun.elapsed() < HANGS => sleep(Duration::from_millis(20)),
                0 => return Err(format!("a measured program did not end within {HANGS:?}").into()),
                _ => break,
            }
        }
        self.ended = true;
        let mut output = String::new();
        if let Some(stdout) = self.child.stdout.as_mut() {
            stdout.read_to_string(&mut output)?;
        }
        if status != 0 {
            return Err(format!("a measured program ended with status {status}: {output}").into());
        }
        // SAFETY: zeroed is a valid rusage, and wait4 has filled it.
        let usage = unsafe { usage.assume_init() };
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        let cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
        Ok((output, Usage { cpu_seconds, peak_rss_mb: peak_rss_kb / 1024 }))
    }

    /// The JSON object that a program prints at its end, and what it used.
    pub fn report(self) -> Result<(Value, Usage)> {
        let (output, usage) = self.finish()?;
        let line = output.lines().rev().find(|line| line.starts_with('{')).ok_or("a measured program reported nothing")?;
        Ok((serde_json::from_str(line)?, usage))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            // It may have ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

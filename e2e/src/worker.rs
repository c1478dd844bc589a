//! A worker as a process of its own: its HTTP pages, its signals, its end.

use std::cell::{Cell, OnceCell, RefCell};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use crate::pages::{Pages, Row, State};
use crate::wait;

/// A running worker. Dropped, it is killed; a test that fails shows the end of its log.
pub struct Worker {
    pub name: String,
    child: RefCell<Child>,
    ended: Cell<Option<i32>>,
    log: PathBuf,
    /// Where this run begins in the log.
    from: usize,
    pages: OnceCell<Pages>,
}

/// The exit code of a process that a signal ended, as shells say it.
pub const KILLED: i32 = 128 + libc::SIGKILL;

impl Worker {
    pub(crate) fn new(name: &str, child: Child, log: PathBuf, from: u64) -> Self {
        Self { name: name.into(), child: child.into(), ended: Cell::default(), log, from: from as usize, pages: OnceCell::new() }
    }

    /// Its HTTP pages; waits until there are any.
    #[track_caller]
    pub fn pages(&self) -> &Pages {
        self.pages.get_or_init(|| {
            let address = wait::until(format_args!("`{}` serves HTTP", self.name), || {
                self.assert_runs();
                let log = self.log();
                let line = log.lines().find_map(|line| line.split_once("HTTP on ")).map(|(_, address)| address.trim().to_string());
                line.ok_or_else(|| format!("its log: {log}"))
            });
            Pages::at(address)
        })
    }

    #[track_caller]
    pub fn state(&self) -> State {
        self.pages().state().unwrap_or_else(|error| panic!("`{}`: {error}; {}", self.name, self.tail()))
    }

    #[track_caller]
    pub fn row(&self, table: &str, key: &str) -> Row {
        self.pages().row(table, key.as_bytes()).unwrap_or_else(|error| panic!("`{}`: {error}; {}", self.name, self.tail()))
    }

    /// Waits for a state.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn(&State) -> bool) -> State {
        let pages = self.pages();
        wait::until(format_args!("`{}` {what}", self.name), || {
            self.assert_runs();
            let state = pages.state().map_err(|error| format!("{error}; {}", self.tail()))?;
            if holds(&state) { Ok(state) } else { Err(format!("{state:?}; {}", self.tail())) }
        })
    }

    /// Waits until it is a member of its group and all its tasks run.
    #[track_caller]
    pub fn until_ready(&self) -> State {
        self.until("is ready", |state| state.ready)
    }

    /// Waits until `/readyz` refuses with a sentence that has all of these in it.
    #[track_caller]
    pub fn until_unready(&self, words: &[&str]) -> String {
        let pages = self.pages();
        wait::until(format_args!("`{}` is unready because of {words:?}", self.name), || match pages.ready()? {
            Err(sentence) if words.iter().all(|word| sentence.contains(word)) => Ok(sentence),
            other => Err(format!("{other:?}")),
        })
    }

    /// Asks it to give its partitions away and to leave the group; whether it has.
    pub fn drain(&self, token: &str) -> Result<bool, String> {
        let log = self.log();
        let admin = log.lines().find_map(|line| line.split_once("admin server on ")).map(|(_, address)| address.trim());
        match self.pages().drain(admin.ok_or_else(|| self.tail())?, token)? {
            (202, body) if body.contains("draining") => Ok(false),
            (200, body) if body.contains("drained") => Ok(true),
            other => Err(format!("{other:?}")),
        }
    }

    /// What this run has logged until now.
    pub fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[self.from.min(log.len())..]).into_owned()
    }

    /// Waits until it has logged this.
    #[track_caller]
    pub fn until_logged(&self, text: &str) {
        wait::until(format_args!("`{}` logs {text:?}", self.name), || {
            if self.log().contains(text) { Ok(()) } else { Err(self.tail()) }
        });
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&self) {
        self.signal(libc::SIGKILL);
        assert_eq!(self.until_ended(), KILLED);
    }

    /// SIGTERM; the exit code.
    #[track_caller]
    pub fn stop(&self) -> i32 {
        self.terminate();
        self.until_ended()
    }

    /// SIGTERM, and no waiting.
    pub fn terminate(&self) {
        self.signal(libc::SIGTERM);
    }

    /// SIGSTOP: it holds still with all its connections open.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// SIGCONT.
    pub fn wake(&self) {
        self.signal(libc::SIGCONT);
    }

    /// The exit code, when it has come to its end.
    #[track_caller]
    pub fn until_ended(&self) -> i32 {
        self.ends_within(wait::LIMIT)
    }

    /// The same with a limit.
    #[track_caller]
    pub fn ends_within(&self, limit: Duration) -> i32 {
        wait::within(limit, format_args!("`{}` ends", self.name), || {
            self.exit_code().ok_or_else(|| format!("it runs; {}", self.tail()))
        })
    }

    /// Nothing comes any more from a worker that has ended.
    #[track_caller]
    pub fn assert_runs(&self) {
        assert_eq!(self.exit_code(), None, "`{}` has ended", self.name);
    }

    fn exit_code(&self) -> Option<i32> {
        if self.ended.get().is_none() {
            let status = self.child.borrow_mut().try_wait().expect("our child");
            let code = |status: ExitStatus| status.code().unwrap_or_else(|| 128 + status.signal().expect("a code or a signal"));
            self.ended.set(status.map(code));
        }
        self.ended.get()
    }

    fn signal(&self, signal: libc::c_int) {
        assert!(self.ended.get().is_none(), "`{}` has ended", self.name);
        // SAFETY: our child, not waited for yet, so the id is its own.
        let sent = unsafe { libc::kill(self.child.borrow().id() as libc::pid_t, signal) };
        assert_eq!(sent, 0, "`{}`: {}", self.name, std::io::Error::last_os_error());
    }

    /// The end of its log.
    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        format!("the log of `{}` ends:\n{}", self.name, lines[lines.len().saturating_sub(30)..].join("\n"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
        if self.exit_code().is_none() {
            let child = self.child.get_mut();
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

//! Child processes that end with us, and signals that reach exactly the process that is meant.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

/// Starts a child that the kernel kills when this process ends, however it ends.
///
/// The kernel ties that to the *thread* that forked. A test's thread ends with the test, so one thread of the process's own
/// life forks them all.
pub fn spawn_bound_to_us(mut command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    struct Order {
        command: Command,
        reply: mpsc::Sender<io::Result<Child>>,
    }

    let us = std::process::id() as libc::pid_t;
    // SAFETY: between fork and exec only async-signal-safe calls, and no allocation.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // We may have ended before the kernel was told.
            if libc::getppid() != us { Err(io::Error::from_raw_os_error(libc::ESRCH)) } else { Ok(()) }
        });
    }
    let starter = STARTER.get_or_init(|| {
        let (orders, todo) = mpsc::channel::<Order>();
        #[expect(clippy::disallowed_methods, reason = "the fixture has no runtime, and the kernel watches this thread")]
        std::thread::spawn(move || {
            for Order { mut command, reply } in todo {
                let _ = reply.send(command.spawn());
            }
        });
        orders
    });
    let (reply, answer) = mpsc::channel();
    let gone = || io::Error::other("the thread that starts children has ended");
    starter.send(Order { command, reply }).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// Starts a child in a session of its own, which outlives us and our terminal.
pub fn spawn_detached(mut command: Command) -> io::Result<Child> {
    // SAFETY: setsid is async-signal-safe.
    unsafe {
        command.pre_exec(|| if libc::setsid() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) });
    }
    command.spawn()
}

/// The end of a log, for an error's text.
pub fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    format!("the last lines of {}:\n{}", log.display(), lines[lines.len().saturating_sub(30)..].join("\n"))
}

/// A running process that is not our child, pinned: its id can't come to mean another one.
pub struct Pinned {
    pub id: u32,
    fd: OwnedFd,
}

impl Pinned {
    /// The process whose arguments end in these.
    pub fn by_last_arguments(arguments: &[&str]) -> io::Result<Option<Pinned>> {
        for entry in std::fs::read_dir("/proc")? {
            let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            if !arguments_end_in(id, arguments) {
                continue;
            }
            // SAFETY: a plain system call; the descriptor is owned at once.
            let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) };
            if fd < 0 {
                continue;
            }
            // SAFETY: just opened, nobody else has it.
            let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
            // Looked at again: between the first look and the pin it may have become another one.
            if arguments_end_in(id, arguments) {
                return Ok(Some(Pinned { id, fd }));
            }
        }
        Ok(None)
    }

    pub fn signal(&self, signal: libc::c_int) -> io::Result<()> {
        let null = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a plain system call; a null siginfo means "as kill(2) would".
        match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.fd.as_raw_fd(), signal, null, 0) } {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                e if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                e => Err(e),
            },
        }
    }

    /// Whether it has ended within the limit.
    pub fn ended(&self, limit: Duration) -> bool {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one live pollfd, and the count says one.
        unsafe { libc::poll(&raw mut poll, 1, limit.as_millis() as libc::c_int) > 0 }
    }
}

fn arguments_end_in(id: u32, arguments: &[&str]) -> bool {
    let Ok(line) = std::fs::read(format!("/proc/{id}/cmdline")) else { return false };
    let line: Vec<&[u8]> = line.strip_suffix(b"\0").unwrap_or(&line).split(|byte| *byte == 0).collect();
    let wanted: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_bytes()).collect();
    line.ends_with(&wanted)
}

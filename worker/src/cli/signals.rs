//! SIGTERM and SIGINT: the first asks the worker to stop, the second ends it at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Finish what is in hand, commit, leave.
    Gracefully,
    /// End now, with this exit code, as shells know it: 128 and the signal's number.
    Now { code: i32 },
}

/// The signals that the process gets from now on. While this exists they don't end it by themselves, nor afterwards.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    asked: bool,
}

impl Signals {
    /// Needs a tokio runtime with I/O.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())?, asked: false })
    }

    /// Waits for the next signal. Cancel-safe.
    pub async fn next(&mut self) -> Stop {
        let number = tokio::select! {
            biased;
            _ = self.terminate.recv() => libc::SIGTERM,
            _ = self.interrupt.recv() => libc::SIGINT,
        };
        if std::mem::replace(&mut self.asked, true) { Stop::Now { code: 128 + number } } else { Stop::Gracefully }
    }
}

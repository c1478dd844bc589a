//! The worker's log: plain lines on stderr.

use std::io::{self, IsTerminal};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::LogLevel;

/// Starts logging for the process. A program that has its own log keeps it.
pub(crate) fn start(level: &LogLevel) {
    let lines = tracing_subscriber::fmt::layer().compact().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let _ = tracing_subscriber::registry().with(lines).with(level.targets.clone()).try_init();
}

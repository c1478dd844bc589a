//! `page-views worker`: a worker from start to exit code.

use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::exit;

use super::{Command, ExitReason, Refusal, Signals, Stop, environment, logging, panics, parse};
use crate::app::AppNode;
use crate::contract::Configured;
use crate::control;
use crate::error::Result;
use crate::rt;

/// Does what the command line says and ends the process with its code, except where there is nothing to say.
pub(crate) fn main(app: &'static AppNode) -> Result<()> {
    // The app's own version is its program's business; this says what it was built with.
    let version = concat!("(faust ", env!("CARGO_PKG_VERSION"), ")");
    let command = parse(app.id, version, &app.settings(), environment(), std::env::args_os());
    let configured = match command.unwrap_or_else(|end| exit(end.say())) {
        Command::Worker(configured) => *configured,
        Command::Print(text) => {
            // A closed pipe is no reason to end in another way.
            let _ = io::stdout().write_all(text.as_bytes());
            return Ok(());
        }
    };
    logging::start(&configured.settings.log_level);
    panics::remember();
    let ended = panic::catch_unwind(AssertUnwindSafe(|| rt::block_on(worker(app, configured))));
    let ended =
        ended.unwrap_or_else(|_| Err(Refusal::new(ExitReason::Panicked, "the main thread panicked, which is a bug in faust")));
    match ended {
        Ok(()) => Ok(()),
        Err(refusal) => rt::end_process(panics::explain(refusal).say()),
    }
}

/// Runs until a signal says stop, or the worker ends by itself. A second signal ends the process at once.
async fn worker(app: &'static AppNode, configured: Configured) -> std::result::Result<(), Refusal> {
    rt::raise_open_files();
    let mut signals =
        Signals::listen().map_err(|error| Refusal::new(ExitReason::Panicked, format!("signals can't be listened for: {error}")))?;
    let worker = control::start(app, configured).await?;
    loop {
        tokio::select! {
            biased;
            end = worker.ended() => return end,
            stop = signals.next() => match stop {
                Stop::Gracefully => worker.stop(),
                Stop::Now { code } => rt::end_process(code),
            },
        }
    }
}

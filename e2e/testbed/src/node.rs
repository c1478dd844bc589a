//! One node of Kafka: its settings, as the file that Kafka reads, its command line's mark, and the wait until it serves.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use crate::{process, wait};

const BASE: &str = include_str!("../kafka/broker.properties");
const STARTED: &str = "Kafka Server started";
/// Far beyond what a start takes on a busy machine: only a broker that will never come reaches it.
const START: Duration = Duration::from_secs(120);

/// Where a node stands and what it is told beyond the base.
pub struct Node<'a> {
    pub port: u16,
    pub controller_port: u16,
    /// Further listeners, by name.
    pub listeners: &'a [(&'static str, u16)],
    pub data: &'a Path,
    pub settings: &'a [(String, String)],
}

impl Node<'_> {
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let Node { port, controller_port, listeners, data, settings } = self;
        let listeners: String = listeners.iter().map(|(name, port)| format!(",{name}://127.0.0.1:{port}")).collect();
        let mut text = format!(
            "{BASE}\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
             listeners=CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{listeners}\n\
             log.dirs={}\n",
            data.display()
        );
        for (key, value) in *settings {
            text.push_str(&format!("{key}={value}\n"));
        }
        fs::write(file, text)
    }
}

/// The arguments that a node's command line ends in: no other process has them.
pub fn arguments(properties: &Path) -> [String; 2] {
    ["kafka.Kafka".to_owned(), properties.display().to_string()]
}

/// Waits until the node serves, or tells why it doesn't; what was in the log before `from` is of an earlier life.
pub fn await_started(child: &mut Child, log: &Path, from: u64) -> io::Result<()> {
    let started = wait::until(START, || {
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("Kafka ended with {status} instead of starting; {}", process::tail(log))));
        }
        let text = fs::read(log)?;
        let now = String::from_utf8_lossy(&text[(from as usize).min(text.len())..]).contains(STARTED);
        Ok(now.then_some(()))
    })?;
    started.ok_or_else(|| {
        io::Error::new(io::ErrorKind::TimedOut, format!("Kafka did not start within {START:?}; {}", process::tail(log)))
    })
}

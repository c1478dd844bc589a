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
    /// From 1 on.
    pub id: usize,
    pub port: u16,
    /// The controllers of all nodes, by id.
    pub controllers: &'a [u16],
    /// Further listeners.
    pub entrances: &'a [Entrance],
    pub data: &'a Path,
    pub settings: &'a [(String, String)],
}

/// A listener of a node beside that for everybody. In plain text, unless the settings say otherwise.
#[derive(Clone, Debug)]
pub struct Entrance {
    pub name: String,
    pub port: u16,
    /// The port that clients are told: another one where somebody stands between.
    pub advertised: u16,
}

impl Node<'_> {
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let Node { id, port, controllers, entrances, data, settings } = self;
        let voters = (1..).zip(*controllers).map(|(id, controller)| format!("{id}@127.0.0.1:{controller}"));
        let own = [("CLIENT", *port), ("CONTROLLER", controllers[id - 1])];
        let listeners = own.into_iter().chain(entrances.iter().map(|entrance| (entrance.name.as_str(), entrance.port)));
        let mut text = format!(
            "{BASE}\n\
             node.id={id}\n\
             controller.quorum.voters={}\n\
             listeners={}\n\
             log.dirs={}\n",
            join(voters),
            join(listeners.map(address)),
            data.display()
        );
        if !entrances.is_empty() {
            let told = [own[0]].into_iter().chain(entrances.iter().map(|entrance| (entrance.name.as_str(), entrance.advertised)));
            let names = own.iter().map(|(name, _)| *name).chain(entrances.iter().map(|entrance| entrance.name.as_str()));
            text.push_str(&format!("advertised.listeners={}\n", join(told.map(address))));
            text.push_str(&format!("listener.security.protocol.map={}\n", join(names.map(|name| format!("{name}:PLAINTEXT")))));
        }
        for (key, value) in *settings {
            text.push_str(&format!("{key}={value}\n"));
        }
        fs::write(file, text)
    }
}

fn address((listener, port): (&str, u16)) -> String {
    format!("{listener}://127.0.0.1:{port}")
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
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

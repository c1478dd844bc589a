//! The settings of one node, as the file that Kafka reads.

use std::io;
use std::path::Path;

const BASE: &str = include_str!("../kafka/broker.properties");

/// Where a node stands and what it is told beyond the base.
pub struct Node<'a> {
    pub port: u16,
    pub controller_port: u16,
    pub data: &'a Path,
    pub settings: &'a [(String, String)],
}

impl Node<'_> {
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let Node { port, controller_port, data, settings } = self;
        let mut text = format!(
            "{BASE}\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
             listeners=CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
             log.dirs={}\n",
            data.display()
        );
        for (key, value) in *settings {
            text.push_str(&format!("{key}={value}\n"));
        }
        std::fs::write(file, text)
    }
}

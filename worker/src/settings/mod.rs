//! What can be set: one table of settings, given in code, in a file, by environment variables and by flags.
//!
//! A setting is a text until all layers are known; then the winning text is parsed once, and every refusal can say where it came from.

mod check;
mod duration;
mod error;
mod file;
mod kind;
mod nearest;
mod properties;
#[cfg(test)]
mod reference;
mod resolve;
mod size;
mod table;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

pub use error::SettingsError;
pub(crate) use file::{FileLayer, config_file};
pub(crate) use kind::{Broker, LogLevel};
pub use kind::{OnDecodeError, OnEventTimeout, Store, TopicManagement};
pub(crate) use properties::Properties;
pub(crate) use resolve::resolve;
pub(crate) use table::{PASSTHROUGH, Resolved, Setting, TABLE};

use kind::{Choice, Kind, Span};

/// The settings of an app, as far as its code gives them.
///
/// A configuration file wins over the code, an environment variable over both, a flag of the command line over all. `worker --help`
/// lists all of them with their defaults.
///
/// ```
/// use faust::{Settings, millis};
///
/// let settings = Settings::new().broker("kafka:9092").commit_interval(millis(250)).kafka("linger.ms", "20");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Settings {
    texts: Vec<(&'static str, String)>,
    properties: Properties,
}

impl Settings {
    pub fn new() -> Self {
        Self::default()
    }

    /// The brokers to start from, `host:port`, several separated by commas; `memory://` for a log inside of the process.
    pub fn broker(self, hosts: &str) -> Self {
        self.with("broker", hosts)
    }

    /// Where tables are kept.
    pub fn store(self, store: Store) -> Self {
        self.with("store", Choice::<Store>::show(&store))
    }

    /// The folder of the tables' stores. It must outlive the process for a fast restart, and belong to one worker only.
    pub fn datadir(self, path: impl AsRef<Path>) -> Self {
        self.with("datadir", path.as_ref().to_string_lossy())
    }

    /// The address that the worker's HTTP server listens on.
    pub fn web_host(self, address: &str) -> Self {
        self.with("web-host", address)
    }

    /// The port of the worker's HTTP server; 0 takes any free one.
    pub fn web_port(self, port: u16) -> Self {
        self.with("web-port", port.to_string())
    }

    /// `info`, or levels per target: `warn,faust=debug`.
    pub fn log_level(self, level: &str) -> Self {
        self.with("log-level", level)
    }

    /// How often what was processed is committed.
    pub fn commit_interval(self, interval: Duration) -> Self {
        self.span("commit-interval", interval)
    }

    /// After how many records a commit comes before its time; by time alone unless given.
    pub fn commit_records(self, records: u64) -> Self {
        self.with("commit-records", records.to_string())
    }

    /// After how many bytes of changed rows a commit comes before its time.
    pub fn commit_bytes(self, bytes: u64) -> Self {
        self.with("commit-bytes", bytes.to_string())
    }

    /// How long the group waits for a silent worker before it gives its partitions to others.
    pub fn session_timeout(self, timeout: Duration) -> Self {
        self.span("session-timeout", timeout)
    }

    /// How long the group waits for its workers when partitions are shared out anew.
    pub fn rebalance_timeout(self, timeout: Duration) -> Self {
        self.span("rebalance-timeout", timeout)
    }

    /// How long a partition that goes to another worker may finish what it has in hand.
    pub fn revoke_timeout(self, timeout: Duration) -> Self {
        self.span("revoke-timeout", timeout)
    }

    /// How long a stopping worker may finish and commit what it has in hand.
    pub fn shutdown_timeout(self, timeout: Duration) -> Self {
        self.span("shutdown-timeout", timeout)
    }

    /// How long one event may take before the worker names it as stuck.
    pub fn event_timeout(self, timeout: Duration) -> Self {
        self.span("event-timeout", timeout)
    }

    /// What happens when an agent takes longer than that.
    pub fn on_event_timeout(self, action: OnEventTimeout) -> Self {
        self.with("on-event-timeout", Choice::<OnEventTimeout>::show(&action))
    }

    /// What happens to a record that doesn't decode.
    pub fn on_decode_error(self, action: OnDecodeError) -> Self {
        self.with("on-decode-error", Choice::<OnDecodeError>::show(&action))
    }

    /// Bytes of memory for records that are fetched ahead, over all partitions.
    pub fn fetch_memory(self, bytes: u64) -> Self {
        self.with("fetch-memory", bytes.to_string())
    }

    /// Bytes of memory for rows of tables.
    pub fn cache_memory(self, bytes: u64) -> Self {
        self.with("cache-memory", bytes.to_string())
    }

    /// Bytes of memory of all tables on disk together.
    pub fn store_memory(self, bytes: u64) -> Self {
        self.with("store-memory", bytes.to_string())
    }

    /// After how many changelog records a store is flushed to disk.
    pub fn flush_records(self, records: u64) -> Self {
        self.with("flush-records", records.to_string())
    }

    /// After how long a changed store is flushed to disk.
    pub fn flush_interval(self, interval: Duration) -> Self {
        self.span("flush-interval", interval)
    }

    /// Bytes per second that restoring reads at most; unlimited unless given.
    pub fn restore_rate(self, bytes_per_second: u64) -> Self {
        self.with("restore-rate", bytes_per_second.to_string())
    }

    /// How many other workers keep a copy of each table up to date, as far as there are others.
    pub fn standby_replicas(self, copies: u32) -> Self {
        self.with("standby-replicas", copies.to_string())
    }

    /// A copy that lacks at most so many changelog records has caught up, and may take its partition over.
    pub fn recovery_lag(self, records: u64) -> Self {
        self.with("recovery-lag", records.to_string())
    }

    /// How many copies are made at a time for the sake of moving partitions to other workers.
    pub fn max_warmups(self, copies: u64) -> Self {
        self.with("max-warmups", copies.to_string())
    }

    /// How often the worker looks whether its source topics have grown, or have gone.
    pub fn topics_interval(self, interval: Duration) -> Self {
        self.span("topics-interval", interval)
    }

    /// Who creates topics.
    pub fn topic_management(self, who: TopicManagement) -> Self {
        self.with("topic-management", Choice::<TopicManagement>::show(&who))
    }

    /// The worker's name in its group for as long as it exists: one that stops and comes back within the session keeps its partitions.
    pub fn instance_id(self, name: &str) -> Self {
        self.with("instance-id", name)
    }

    /// Where other workers reach this one's HTTP server, as `host:port`.
    pub fn advertised_address(self, address: &str) -> Self {
        self.with("advertised-address", address)
    }

    /// The machine that the worker runs on.
    pub fn node(self, name: &str) -> Self {
        self.with("node", name)
    }

    /// A file with the pod's labels, as Kubernetes' downward API writes it.
    pub fn pod_labels_file(self, path: impl AsRef<Path>) -> Self {
        self.with("pod-labels-file", path.as_ref().to_string_lossy())
    }

    /// The address that the admin server listens on.
    pub fn admin_host(self, address: &str) -> Self {
        self.with("admin-host", address)
    }

    /// The port of the admin server; 0 takes any free one.
    pub fn admin_port(self, port: u16) -> Self {
        self.with("admin-port", port.to_string())
    }

    /// A file with the token that requests to the admin server must bear; without it there is no admin server.
    pub fn admin_token_file(self, path: impl AsRef<Path>) -> Self {
        self.with("admin-token-file", path.as_ref().to_string_lossy())
    }

    /// A property of the Kafka client (librdkafka), by its own name. Properties that the worker depends on are refused.
    pub fn kafka(mut self, key: &str, value: &str) -> Self {
        self.properties.insert(key, value);
        self
    }

    fn span(self, name: &'static str, duration: Duration) -> Self {
        self.with(name, Span::show(&duration))
    }

    fn with(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.texts.retain(|(known, _)| *known != name);
        self.texts.push((name, text.into()));
        self
    }
}

//! The table of settings: name, type, default and meaning, once, for flags, environment, help, reference and the engine's struct.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::error::SettingsError;
use super::kind::{
    Address, Broker, Brokers, Choice, Count, HostAndPort, InstanceId, Kind, Level, LogLevel, NodeName, OnDecodeError,
    OnEventTimeout, Optional, Path, Port, Rate, Replicas, Span, Store, TopicManagement,
};
use super::properties::{self, Properties};
use super::resolve::{Given, Origin, Property};
use super::size::Size;

/// A row of the table.
pub(crate) struct Setting {
    /// As a flag, without the dashes.
    pub name: &'static str,
    /// What stands for the value in `--help`.
    pub placeholder: &'static str,
    /// What a value must be, to go on after "expected".
    pub expected: &'static str,
    /// `<app-id>` stands for the app's id.
    pub default: &'static str,
    pub help: &'static str,
    show: fn(&Resolved) -> String,
}

macro_rules! settings {
    ($($name:literal $field:ident: $kind:ty => $value:ty = $default:literal, $help:literal;)*) => {
        /// All settings with their values, for the engine to read.
        #[derive(Clone, Debug)]
        pub(crate) struct Resolved {
            $(#[doc = $help] pub $field: $value,)*
            /// Properties handed to the Kafka client.
            pub kafka: Properties,
            pub(super) origins: BTreeMap<&'static str, Origin>,
            property_origins: BTreeMap<String, Origin>,
        }

        impl Resolved {
            /// Parses the text that won for each setting.
            pub(super) fn parse(
                given: impl Fn(&'static Setting) -> Given,
                kafka: BTreeMap<String, Property>,
            ) -> Result<Self, SettingsError> {
                let mut origins = BTreeMap::new();
                Ok(Self {
                    $($field: {
                        let setting = Setting::named($name);
                        let given = given(setting);
                        let value = <$kind>::parse(&given.text);
                        let value = value.ok_or_else(|| SettingsError::unparsable(setting, &given.text, &given.origin.of($name)))?;
                        origins.insert($name, given.origin);
                        value
                    },)*
                    kafka: kafka.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect(),
                    property_origins: kafka.into_iter().map(|(key, (_, origin))| (key, origin)).collect(),
                    origins,
                })
            }
        }

        pub(crate) static TABLE: &[Setting] = &[
            $(Setting {
                name: $name,
                placeholder: <$kind>::PLACEHOLDER,
                expected: <$kind>::EXPECTED,
                default: $default,
                help: $help,
                show: |resolved| <$kind>::show(&resolved.$field),
            },)*
        ];
    };
}

settings! {
    "broker" broker: Brokers => Broker = "localhost:9092",
        "The brokers to start from; `memory://` is a log inside of the process, for trying out and for tests";
    "store" store: Choice<Store> => Store = "rocksdb",
        "Where tables are kept: on disk, or in memory (the default of a build without RocksDB)";
    "datadir" datadir: Path => PathBuf = "./<app-id>-data",
        "The folder of the tables on disk; it belongs to one worker and should outlive the process";
    "web-host" web_host: Address => IpAddr = "127.0.0.1",
        "The address that the HTTP server listens on; 0.0.0.0 is every one";
    "web-port" web_port: Port => u16 = "6066",
        "The port of the HTTP server; 0 takes any free one, which is logged and written to `<datadir>/web-port`";
    "log-level" log_level: Level => LogLevel = "info",
        "What is logged, also per target: `warn,faust=debug`";
    "commit-interval" commit_interval: Span => Duration = "1s",
        "How often what was processed is committed";
    "commit-records" commit_records: Optional<Count> => Option<u64> = "none",
        "After how many records a commit comes before its time";
    "commit-bytes" commit_bytes: Size => u64 = "16MiB",
        "After how many bytes of changed rows a commit comes before its time; never more than half of `cache-memory`";
    "session-timeout" session_timeout: Span => Duration = "45s",
        "How long the group waits for a silent worker before others take over its partitions; heartbeats go every tenth of it, or \
         every 500ms if that is less";
    "rebalance-timeout" rebalance_timeout: Span => Duration = "1m",
        "How long the group waits for its workers when partitions are shared out anew; not shorter than `session-timeout`";
    "revoke-timeout" revoke_timeout: Span => Duration = "10s",
        "How long a partition that goes to another worker may finish what it has in hand";
    "shutdown-timeout" shutdown_timeout: Span => Duration = "1m",
        "How long a stopping worker may finish and commit what it has in hand";
    "event-timeout" event_timeout: Span => Duration = "5m",
        "How long one event may take before the worker names it as stuck";
    "on-event-timeout" on_event_timeout: Choice<OnEventTimeout> => OnEventTimeout = "wait",
        "What the worker does then: it waits, it drops what the partition has not committed and reads it again, or it ends, so that other \
         workers take its partitions";
    "on-decode-error" on_decode_error: Choice<OnDecodeError> => OnDecodeError = "pause",
        "What a record that doesn't decode does: its partition stops and the rest goes on, or it is skipped and counted, or the \
         worker fails";
    "fetch-memory" fetch_memory: Size => u64 = "256MiB",
        "Memory for records that are fetched ahead, over all partitions; each table's changelogs that are read have as much again";
    "cache-memory" cache_memory: Size => u64 = "64MiB",
        "Memory for rows of tables";
    "store-memory" store_memory: Size => u64 = "192MiB",
        "Memory of all tables on disk together: what is not flushed yet, and what was read";
    "flush-records" flush_records: Count => u64 = "100000",
        "After how many changelog records a store is flushed to disk; a killed worker replays about as many";
    "flush-interval" flush_interval: Span => Duration = "30s",
        "After how long a changed store is flushed to disk";
    "restore-rate" restore_rate: Rate => Option<u64> = "unlimited",
        "Bytes per second that restoring tables reads at most";
    "standby-replicas" standby_replicas: Replicas => u32 = "1",
        "How many other workers keep a copy of each table up to date, as far as there are others; a partition goes to one of them when \
         its worker is gone";
    "recovery-lag" recovery_lag: Count => u64 = "10000",
        "A copy that lacks at most so many changelog records has caught up: a partition with tables moves only to such a one. \
         At most 15032385536";
    "max-warmups" max_warmups: Count => u64 = "2",
        "How many copies are made at a time for the sake of moving partitions to other workers";
    "topics-interval" topics_interval: Span => Duration = "1m",
        "How often the worker looks whether its source topics have grown, or have gone";
    "topic-management" topic_management: Choice<TopicManagement> => TopicManagement = "worker",
        "Who creates topics: the worker its changelogs, or an operator all of them, for which the worker waits";
    "instance-id" instance_id: Optional<InstanceId> => Option<String> = "none",
        "The worker's name in its group for as long as it exists (`group.instance.id`): one that stops and comes back within the \
         session keeps its partitions. No two workers may have the same";
    "advertised-address" advertised_address: Optional<HostAndPort> => Option<String> = "none",
        "Where other workers reach this one's HTTP server; where it listens, if none is given";
    "node" node: Optional<NodeName> => Option<String> = "none",
        "The machine that the worker runs on: copies of a table are spread over machines where zones are unknown";
    "pod-labels-file" pod_labels_file: Optional<Path> => Option<PathBuf> = "none",
        "A file with the pod's labels, as Kubernetes' downward API writes it; `topology.kubernetes.io/zone` in it is the worker's zone";
    "admin-host" admin_host: Address => IpAddr = "127.0.0.1",
        "The address that the admin server listens on";
    "admin-port" admin_port: Port => u16 = "6067",
        "The port of the admin server; 0 takes any free one, which is logged";
    "admin-token-file" admin_token_file: Optional<Path> => Option<PathBuf> = "none",
        "A file with the token that requests to the admin server must bear; without it there is no admin server";
    "config" config: Optional<Path> => Option<PathBuf> = "none",
        "A file with settings, as an operator mounts it; it wins over the code. Not in code or in the file itself";
}

/// The one setting that may be given more than once and isn't a field of its own.
pub(crate) const PASSTHROUGH: Passthrough = Passthrough {
    name: "kafka",
    placeholder: "key=value",
    help: "A property of the Kafka client (librdkafka) by its own name; may be repeated. The environment variable takes one per line",
};

pub(crate) struct Passthrough {
    pub name: &'static str,
    pub placeholder: &'static str,
    pub help: &'static str,
}

impl Setting {
    pub(super) fn named(name: &str) -> &'static Self {
        TABLE.iter().find(|setting| setting.name == name).expect("a setting of the table")
    }

    /// The environment variable of the setting.
    pub fn variable(&self) -> String {
        variable(self.name)
    }

    /// The value as one would write it, and where it came from.
    pub fn shown(&self, resolved: &Resolved) -> (String, Origin) {
        ((self.show)(resolved), resolved.origins[self.name].clone())
    }
}

impl Resolved {
    /// Every setting with its value and where that came from, one a line, without secrets.
    pub fn listing(&self) -> String {
        let mut text = String::new();
        for setting in TABLE {
            let (value, origin) = setting.shown(self);
            text += &format!("{} = {value} ({})\n", setting.name, origin.label());
        }
        for (key, value) in self.kafka.iter() {
            let (shown, origin) = (properties::shown(key, value), &self.property_origins[key]);
            text += &format!("{} = {shown} ({})\n", PASSTHROUGH.name, origin.label());
        }
        text
    }
}

impl Passthrough {
    pub fn variable(&self) -> String {
        variable(self.name)
    }
}

/// The environment variable of a setting.
pub(super) fn variable(name: &str) -> String {
    format!("FAUST_{}", name.replace('-', "_").to_uppercase())
}

#[cfg(feature = "kafka")]
impl Resolved {
    /// Where a client's property was given, if it was.
    pub(super) fn origin_of_property(&self, name: &str) -> Option<&Origin> {
        self.property_origins.get(name)
    }

    /// How long the client tries to deliver a record. A third of the session, or a worker that was thought dead could still write.
    pub fn message_timeout(&self) -> Duration {
        self.session_timeout / 3
    }
}

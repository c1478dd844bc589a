//! The kinds of values that settings have: how each is read and written.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::{duration, size};

/// How the text of a setting becomes its value. `parse` takes what `show` gives.
pub(super) trait Kind {
    type Value;
    const PLACEHOLDER: &'static str;
    const EXPECTED: &'static str;
    fn parse(text: &str) -> Option<Self::Value>;
    fn show(value: &Self::Value) -> String;
}

/// Where the records are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broker {
    /// In this process.
    Memory,
    /// `host:port`, separated by commas.
    Kafka(String),
}

/// Where tables are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// On disk, one database per partition. Needs the cargo feature `rocksdb`.
    RocksDb,
    /// In memory; restored from the changelog at every start.
    Memory,
}

/// What happens to a record that doesn't decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDecodeError {
    /// Its partition stops there, the rest goes on.
    Pause,
    /// It is left out and counted.
    Skip,
    /// The worker ends.
    Fail,
}

/// What happens when an agent takes longer for one event than `event-timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnEventTimeout {
    /// It is named, and waited for.
    Wait,
    /// The agent is dropped, and all that its partition has not committed; it is read again, the event first. An agent that keeps its
    /// thread can't be dropped: that one is waited for.
    Retry,
    /// The worker ends, so that others take its partitions.
    Exit,
}

/// Who creates topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicManagement {
    /// The worker creates the changelogs that are missing.
    Worker,
    /// Somebody else creates every topic; the worker waits until all of them are there.
    Operator,
}

/// What is logged: a level, and levels per target.
#[derive(Clone, PartialEq)]
pub(crate) struct LogLevel {
    text: String,
    pub targets: Targets,
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

pub(super) struct Brokers;

impl Kind for Brokers {
    type Value = Broker;
    const PLACEHOLDER: &'static str = "host:port,..";
    const EXPECTED: &'static str = "host:port, several separated by commas, or memory://";

    fn parse(text: &str) -> Option<Broker> {
        if text == "memory://" {
            return Some(Broker::Memory);
        }
        let hosts: Vec<_> = text.split(',').map(str::trim).collect();
        hosts.iter().all(|host| is_host_and_port(host)).then(|| Broker::Kafka(hosts.join(",")))
    }

    fn show(broker: &Broker) -> String {
        match broker {
            Broker::Memory => "memory://".into(),
            Broker::Kafka(hosts) => hosts.clone(),
        }
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = !host.contains([':', '/']) || (host.starts_with('[') && host.ends_with(']'));
        !host.is_empty() && bare && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// One of a few words.
pub(super) struct Choice<T>(PhantomData<T>);

pub(super) trait Words: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];
    const PLACEHOLDER: &'static str;
    const EXPECTED: &'static str;
}

impl Words for Store {
    const WORDS: &'static [(&'static str, Self)] = &[("rocksdb", Self::RocksDb), ("memory", Self::Memory)];
    const PLACEHOLDER: &'static str = "rocksdb|memory";
    const EXPECTED: &'static str = "rocksdb or memory";
}

impl Words for OnDecodeError {
    const WORDS: &'static [(&'static str, Self)] = &[("pause", Self::Pause), ("skip", Self::Skip), ("fail", Self::Fail)];
    const PLACEHOLDER: &'static str = "pause|skip|fail";
    const EXPECTED: &'static str = "pause, skip or fail";
}

impl Words for OnEventTimeout {
    const WORDS: &'static [(&'static str, Self)] = &[("wait", Self::Wait), ("retry", Self::Retry), ("exit", Self::Exit)];
    const PLACEHOLDER: &'static str = "wait|retry|exit";
    const EXPECTED: &'static str = "wait, retry or exit";
}

impl<T: Words> Kind for Choice<T> {
    type Value = T;
    const PLACEHOLDER: &'static str = T::PLACEHOLDER;
    const EXPECTED: &'static str = T::EXPECTED;

    fn parse(text: &str) -> Option<T> {
        T::WORDS.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
    }

    fn show(value: &T) -> String {
        T::WORDS.iter().filter(|(_, known)| known == value).map(|(word, _)| word.to_string()).collect()
    }
}

impl Words for TopicManagement {
    const WORDS: &'static [(&'static str, Self)] = &[("worker", Self::Worker), ("operator", Self::Operator)];
    const PLACEHOLDER: &'static str = "worker|operator";
    const EXPECTED: &'static str = "worker or operator";
}

/// What may be left out; `none` is how that is written.
pub(super) struct Optional<K>(PhantomData<K>);

impl<K: Kind> Kind for Optional<K> {
    type Value = Option<K::Value>;
    const PLACEHOLDER: &'static str = K::PLACEHOLDER;
    const EXPECTED: &'static str = K::EXPECTED;

    fn parse(text: &str) -> Option<Option<K::Value>> {
        match text {
            "none" => Some(None),
            text => K::parse(text).map(Some),
        }
    }

    fn show(value: &Option<K::Value>) -> String {
        value.as_ref().map_or("none".into(), K::show)
    }
}

/// A name that Kafka takes as a `group.instance.id`.
pub(super) struct InstanceId;

impl Kind for InstanceId {
    type Value = String;
    const PLACEHOLDER: &'static str = "name";
    const EXPECTED: &'static str = "1 to 249 letters, digits, `.`, `_` and `-`";

    fn parse(text: &str) -> Option<String> {
        let fits = (1..=249).contains(&text.len()) && text != "." && text != "..";
        (fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))).then(|| text.into())
    }

    fn show(name: &String) -> String {
        name.clone()
    }
}

pub(super) struct NodeName;

impl Kind for NodeName {
    type Value = String;
    const PLACEHOLDER: &'static str = "name";
    const EXPECTED: &'static str = "a name without spaces";

    fn parse(text: &str) -> Option<String> {
        (!text.is_empty() && !text.contains(char::is_whitespace)).then(|| text.into())
    }

    fn show(name: &String) -> String {
        name.clone()
    }
}

/// One place that others connect to.
pub(super) struct HostAndPort;

impl Kind for HostAndPort {
    type Value = String;
    const PLACEHOLDER: &'static str = "host:port";
    const EXPECTED: &'static str = "host:port";

    fn parse(text: &str) -> Option<String> {
        (is_host_and_port(text) && !text.contains(',')).then(|| text.into())
    }

    fn show(address: &String) -> String {
        address.clone()
    }
}

/// A path of a file or folder.
pub(super) struct Path;

impl Kind for Path {
    type Value = PathBuf;
    const PLACEHOLDER: &'static str = "path";
    const EXPECTED: &'static str = "a path in UTF-8";

    fn parse(text: &str) -> Option<PathBuf> {
        // What wasn't UTF-8 has the replacement character by now, and would be another folder.
        (!text.is_empty() && !text.contains('\u{fffd}')).then(|| PathBuf::from(text))
    }

    fn show(path: &PathBuf) -> String {
        path.display().to_string()
    }
}

pub(super) struct Address;

impl Kind for Address {
    type Value = IpAddr;
    const PLACEHOLDER: &'static str = "address";
    const EXPECTED: &'static str = "an IP address such as 127.0.0.1, 0.0.0.0 or ::";

    fn parse(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    fn show(address: &IpAddr) -> String {
        address.to_string()
    }
}

pub(super) struct Port;

impl Kind for Port {
    type Value = u16;
    const PLACEHOLDER: &'static str = "port";
    const EXPECTED: &'static str = "a port from 0 to 65535";

    fn parse(text: &str) -> Option<u16> {
        text.parse().ok()
    }

    fn show(port: &u16) -> String {
        port.to_string()
    }
}

pub(super) struct Level;

impl Kind for Level {
    type Value = LogLevel;
    const PLACEHOLDER: &'static str = "level";
    const EXPECTED: &'static str = "off, error, warn, info, debug or trace, or levels per target such as warn,faust=debug";

    fn parse(text: &str) -> Option<LogLevel> {
        // Parsed here, because `Targets` takes a misspelt level for a target that logs everything.
        let mut targets = Targets::new();
        for directive in text.split(',') {
            targets = match directive.split_once('=') {
                None => targets.with_default(level(directive)?),
                Some((target, _)) if target.trim().is_empty() => return None,
                Some((target, of_target)) => targets.with_target(target.trim(), level(of_target)?),
            };
        }
        Some(LogLevel { text: text.into(), targets })
    }

    fn show(level: &LogLevel) -> String {
        level.text.clone()
    }
}

fn level(text: &str) -> Option<LevelFilter> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let text = text.trim();
    LEVELS.contains(&text.to_lowercase().as_str()).then(|| LevelFilter::from_str(text).ok()).flatten()
}

/// A duration. None of the settings has a meaning for zero.
pub(super) struct Span;

impl Kind for Span {
    type Value = Duration;
    const PLACEHOLDER: &'static str = "duration";
    const EXPECTED: &'static str = "a duration above zero such as 250ms, 1.5s or 1h30m";

    fn parse(text: &str) -> Option<Duration> {
        duration::parse(text).filter(|duration| !duration.is_zero())
    }

    fn show(duration: &Duration) -> String {
        duration::show(*duration)
    }
}

pub(super) struct Count;

impl Kind for Count {
    type Value = u64;
    const PLACEHOLDER: &'static str = "number";
    const EXPECTED: &'static str = "a whole number from 1 on";

    fn parse(text: &str) -> Option<u64> {
        text.parse().ok().filter(|count| *count > 0)
    }

    fn show(count: &u64) -> String {
        count.to_string()
    }
}

/// How many copies; none is a number of them.
pub(super) struct Replicas;

impl Kind for Replicas {
    type Value = u32;
    const PLACEHOLDER: &'static str = "number";
    const EXPECTED: &'static str = "a whole number, also 0";

    fn parse(text: &str) -> Option<u32> {
        text.parse().ok()
    }

    fn show(count: &u32) -> String {
        count.to_string()
    }
}

/// Bytes.
pub(super) use size::Size;

/// Bytes per second, or no limit.
pub(super) struct Rate;

impl Kind for Rate {
    type Value = Option<u64>;
    const PLACEHOLDER: &'static str = "size";
    const EXPECTED: &'static str = "bytes per second above zero such as 64MiB or 1000000, or unlimited";

    fn parse(text: &str) -> Option<Option<u64>> {
        match text {
            "unlimited" => Some(None),
            text => Size::parse(text).map(Some),
        }
    }

    fn show(rate: &Option<u64>) -> String {
        rate.as_ref().map_or("unlimited".into(), Size::show)
    }
}

//! Properties of the Kafka client that are passed through by their own names.

use std::collections::BTreeMap;
use std::fmt;

use super::error::SettingsError;
use super::table::PASSTHROUGH;

/// Client properties by name. Whatever shows them hides the secret ones.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Properties(BTreeMap<String, String>);

impl Properties {
    pub fn insert(&mut self, key: &str, value: &str) {
        self.0.insert(key.to_string(), value.to_string());
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl FromIterator<(String, String)> for Properties {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(properties: I) -> Self {
        Self(properties.into_iter().collect())
    }
}

impl fmt::Display for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (key, value)) in self.iter().enumerate() {
            write!(f, "{}{}", if n > 0 { " " } else { "" }, shown(key, value))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

/// `key=value`; `None` if it isn't that.
pub(super) fn parse(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=')?;
    let key = key.trim();
    (!key.is_empty() && !key.contains(char::is_whitespace)).then(|| (key.to_string(), value.trim().to_string()))
}

/// The text isn't quoted: it may be a password, or the second line of a key.
pub(super) fn unparsable(text: &str, place: &str) -> SettingsError {
    let what = if text.contains('=') { "a text with no name before its `=`" } else { "a text without `=`" };
    let sentence = format!(
        "setting `kafka`: {what}, which is not shown ({place}), is not understood; expected key=value such as linger.ms=20"
    );
    SettingsError::new(PASSTHROUGH.name, sentence)
}

/// A property as it may be seen.
pub(super) fn shown(key: &str, value: &str) -> String {
    format!("{key}={}", if is_secret(key) { "***" } else { value })
}

/// A property whose name contains one of these is a secret …
pub(super) const SECRET: [&str; 8] = ["password", "passphrase", "secret", "token", "jaas", "private", "key.pem", "ssl_key"];

/// … unless it ends like this: then it is the path of a file.
pub(super) const PATH: [&str; 2] = [".file", ".location"];

/// Whether the value must not be seen in logs and messages.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    SECRET.iter().any(|word| key.contains(word)) && !PATH.iter().any(|end| key.ends_with(end))
}

/// What to do instead of setting a property that correct work depends on; `None` if it may be set.
pub(super) fn reserved(key: &str) -> Option<&'static str> {
    Some(match key.to_lowercase().as_str() {
        "bootstrap.servers" | "metadata.broker.list" => "use the setting `broker`",
        "group.id" => "it is the app's id",
        "session.timeout.ms" | "heartbeat.interval.ms" | "message.timeout.ms" | "delivery.timeout.ms" => {
            "use the setting `session-timeout`, of which it is a part"
        }
        "queued.max.messages.kbytes" | "queued.min.messages" | "fetch.message.max.bytes" | "max.partition.fetch.bytes" => {
            "use the setting `fetch-memory`, which is shared out over the partitions"
        }
        "enable.auto.commit" | "auto.commit.enable" | "enable.auto.offset.store" => "the worker commits what it has processed",
        "auto.offset.reset" => "the worker decides where a partition starts",
        "enable.partition.eof" => "the worker knows the ends of partitions by itself",
        "enable.idempotence" => "without it an old row could win over a newer one",
        "isolation.level" => "uncommitted records must not be read",
        "group.instance.id" | "group.protocol" | "partition.assignment.strategy" => "the worker is the member of the group itself",
        "transactional.id" => "the worker makes the transactions",
        "partitioner" => "rows are found by Kafka's murmur2",
        "allow.auto.create.topics" => "topics are never made by asking for them",
        _ => return None,
    })
}

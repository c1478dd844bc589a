//! Where Kafka is and how long to wait for it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::security::Security;

/// What a client needs to know before it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to ask first; the cluster tells the rest. Never empty when made by [`Config::parse`].
    pub bootstrap: Vec<Address>,
    /// How this client is called in the broker's logs, quotas and group descriptions.
    pub client_id: String,
    /// For resolving the name, connecting and negotiating together.
    pub connect_timeout: Duration,
    /// From handing a request in to having its answer.
    pub request_timeout: Duration,
    /// Plain text, unless it is set.
    pub security: Security,
}

impl Config {
    /// From a bootstrap list such as `a:9092,b:9092`, with the usual timeouts.
    pub fn parse(bootstrap: &str, client_id: impl Into<String>) -> Result<Self, InvalidAddress> {
        let addresses = bootstrap.split(',').map(|part| part.trim().parse()).collect::<Result<_, _>>()?;
        Ok(Self {
            bootstrap: addresses,
            client_id: client_id.into(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            security: Security::default(),
        })
    }

    /// The request timeout as requests carry it.
    pub(crate) fn request_timeout_millis(&self) -> i32 {
        self.request_timeout.as_millis().try_into().unwrap_or(i32::MAX)
    }
}

/// Host and port of a broker; the host is a name or an IP address (IPv6 without brackets).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

/// A bootstrap address that is none, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAddress(String);

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid =
            |why: &str| InvalidAddress(format!("broker address `{text}` {why}; write host:port, such as `localhost:9092`"));
        if text.contains("://") {
            return Err(invalid("has a scheme"));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:"),
            None => text.rsplit_once(':').filter(|(host, _)| !host.contains(':')),
        }
        .ok_or_else(|| invalid("has no port"))?;
        let port =
            port.parse().ok().filter(|port| *port > 0).ok_or_else(|| invalid("has a port that is not between 1 and 65535"))?;
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(invalid("has no valid host"));
        }
        Ok(Self { host: host.to_string(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bootstrap_list_is_read_and_written() {
        let config = Config::parse("a:1, b.example:9092,[::1]:3", "test").unwrap();
        let written: Vec<_> = config.bootstrap.iter().map(Address::to_string).collect();
        assert_eq!(written, ["a:1", "b.example:9092", "[::1]:3"]);
        assert_eq!(config.bootstrap[2].host, "::1");
    }

    #[test]
    fn a_wrong_address_is_named_with_what_to_write() {
        for (text, why) in [
            ("kafka", "has no port"),
            ("", "has no port"),
            ("a:1,,b:2", "has no port"),
            ("a:x", "between 1 and 65535"),
            ("a:0", "between 1 and 65535"),
            ("a:70000", "between 1 and 65535"),
            (":9092", "no valid host"),
            ("::1:9092", "has no port"),
            ("PLAINTEXT://a:9092", "has a scheme"),
        ] {
            let error = Config::parse(text, "test").unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("localhost:9092"), "{text}: {error}");
        }
    }
}

//! Kafka's wire protocol for the worker and the operator: connections, version negotiation, typed requests and responses.
//!
//! [`Connection`] is one TCP connection, secured as its [`Config`] says, on which any [`Request`] can be made; [`Client`] keeps one per broker, routes what has to go
//! to a leader, a coordinator or the controller, and offers the questions both sides ask in plain structs. What to do about an answer
//! – when to retry, rejoin, give up – is the callers' policy, except for the short, bounded retries that every routing needs.

mod admin;
mod client;
mod config;
mod configs;
mod connection;
mod error;
mod frame;
mod groups;
mod metadata;
mod offsets;
mod request;
mod sasl;
mod security;
mod transport;
mod versions;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod on_kafka;

pub use admin::{CreatedTopic, NewTopic};
pub use client::Client;
pub use config::{Address, Config, InvalidAddress};
pub use configs::ConfigEntry;
pub use connection::Connection;
pub use error::{Error, kafka_name};
pub use groups::{GroupDescription, GroupMember};
pub use kafka_protocol::error::ResponseError;
pub use kafka_protocol::messages;
pub use kafka_protocol::protocol::StrBytes;
pub use metadata::{Broker, Metadata, Partition, Topic};
pub use offsets::{At, EpochOffset};
pub use request::Request;
pub use security::{Credentials, Identity, InvalidProperty, Sasl, ScramHash, Secret, SecretFile, Security, Tls, Trust, Unreadable};

/// Text as the codec wants it.
pub fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_can_be_awaited_on_any_thread() {
        fn send<T: Send>(_: T) {}
        let client = Client::new(Config::parse("localhost:1", "test").unwrap());
        let partitions = [("a".to_string(), 0)];
        send(client.metadata(None));
        send(client.coordinator("group"));
        send(client.list_offsets(&partitions, At::Latest));
        send(client.create_topics(&[]));
        send(client.describe_topic_configs("a", &[]));
        send(client.describe_group("group"));
        send(client.request_topics(&[]));
        send(client.set_topic_configs("a", &Default::default()));
        send(client.remove_static_member("group", "a-0", "gone"));
        send(client.offset_fetch("group", Some(&partitions), true));
    }
}

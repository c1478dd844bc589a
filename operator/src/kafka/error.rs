//! Why Kafka didn't do what the operator asked, and what would mend it.

use std::fmt;

use faust_wire::ResponseError;

/// Each with the whole sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No answer: it is worth asking again.
    Unreachable(String),
    /// Kafka doesn't let us.
    AuthFailed(String),
    /// Kafka doesn't accept what was asked.
    Rejected(String),
}

impl Error {
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::AuthFailed(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(sentence) | Self::AuthFailed(sentence) | Self::Rejected(sentence) => f.write_str(sentence),
        }
    }
}

impl std::error::Error for Error {}

pub(super) fn of(error: &faust_wire::Error) -> Error {
    let sentence = match advice(error) {
        Some(advice) => format!("{error} – {advice}"),
        None => error.to_string(),
    };
    match error {
        error if error.is_refusal() => Error::AuthFailed(sentence),
        error if error.is_retriable() => Error::Unreachable(sentence),
        _ => Error::Rejected(sentence),
    }
}

fn advice(error: &faust_wire::Error) -> Option<&'static str> {
    use ResponseError::*;
    let known = [
        (InvalidReplicationFactor, "lower replicationFactor, or add brokers"),
        (InvalidPartitions, "correct the topic's partitions"),
        (InvalidConfig, "correct the topic's config"),
        (PolicyViolation, "the brokers' policy for topics has to allow it"),
        (TopicAuthorizationFailed, "allow the operator's user Describe, Create, DescribeConfigs and AlterConfigs on the topic"),
        (ClusterAuthorizationFailed, "allow the operator's user Create on the topics, or on the cluster"),
        (GroupAuthorizationFailed, "allow the operator's user Describe and Read on the group"),
    ];
    known.into_iter().find(|(code, _)| error.is(*code)).map(|(_, advice)| advice)
}

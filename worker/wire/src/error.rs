//! What goes wrong between us and Kafka, as sentences and as classes that callers act on.

use std::fmt;
use std::time::Duration;

use kafka_protocol::error::ResponseError;

/// Why a request has no good answer.
///
/// After `TimedOut` and `Closed` nothing is known about the request: the broker may have carried it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No connection could be made.
    Unreachable { address: String, reason: String },
    /// There is a connection, and one side doesn't accept what the other shows or says of itself.
    Untrusted { address: String, reason: String },
    /// The broker did not answer in time; its connection has been given up.
    TimedOut { address: String, api: &'static str, after: Duration },
    /// The connection ended before the answer.
    Closed { address: String, reason: String },
    /// Broker and client have no version of the request in common.
    Unsupported { address: String, api: &'static str, reason: String },
    /// The broker answered with an error.
    Kafka { api: &'static str, about: String, code: i16, message: Option<String> },
    /// What was sent or received is not what the protocol says.
    Protocol(String),
}

impl Error {
    /// `Ok` for code 0, else the error that a broker reported about something, such as ``topic `orders` ``.
    pub fn check(api: &'static str, code: i16, about: impl fmt::Display, message: Option<&str>) -> Result<(), Self> {
        if code == 0 {
            return Ok(());
        }
        let message = message.filter(|message| !message.is_empty()).map(str::to_string);
        Err(Self::Kafka { api, about: about.to_string(), code, message })
    }

    /// Kafka's error code, if it was the broker that said no.
    pub fn code(&self) -> Option<i16> {
        match self {
            Self::Kafka { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the broker said exactly this.
    pub fn is(&self, error: ResponseError) -> bool {
        self.code() == Some(error.code())
    }

    /// Whether the same request may succeed later, perhaps at another broker.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Closed { .. } => true,
            Self::Kafka { code, .. } => ResponseError::try_from_code(*code).is_some_and(|error| error.is_retriable()),
            Self::Untrusted { .. } | Self::Unsupported { .. } | Self::Protocol(_) => false,
        }
    }

    /// Whether Kafka knows who asks, or doesn't, and refuses for that reason; or whether we don't accept what it shows of itself.
    pub fn is_refusal(&self) -> bool {
        use ResponseError::*;
        if matches!(self, Self::Untrusted { .. }) {
            return true;
        }
        let refusals = [
            TopicAuthorizationFailed,
            GroupAuthorizationFailed,
            ClusterAuthorizationFailed,
            TransactionalIdAuthorizationFailed,
            DelegationTokenAuthorizationFailed,
            SaslAuthenticationFailed,
            UnsupportedSaslMechanism,
            IllegalSaslState,
        ];
        refusals.iter().any(|refusal| self.is(*refusal))
    }
}

/// A code's name as Kafka's documentation and logs write it, such as `NOT_COORDINATOR`.
pub fn kafka_name(code: i16) -> String {
    match ResponseError::try_from_code(code) {
        None => "NONE".to_string(),
        Some(ResponseError::Unknown(code)) => format!("UNKNOWN_ERROR_CODE_{code}"),
        Some(error) => {
            let mut name = String::new();
            for (i, c) in format!("{error:?}").char_indices() {
                if i > 0 && c.is_uppercase() {
                    name.push('_');
                }
                name.push(c.to_ascii_uppercase());
            }
            name
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { address, reason } => write!(f, "Kafka can't be reached at {address}: {reason}"),
            Self::Untrusted { address, reason } => write!(f, "no safe connection to Kafka at {address}: {reason}"),
            Self::TimedOut { address, api, after } => {
                write!(f, "Kafka at {address} did not answer {api} within {after:?}; the connection was given up")
            }
            Self::Closed { address, reason } => write!(f, "the connection to Kafka at {address} has ended: {reason}"),
            Self::Unsupported { address, api, reason } => {
                write!(f, "Kafka at {address} has no version of {api} that this program speaks: {reason}")
            }
            Self::Kafka { api, about, code, message } => {
                write!(f, "Kafka answered {api} for {about} with {} ({code})", kafka_name(*code))?;
                match (message, ResponseError::try_from_code(*code)) {
                    (Some(message), _) => write!(f, ": {message}"),
                    (None, Some(error)) => write!(f, ": {error}"),
                    (None, None) => Ok(()),
                }
            }
            Self::Protocol(what) => write!(f, "Kafka's protocol was not kept: {what}"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brokers_error_is_a_sentence_with_kafkas_own_name() {
        let error = Error::check("Metadata", 29, "topic `orders`", None).unwrap_err();
        let sentence = error.to_string();
        assert!(
            sentence.starts_with("Kafka answered Metadata for topic `orders` with TOPIC_AUTHORIZATION_FAILED (29): "),
            "{sentence}"
        );
        assert!(error.is_refusal() && !error.is_retriable());
        assert_eq!(kafka_name(1000), "UNKNOWN_ERROR_CODE_1000");
        assert_eq!(Error::check("Metadata", 0, "topic `orders`", None), Ok(()));
    }

    #[test]
    fn a_lost_connection_and_a_moved_leader_are_worth_another_try() {
        let closed = Error::Closed { address: "a:1".into(), reason: "reset".into() };
        let moved = Error::check("ListOffsets", ResponseError::NotLeaderOrFollower.code(), "topic `orders`", None).unwrap_err();
        assert!(closed.is_retriable() && moved.is_retriable());
        assert!(!Error::Protocol("garbage".into()).is_retriable());
    }
}

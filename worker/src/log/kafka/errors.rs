//! What librdkafka's error codes mean to a worker.

use std::ffi::{CStr, c_char};

use rdkafka::bindings::{rd_kafka_err2str, rd_kafka_resp_err_t as Code};

use crate::log::LogError;
use crate::time::TopicPartition;

/// A string that librdkafka lends, copied.
///
/// # Safety
///
/// `text` is null or a C string that is valid during the call.
pub(super) unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_string()
}

/// librdkafka's sentence for a code.
pub(super) fn describe(code: Code) -> String {
    // SAFETY: it returns a static string for every code.
    unsafe { text(rd_kafka_err2str(code)) }
}

/// An error met while reading `partition` at `offset`.
pub(super) fn reading(code: Code, why: String, partition: &TopicPartition, offset: i64) -> LogError {
    use Code::*;
    match code {
        // The position left the log: expired below, truncated or deleted and made anew above.
        RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET | RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE | RD_KAFKA_RESP_ERR__LOG_TRUNCATION => {
            LogError::OutOfRange { partition: partition.clone(), offset }
        }
        RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
        | RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
        | RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
        | RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID => LogError::UnknownTopic(partition.to_string()),
        _ => general(code, format!("{partition}: {why}")),
    }
}

pub(super) fn refused(why: &str) -> LogError {
    LogError::Refused(format!("Kafka refuses this worker: {why}; check its credentials and ACLs"))
}

/// An error of a client as a whole.
pub(super) fn general(code: Code, why: String) -> LogError {
    use Code::*;
    match code {
        RD_KAFKA_RESP_ERR__AUTHENTICATION
        | RD_KAFKA_RESP_ERR__SSL
        | RD_KAFKA_RESP_ERR__FATAL
        | RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED
        | RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
        | RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED
        | RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED => refused(&why),
        _ => LogError::Unavailable(why),
    }
}

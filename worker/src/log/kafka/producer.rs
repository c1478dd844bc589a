//! The producer: one idempotent client for the process; what became of its records is counted where they were sent.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::ptr::{self, NonNull};
use std::sync::{Arc, RwLock};

use rdkafka::bindings as ffi;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::bindings::rd_kafka_vtype_t as Part;

use super::client::Client;
use super::errors::{describe, text};
use crate::log::{Deliveries, Header, Outgoing, ProduceError, Producer, Row};
use crate::time::TopicPartition;

pub(super) struct KafkaProducer {
    topics: RwLock<HashMap<String, Topic, foldhash::fast::RandomState>>,
    max_record: usize,
    client: Arc<Client>,
}

impl KafkaProducer {
    pub fn new(client: Arc<Client>, max_record: usize) -> Self {
        Self { topics: RwLock::default(), max_record, client }
    }

    /// A client that doesn't know a new partition refuses to send there.
    pub fn refresh(&self) {
        // Where nobody answers nothing is sent either; the client asks again by itself.
        let _answered = self.client.refresh();
    }

    /// Why it will never send again. An idempotent producer ends when a broker has lost what it had acknowledged, as by an unclean
    /// election: what comes next would be out of order.
    pub fn broken(&self) -> Option<String> {
        let mut why = [0; 512];
        // SAFETY: the client lives, and writes a C string of at most this length.
        let code = unsafe { ffi::rd_kafka_fatal_error(self.client.ptr(), why.as_mut_ptr(), why.len()) };
        // SAFETY: it was written by the call, and was a string without characters before.
        (code != Code::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| unsafe { text(why.as_ptr()) })
    }

    #[cfg(test)]
    pub fn break_it(&self) {
        // SAFETY: the client lives, and copies the text.
        unsafe {
            ffi::rd_kafka_test_fatal_error(
                self.client.ptr(),
                Code::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
                c"on purpose".as_ptr(),
            );
        }
    }

    fn with_topic<T>(&self, name: &str, use_it: impl FnOnce(*mut ffi::rd_kafka_topic_t) -> T) -> Result<T, ProduceError> {
        if let Some(topic) = self.topics.read().unwrap().get(name) {
            return Ok(use_it(topic.0.as_ptr()));
        }
        let topic =
            Topic::new(&self.client, name).ok_or_else(|| ProduceError::Failed(format!("`{name}` can't be a topic's name")))?;
        Ok(use_it(self.topics.write().unwrap().entry(name.to_string()).or_insert(topic).0.as_ptr()))
    }

    fn check_size(&self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), ProduceError> {
        let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        if bytes > self.max_record { Err(ProduceError::TooLarge { bytes }) } else { Ok(()) }
    }
}

impl Producer for KafkaProducer {
    fn send(&self, record: Outgoing<'_>, delivery: &Arc<Deliveries>) -> Result<(), ProduceError> {
        self.check_size(record.key, record.value)?;
        let (key, value) = (parts(record.key), parts(record.value));
        let headers = headers(record.headers);
        let code = self.with_topic(record.topic, |topic| {
            delivery.expect(1);
            let opaque = lend(delivery, 1);
            // SAFETY: the types of the arguments are those that their tags ask for, the last tag ends them; client and topic live.
            // Key and value are copied, the headers are librdkafka's if the call succeeds.
            let code = unsafe {
                ffi::rd_kafka_producev(
                    self.client.ptr(),
                    Part::RD_KAFKA_VTYPE_RKT,
                    topic,
                    Part::RD_KAFKA_VTYPE_PARTITION,
                    record.partition as i32,
                    Part::RD_KAFKA_VTYPE_MSGFLAGS,
                    ffi::RD_KAFKA_MSG_F_COPY,
                    Part::RD_KAFKA_VTYPE_KEY,
                    key.0,
                    key.1,
                    Part::RD_KAFKA_VTYPE_VALUE,
                    value.0,
                    value.1,
                    Part::RD_KAFKA_VTYPE_TIMESTAMP,
                    record.timestamp.unwrap_or(0),
                    Part::RD_KAFKA_VTYPE_HEADERS,
                    headers,
                    Part::RD_KAFKA_VTYPE_OPAQUE,
                    opaque,
                    Part::RD_KAFKA_VTYPE_END,
                )
            };
            if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                // SAFETY: it was not taken, so that what was lent for it is still ours.
                unsafe { take_back(opaque, 1) };
                delivery.report(1, None, None);
            }
            code
        });
        let code = code.inspect_err(|_| destroy(headers))?;
        if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        destroy(headers);
        match code {
            Code::RD_KAFKA_RESP_ERR__QUEUE_FULL => Err(ProduceError::Full),
            other => Err(ProduceError::Failed(describe(other))),
        }
    }

    fn send_rows(&self, partition: &TopicPartition, rows: &[Row], delivery: &Arc<Deliveries>) -> Result<usize, ProduceError> {
        rows.iter().try_for_each(|row| self.check_size(Some(&row.key), row.value.as_deref()))?;
        if rows.is_empty() {
            return Ok(0);
        }
        delivery.expect(rows.len() as u64);
        let opaque = lend(delivery, rows.len());
        let mut messages: Vec<_> = rows.iter().map(|row| message(row, opaque)).collect();
        let taken = self.with_topic(&partition.topic, |topic| {
            // SAFETY: the topic lives; keys and values live during the call, which copies them.
            let taken = unsafe {
                ffi::rd_kafka_produce_batch(
                    topic,
                    partition.partition as i32,
                    ffi::RD_KAFKA_MSG_F_COPY,
                    messages.as_mut_ptr(),
                    messages.len() as i32,
                )
            };
            taken.max(0) as usize
        });
        let refused = rows.len() - *taken.as_ref().unwrap_or(&0);
        if refused > 0 {
            // SAFETY: so many were not taken, so that what was lent for them is still ours.
            unsafe { take_back(opaque, refused) };
            delivery.report(refused as u64, None, None);
        }
        // What is refused is so for the whole partition or because the buffer is full, so what is taken are the first ones.
        let taken = taken?;
        match messages.get(taken).map(|message| message.err) {
            Some(code) if code != Code::RD_KAFKA_RESP_ERR__QUEUE_FULL && taken == 0 => Err(ProduceError::Failed(describe(code))),
            _ => Ok(taken),
        }
    }
}

/// What one event says about records of one sender.
pub(super) struct Report {
    delivery: *mut c_void,
    records: usize,
    last_offset: Option<i64>,
    failure: Option<String>,
}

/// The reports in an event, neighbours of one sender together.
///
/// # Safety
///
/// The event lives, and is asked this once.
pub(super) unsafe fn reports(event: NonNull<ffi::rd_kafka_event_t>) -> Vec<Report> {
    // SAFETY: the event lives, and lends as many messages as it counts.
    let messages = unsafe {
        let mut messages = vec![ptr::null(); ffi::rd_kafka_event_message_count(event.as_ptr())];
        let count = ffi::rd_kafka_event_message_array(event.as_ptr(), messages.as_mut_ptr(), messages.len());
        messages.truncate(count);
        messages
    };
    // SAFETY: the messages live as long as the event.
    let messages: Vec<&ffi::rd_kafka_message_t> = messages.into_iter().map(|message| unsafe { &*message }).collect();
    messages.chunk_by(|a, b| a._private == b._private).map(report).collect()
}

fn report(records: &[&ffi::rd_kafka_message_t]) -> Report {
    let is_delivered = |record: &&&ffi::rd_kafka_message_t| record.err == Code::RD_KAFKA_RESP_ERR_NO_ERROR;
    let failure = records.iter().find(|record| !is_delivered(record)).map(|record| {
        // SAFETY: the record's topic lives as long as it.
        let topic = unsafe { text(ffi::rd_kafka_topic_name(record.rkt)) };
        format!("{topic}[{}]: a record was not delivered: {}", record.partition, describe(record.err))
    });
    let last_offset = records.iter().filter(is_delivered).map(|record| record.offset).max();
    Report { delivery: records[0]._private, records: records.len(), last_offset, failure }
}

impl Report {
    /// Tells it to the sender. Only when the event is gone: its records take their places in the buffer till then.
    pub fn tell(self) {
        // SAFETY: what was lent for a record comes back with its report, once.
        unsafe {
            (*self.delivery.cast::<Deliveries>()).report(self.records as u64, self.last_offset, self.failure);
            take_back(self.delivery, self.records);
        }
    }
}

/// `n` references to the deliveries, as the opaque pointers that librdkafka gives back with `n` reports.
fn lend(delivery: &Arc<Deliveries>, n: usize) -> *mut c_void {
    let lent = Arc::as_ptr(delivery);
    for _ in 0..n {
        // SAFETY: it comes from an `Arc` that lives.
        unsafe { Arc::increment_strong_count(lent) };
    }
    lent.cast_mut().cast()
}

/// # Safety
///
/// `n` references of these were lent and have not been taken back.
unsafe fn take_back(lent: *mut c_void, n: usize) {
    for _ in 0..n {
        // SAFETY: the caller's promise.
        unsafe { Arc::decrement_strong_count(lent.cast::<Deliveries>().cast_const()) };
    }
}

fn message(row: &Row, opaque: *mut c_void) -> ffi::rd_kafka_message_t {
    let (key, key_len) = parts(Some(&row.key));
    let (payload, len) = parts(row.value.as_deref());
    ffi::rd_kafka_message_t {
        err: Code::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: ptr::null_mut(),
        partition: 0,
        payload,
        len,
        key,
        key_len,
        offset: 0,
        _private: opaque,
    }
}

/// Empty is a pointer to nothing, none is no pointer: librdkafka tells them apart.
fn parts(bytes: Option<&[u8]>) -> (*mut c_void, usize) {
    bytes.map_or((ptr::null_mut(), 0), |bytes| (bytes.as_ptr().cast_mut().cast(), bytes.len()))
}

fn headers(headers: &[Header]) -> *mut ffi::rd_kafka_headers_t {
    if headers.is_empty() {
        return ptr::null_mut();
    }
    // SAFETY: names and values live during the calls, which copy them.
    unsafe {
        let list = ffi::rd_kafka_headers_new(headers.len());
        for (name, value) in headers {
            let (value, len) = parts(value.as_deref());
            ffi::rd_kafka_header_add(list, name.as_ptr().cast(), name.len() as isize, value, len as isize);
        }
        list
    }
}

fn destroy(headers: *mut ffi::rd_kafka_headers_t) {
    if !headers.is_null() {
        // SAFETY: the headers are ours and not used afterwards.
        unsafe { ffi::rd_kafka_headers_destroy(headers) }
    }
}

/// A topic's handle: looked up once, not per record.
struct Topic(NonNull<ffi::rd_kafka_topic_t>);

// SAFETY: librdkafka's topics may be used from any thread.
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

impl Topic {
    fn new(client: &Client, name: &str) -> Option<Self> {
        let name = CString::new(name).ok()?;
        // SAFETY: the client lives, and outlives the handle: the producer holds both and drops the handles first.
        NonNull::new(unsafe { ffi::rd_kafka_topic_new(client.ptr(), name.as_ptr(), ptr::null_mut()) }).map(Self)
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the handle is ours.
        unsafe { ffi::rd_kafka_topic_destroy(self.0.as_ptr()) }
    }
}

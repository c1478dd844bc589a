//! The fetch of one partition: its own queue, split off before the partition is assigned.
//!
//! A queue that is split off after the assignment has already lost to the main queue what was fetched until then. Splitting again
//! is free, and right also when the topic was made anew, so every fetch does it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdkafka::bindings as ffi;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Client, Queue};
use super::errors::{self, text};
use super::message::{Loans, Message};
use crate::log::{Fetch, LogError, Record, Wake};
use crate::time::TopicPartition;

/// How many messages are taken from librdkafka in one call.
const BATCH: usize = 256;

pub(super) struct KafkaFetch {
    client: Arc<Client>,
    partition: TopicPartition,
    position: i64,
    /// An error that came behind records: told when these have been taken.
    error: Option<LogError>,
    queue: Queue,
    /// What the queue's callback points to.
    wake: Option<Box<Wake>>,
    loans: Loans,
}

impl KafkaFetch {
    pub fn start(client: &Arc<Client>, partition: &TopicPartition, start: i64) -> Result<Self, LogError> {
        if start < 0 {
            return Err(LogError::OutOfRange { partition: partition.clone(), offset: start });
        }
        if !client.claim(partition) {
            return Err(LogError::Unavailable(format!("{partition} is being read already")));
        }
        Self::assign(client, partition, start).inspect_err(|_| client.release(partition))
    }

    fn assign(client: &Arc<Client>, partition: &TopicPartition, start: i64) -> Result<Self, LogError> {
        let queue = split(client, partition).ok_or_else(|| LogError::UnknownTopic(partition.to_string()))?;
        discard(&queue);
        let list = list(partition, Offset::Offset(start));
        // SAFETY: client and list live during the call.
        unsafe { check(ffi::rd_kafka_incremental_assign(client.ptr(), list.ptr())) }
            .map_err(|(code, why)| errors::reading(code, why, partition, start))?;
        Ok(Self {
            client: client.clone(),
            partition: partition.clone(),
            position: start,
            error: None,
            queue,
            wake: None,
            loans: Loans::new(client.clone()),
        })
    }

    /// Takes one batch; what isn't a record is dealt with here. Returns how many messages there were.
    fn take(&mut self, max: usize, out: &mut VecDeque<Record>) -> usize {
        let mut batch = [ptr::null_mut(); BATCH];
        let taken = consume(&self.queue, &mut batch[..max.min(BATCH)]);
        if let Some((code, why)) = TOLD.take() {
            self.fail(code, why);
        }
        self.loans.lend(taken.len());
        let before = out.len();
        for &mut raw in taken.iter_mut() {
            // SAFETY: a message that was just taken, and is ours.
            let (code, offset) = unsafe { (raw.as_ref().err, raw.as_ref().offset) };
            if code as i32 == 0 && offset >= self.position {
                // SAFETY: a message without error, lent above.
                out.push_back(Record::kafka(unsafe { Message::new(raw, &self.loans) }));
                self.position = offset + 1;
                continue;
            }
            match code {
                Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
                // Behind gaps, aborted records and markers.
                Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => self.position = self.position.max(offset),
                // SAFETY: the message lives, and lends its text.
                _ => self.fail(code, unsafe { text(ffi::rd_kafka_message_errstr(raw.as_ptr())) }),
            }
            // SAFETY: the message is ours and not used afterwards.
            unsafe { ffi::rd_kafka_message_destroy(raw.as_ptr()) };
        }
        let records = out.len() - before;
        if records < taken.len() {
            self.loans.take_back(taken.len() - records);
        }
        taken.len()
    }

    fn fail(&mut self, code: Code, why: String) {
        let error = errors::reading(code, why, &self.partition, self.position);
        self.error.get_or_insert(error);
    }

    fn set_callback(&mut self, wake: Option<Box<Wake>>) {
        unsafe extern "C" fn ready(_: *mut ffi::rd_kafka_t, wake: *mut c_void) {
            // SAFETY: it points to the boxed `wake` of a fetch, which goes only after the callback has been taken away.
            unsafe { (*wake.cast::<Wake>())() }
        }
        let (callback, opaque) = match &wake {
            Some(wake) => (Some(ready as _), ptr::from_ref::<Wake>(wake).cast_mut().cast()),
            None => (None, ptr::null_mut()),
        };
        // SAFETY: the queue lives. librdkafka changes and calls the callback under the queue's lock, so that after this call the
        // old one neither runs nor comes again, and its box may go.
        unsafe { ffi::rd_kafka_queue_cb_event_enable(self.queue.ptr(), callback, opaque) };
        self.wake = wake;
    }

    /// Undoes the split, by which records go where no fetch looks for them.
    #[cfg(test)]
    pub fn leads_astray(&self) {
        // SAFETY: the client and its queues live.
        unsafe {
            let main = Queue::from_raw(ffi::rd_kafka_queue_get_consumer(self.client.ptr())).expect("a consumer");
            ffi::rd_kafka_queue_forward(self.queue.ptr(), main.ptr());
        }
    }

    /// Messages that wait.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        // SAFETY: the queue lives.
        unsafe { ffi::rd_kafka_queue_length(self.queue.ptr()) }
    }

    fn id(&self) -> usize {
        self.queue.ptr() as usize
    }
}

impl Fetch for KafkaFetch {
    fn poll(&mut self, max: usize, out: &mut VecDeque<Record>) -> Result<(), LogError> {
        // Records behind a stray one may have been handed out before it was heard of: what its reader does now makes up for them.
        if let Some(offset) = self.client.astray(&self.partition) {
            return Err(LogError::Astray { partition: self.partition.clone(), offset });
        }
        let before = out.len();
        loop {
            let wanted = max - (out.len() - before);
            let taken = self.take(wanted, out);
            if taken < BATCH || wanted <= BATCH {
                break;
            }
        }
        if out.len() > before {
            return Ok(());
        }
        match self.error.take().or_else(|| self.client.trouble()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn position(&self) -> i64 {
        self.position
    }

    fn on_ready(&mut self, wake: Wake) {
        self.client.wake_on_trouble(self.id(), Some(wake.clone()));
        self.set_callback(Some(Box::new(wake)));
    }
}

impl Drop for KafkaFetch {
    fn drop(&mut self) {
        self.client.wake_on_trouble(self.id(), None);
        self.set_callback(None);
        let list = list(&self.partition, Offset::Invalid);
        // SAFETY: client and list live during the call.
        if let Err((_, why)) = unsafe { check(ffi::rd_kafka_incremental_unassign(self.client.ptr(), list.ptr())) } {
            tracing::warn!("{}: the fetch did not end: {why}", self.partition);
        }
        // They are outdated now and would pin their fetch responses until somebody reads the partition again.
        discard(&self.queue);
        self.client.release(&self.partition);
    }
}

thread_local! {
    static TOLD: Cell<Option<(Code, String)>> = const { Cell::new(None) };
}

/// librdkafka hands most of a partition's errors out as messages, but some – that the topic has gone, that it may not be read – to
/// this callback, on the thread that takes messages and during that call.
pub(super) unsafe extern "C" fn on_error(_: *mut ffi::rd_kafka_t, code: c_int, why: *const c_char, _: *mut c_void) {
    // SAFETY: librdkafka lends the text for the call.
    TOLD.set(Some((Code::try_from(code).unwrap_or(Code::RD_KAFKA_RESP_ERR_UNKNOWN), unsafe { text(why) })));
}

/// Splits the partition off the consumer's main queue; `None` for a name that no topic can have.
fn split(client: &Client, partition: &TopicPartition) -> Option<Queue> {
    let topic = CString::new(partition.topic.as_str()).ok()?;
    // SAFETY: the client lives, and outlives the queue: the fetch that holds the one holds the other. Forwarding to nowhere ends
    // the forwarding to the main queue.
    unsafe {
        let raw = ffi::rd_kafka_queue_get_partition(client.ptr(), topic.as_ptr(), partition.partition as i32);
        let queue = Queue::from_raw(raw)?;
        ffi::rd_kafka_queue_forward(queue.ptr(), ptr::null_mut());
        Some(queue)
    }
}

/// Takes what is there without waiting. The messages are the caller's to destroy.
fn consume<'a>(queue: &Queue, batch: &'a mut [*mut ffi::rd_kafka_message_t]) -> &'a mut [NonNull<ffi::rd_kafka_message_t>] {
    // SAFETY: `batch` has room for as many pointers as it is long.
    let taken = unsafe { ffi::rd_kafka_consume_batch_queue(queue.ptr(), 0, batch.as_mut_ptr(), batch.len()) };
    let taken = &mut batch[..usize::try_from(taken).unwrap_or(0)];
    // SAFETY: the pointers that librdkafka has filled in are not null, and `NonNull` has a pointer's layout.
    unsafe { &mut *(ptr::from_mut(taken) as *mut [NonNull<ffi::rd_kafka_message_t>]) }
}

fn discard(queue: &Queue) {
    let mut batch = [ptr::null_mut(); BATCH];
    loop {
        let taken = consume(queue, &mut batch);
        if taken.is_empty() {
            TOLD.take();
            return;
        }
        for message in taken {
            // SAFETY: the message is ours and not used afterwards.
            unsafe { ffi::rd_kafka_message_destroy(message.as_ptr()) };
        }
    }
}

fn list(partition: &TopicPartition, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition_offset(&partition.topic, partition.partition as i32, offset).expect("an offset that librdkafka has");
    list
}

/// # Safety
///
/// `error` is null or an error that is given to this call.
unsafe fn check(error: *mut ffi::rd_kafka_error_t) -> Result<(), (Code, String)> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the error lives until it is destroyed; its text is copied before.
    unsafe {
        let told = (ffi::rd_kafka_error_code(error), text(ffi::rd_kafka_error_string(error)));
        ffi::rd_kafka_error_destroy(error);
        Err(told)
    }
}

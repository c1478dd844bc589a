//! A librdkafka client with a thread of its own, which hears what the client has to say: errors, log lines, delivery reports.
//!
//! The client lives as long as anybody holds it. The thread holds it too, sees that it is the last one and destroys it, which
//! blocks for a while: so nobody else ever waits for that.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{c_char, c_int};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use faust_wire::{Sasl, SecretFile, Security};
use rdkafka::bindings as ffi;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaType;

use super::errors::{self, text};
use super::fetch;
use super::producer::{self, Report};
use super::{socket, token};
use crate::log::{LogError, Wake};
use crate::rt::Rt;
use crate::time::TopicPartition;

const POLL_MILLIS: c_int = 100;

/// How long the brokers have to answer when a client doubts that they are there.
const PROBE_MILLIS: c_int = 3_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Consumer,
    Producer,
}

pub(super) struct Client {
    name: &'static str,
    kind: Kind,
    native: rdkafka::client::Client<DefaultClientContext>,
    troubled: AtomicBool,
    trouble: Mutex<Option<LogError>>,
    sleepers: Mutex<BTreeMap<usize, Wake>>,
    /// Where the token of OAUTHBEARER is.
    token: Option<SecretFile>,
    /// What is being read: a second reader would take from the first one's queue.
    reading: Mutex<BTreeSet<TopicPartition>>,
    /// The first record of each partition that came outside of its queue. Partitions are split before they are assigned, so there is
    /// none; if there is one all the same, its reader begins anew.
    astray: Mutex<BTreeMap<TopicPartition, i64>>,
    has_astray: AtomicBool,
}

impl Client {
    pub fn start(
        name: &'static str,
        kind: Kind,
        properties: &[(String, String)],
        security: &Security,
    ) -> Result<Arc<Self>, LogError> {
        let secured = security.properties().map_err(|unreadable| LogError::Config(unreadable.to_string()))?;
        let mut config: ClientConfig = properties.iter().cloned().collect();
        for (key, value) in secured {
            config.set(key, value);
        }
        let token = match &security.sasl {
            Some(Sasl::OAuthBearer(file)) => Some(file.clone()),
            _ => None,
        };
        let client = Arc::new(Self::connect(name, kind, config, token).map_err(|error| LogError::Config(without_value(error)))?);
        let main = Queue::main(&client);
        let owner = client.clone();
        // Nobody waits for its end: it ends when the last holder of the client has gone.
        drop(Rt::threads().start(name, move || Box::pin(async move { serve(owner, main) })));
        Ok(client)
    }

    fn connect(
        name: &'static str,
        kind: Kind,
        mut config: ClientConfig,
        token: Option<SecretFile>,
    ) -> rdkafka::error::KafkaResult<Self> {
        config.set_log_level(RDKafkaLogLevel::Info);
        let native = config.create_native_config()?;
        let (kind_of, events) = match kind {
            Kind::Consumer => (RDKafkaType::RD_KAFKA_CONSUMER, ffi::RD_KAFKA_EVENT_ERROR),
            Kind::Producer => (RDKafkaType::RD_KAFKA_PRODUCER, ffi::RD_KAFKA_EVENT_ERROR | ffi::RD_KAFKA_EVENT_DR),
        };
        let events = events | ffi::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH;
        // SAFETY: the configuration is valid and not in use yet. The log callback is for what librdkafka doesn't hand to our thread
        // (while it closes), and writes to stderr otherwise.
        unsafe {
            ffi::rd_kafka_conf_set_events(native.ptr(), events);
            ffi::rd_kafka_conf_set_log_cb(native.ptr(), Some(log_directly));
            ffi::rd_kafka_conf_set_error_cb(native.ptr(), Some(fetch::on_error));
            if kind == Kind::Producer {
                ffi::rd_kafka_conf_set_socket_cb(native.ptr(), Some(socket::that_delivers_nothing_late));
            }
        }
        let native = rdkafka::client::Client::new(&config, native, kind_of, DefaultClientContext)?;
        if kind == Kind::Consumer {
            // SAFETY: the client is a consumer with a group id; from here on its one main queue has errors and stray records alike.
            unsafe { ffi::rd_kafka_poll_set_consumer(native.native_ptr()) };
        }
        let (troubled, trouble, sleepers) = (AtomicBool::new(false), Mutex::default(), Mutex::default());
        Ok(Self {
            name,
            kind,
            native,
            troubled,
            trouble,
            sleepers,
            token,
            reading: Mutex::default(),
            astray: Mutex::default(),
            has_astray: AtomicBool::new(false),
        })
    }

    pub fn ptr(&self) -> *mut ffi::rd_kafka_t {
        self.native.native_ptr()
    }

    /// Whether the partition had no reader; it has one now, until `release`.
    pub fn claim(&self, partition: &TopicPartition) -> bool {
        let mut reading = self.reading.lock().unwrap();
        let is_free = reading.insert(partition.clone());
        if is_free {
            self.astray.lock().unwrap().remove(partition);
        }
        is_free
    }

    pub fn release(&self, partition: &TopicPartition) {
        self.reading.lock().unwrap().remove(partition);
    }

    /// The first record of the partition that its reader will never see, if there is one.
    pub fn astray(&self, partition: &TopicPartition) -> Option<i64> {
        if self.has_astray.load(Ordering::Acquire) { self.astray.lock().unwrap().get(partition).copied() } else { None }
    }

    fn lose(&self, partition: TopicPartition, offset: i64) {
        tracing::error!("{}: record {offset} of {partition} came outside of the partition's queue, which is read anew", self.name);
        self.astray.lock().unwrap().entry(partition).or_insert(offset);
        self.has_astray.store(true, Ordering::Release);
        self.sleepers.lock().unwrap().values().for_each(|wake| wake());
    }

    /// Why nothing comes at the moment, if the client knows.
    pub fn trouble(&self) -> Option<LogError> {
        if self.troubled.load(Ordering::Relaxed) { self.trouble.lock().unwrap().clone() } else { None }
    }

    /// Whoever sleeps until records come is also woken when trouble begins or ends. `who` is the caller's own choice.
    pub fn wake_on_trouble(&self, who: usize, wake: Option<Wake>) {
        let mut sleepers = self.sleepers.lock().unwrap();
        match wake {
            Some(wake) => sleepers.insert(who, wake),
            None => sleepers.remove(&who),
        };
    }

    fn set_trouble(&self, trouble: Option<LogError>) {
        let mut known = self.trouble.lock().unwrap();
        if *known == trouble {
            return;
        }
        match &trouble {
            Some(error) => tracing::warn!(target: "librdkafka", "{}: {error}", self.name),
            None => tracing::info!(target: "librdkafka", "{}: the brokers answer again", self.name),
        }
        self.troubled.store(trouble.is_some(), Ordering::Relaxed);
        *known = trouble;
        drop(known);
        self.sleepers.lock().unwrap().values().for_each(|wake| wake());
    }

    /// Asks the brokers for anything: librdkafka says when all of them have gone, but not when one is back, and it says so too
    /// when a single idle connection was closed. For all topics, because asked for those it has in use it lets the broker create
    /// one that was deleted, whatever `allow.auto.create.topics` says.
    fn probe(&self, trouble: LogError) {
        self.set_trouble(if self.refresh() { None } else { Some(trouble) });
    }

    /// Asks for all topics, by which the client learns of new partitions at once and not within minutes; whether it was answered.
    pub fn refresh(&self) -> bool {
        let mut metadata = ptr::null();
        // SAFETY: the client lives; the answer is destroyed at once.
        let code = unsafe { ffi::rd_kafka_metadata(self.ptr(), 1, ptr::null_mut(), &mut metadata, PROBE_MILLIS) };
        let answered = code as i32 == 0;
        if answered {
            // SAFETY: the answer is ours.
            unsafe { ffi::rd_kafka_metadata_destroy(metadata) };
        }
        answered
    }

    fn hear(&self, event: Event) {
        match event.kind() {
            ffi::RD_KAFKA_EVENT_DR => {
                // SAFETY: the event lives, and is asked once.
                let reports = unsafe { producer::reports(event.0) };
                drop(event);
                reports.into_iter().for_each(Report::tell);
            }
            ffi::RD_KAFKA_EVENT_LOG => event.log(self.name),
            ffi::RD_KAFKA_EVENT_ERROR => {
                let (code, why) = event.error();
                match errors::general(code, why) {
                    away @ LogError::Unavailable(_) if code == ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN => {
                        self.probe(away);
                    }
                    // One broker may refuse what others take, and a token that could not be renewed yet may still be good.
                    refused @ LogError::Refused(_) => self.probe(refused),
                    other => tracing::warn!(target: "librdkafka", "{}: {other}", self.name),
                }
            }
            ffi::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH => {
                if let Some(file) = &self.token {
                    token::hand_over(self.ptr(), file);
                }
            }
            ffi::RD_KAFKA_EVENT_FETCH => event.records().for_each(|(partition, offset)| self.lose(partition, offset)),
            other => tracing::debug!("{}: unexpected event {other}", self.name),
        }
    }

    fn has_unreported_records(&self) -> bool {
        // SAFETY: the client lives.
        self.kind == Kind::Producer && unsafe { ffi::rd_kafka_outq_len(self.ptr()) } > 0
    }
}

/// Values may be secrets.
fn without_value(error: KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, why, key, _) => format!("`{key}`: {why}"),
        other => other.to_string(),
    }
}

/// The client's thread. Records that a producer still has when the last holder goes are seen through first; they end by
/// themselves, delivered or timed out.
fn serve(client: Arc<Client>, main: Queue) {
    while Arc::strong_count(&client) > 1 || client.has_unreported_records() {
        match main.next() {
            Some(event) => client.hear(event),
            None => {
                if let Some(trouble) = client.trouble() {
                    client.probe(trouble);
                }
            }
        }
    }
    drop(main);
    drop(client);
}

/// A queue of a client. Must not outlive it.
pub(super) struct Queue(NonNull<ffi::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for Queue {}

impl Queue {
    /// # Safety
    ///
    /// `raw` is null or a queue handle that is given to this value.
    pub unsafe fn from_raw(raw: *mut ffi::rd_kafka_queue_t) -> Option<Self> {
        NonNull::new(raw).map(Self)
    }

    fn main(client: &Client) -> Self {
        // SAFETY: the client lives, and the handles are new ones. A consumer with a group id has both queues.
        unsafe {
            let raw = match client.kind {
                Kind::Consumer => ffi::rd_kafka_queue_get_consumer(client.ptr()),
                Kind::Producer => ffi::rd_kafka_queue_get_main(client.ptr()),
            };
            Self::from_raw(raw).expect("a client has a main queue")
        }
    }

    pub fn ptr(&self) -> *mut ffi::rd_kafka_queue_t {
        self.0.as_ptr()
    }

    fn next(&self) -> Option<Event> {
        // SAFETY: the queue lives; the event is a new one.
        NonNull::new(unsafe { ffi::rd_kafka_queue_poll(self.ptr(), POLL_MILLIS) }).map(Event)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the handle is ours.
        unsafe { ffi::rd_kafka_queue_destroy(self.ptr()) }
    }
}

struct Event(NonNull<ffi::rd_kafka_event_t>);

impl Event {
    fn kind(&self) -> c_int {
        // SAFETY: the event lives.
        unsafe { ffi::rd_kafka_event_type(self.0.as_ptr()) }
    }

    fn error(&self) -> (ffi::rd_kafka_resp_err_t, String) {
        // SAFETY: the event lives, and lends its text.
        unsafe { (ffi::rd_kafka_event_error(self.0.as_ptr()), text(ffi::rd_kafka_event_error_string(self.0.as_ptr()))) }
    }

    fn records(&self) -> impl Iterator<Item = (TopicPartition, i64)> {
        std::iter::from_fn(|| {
            // SAFETY: the event lives, and lends its messages and their topics.
            let message = unsafe { ffi::rd_kafka_event_message_next(self.0.as_ptr()).as_ref() }?;
            // SAFETY: as above.
            let topic = unsafe { text(ffi::rd_kafka_topic_name(message.rkt)) };
            Some((TopicPartition::new(topic, message.partition as u32), message.offset))
        })
    }

    fn log(&self, client: &str) {
        let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the event lives; facility and line are lent by it and copied.
        unsafe {
            if ffi::rd_kafka_event_log(self.0.as_ptr(), &mut facility, &mut line, &mut level) == 0 {
                log(client, level, &text(facility), &text(line));
            }
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is ours.
        unsafe { ffi::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

unsafe extern "C" fn log_directly(client: *const ffi::rd_kafka_t, level: c_int, facility: *const c_char, line: *const c_char) {
    // SAFETY: librdkafka lends all of them for the call.
    unsafe { log(&text(ffi::rd_kafka_name(client)), level, &text(facility), &text(line)) }
}

/// `level` is syslog's.
fn log(client: &str, level: c_int, facility: &str, line: &str) {
    match level {
        ..=3 => tracing::error!(target: "librdkafka", "{client}: {facility} {line}"),
        4 => tracing::warn!(target: "librdkafka", "{client}: {facility} {line}"),
        5..=6 => tracing::info!(target: "librdkafka", "{client}: {facility} {line}"),
        _ => tracing::debug!(target: "librdkafka", "{client}: {facility} {line}"),
    }
}

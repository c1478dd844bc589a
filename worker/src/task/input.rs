//! From fetched records to events: a task's inputs, as its agents ask for them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

use super::tracker::OffsetTracker;
use super::{Phase, Task, TaskTable, Verdict};
use crate::codec;
use crate::log::{Fetch, LogError, Record};
use crate::model::{Key, Value};
use crate::settings::OnDecodeError;
use crate::status::{DropReason, InputMeter};
use crate::stream::Event;
use crate::time::TopicPartition;

/// Records taken from the log at a time.
const BATCH: usize = 256;

/// Events in a row before the agent lets others on the shard run, or a full queue would starve commits and timers. A batch, so that
/// what is read ahead for it is still in the processor's cache when it is used.
const BUDGET: u32 = BATCH as u32;

/// After how many batches it is tried again to read rows ahead by the records' keys, when few of them were the keys of rows.
const TRY_AGAIN: u32 = 64;

/// One input partition under one epoch.
pub(super) struct Feed {
    pub partition: TopicPartition,
    pub tracker: RefCell<OffsetTracker>,
    /// None when the epoch is over.
    pub fetch: RefCell<Option<Box<dyn Fetch>>>,
    pub buffer: RefCell<VecDeque<Record>>,
    /// The agent that reads it; shared by all inputs of one agent.
    pub seat: Rc<Seat>,
    pub waker: Arc<AtomicWaker>,
    pub meter: Arc<InputMeter>,
    pub on_decode_error: OnDecodeError,
    /// The first offset of this epoch.
    pub start: i64,
    budget: Cell<u32>,
    /// So many batches are not worth reading rows ahead for.
    strangers: Cell<u32>,
    /// Kafka could not be reached when this was last asked for records.
    away: Cell<bool>,
    /// Stopped for good: nothing comes any more in this epoch.
    stopped: Cell<bool>,
}

/// An agent in a task.
pub(super) struct Seat {
    pub agent: &'static str,
    /// In the middle of an event, or of its own preparations.
    pub busy: Cell<bool>,
}

impl Feed {
    pub fn new(
        partition: TopicPartition,
        start: i64,
        mut fetch: Box<dyn Fetch>,
        seat: Rc<Seat>,
        meter: Arc<InputMeter>,
        on_decode_error: OnDecodeError,
    ) -> Self {
        let waker = Arc::new(AtomicWaker::new());
        let wake = waker.clone();
        fetch.on_ready(Arc::new(move || wake.wake()));
        Self {
            partition,
            tracker: RefCell::new(OffsetTracker::new(start)),
            fetch: RefCell::new(Some(fetch)),
            buffer: RefCell::default(),
            seat,
            waker,
            meter,
            on_decode_error,
            start,
            budget: Cell::new(BUDGET),
            strangers: Cell::new(0),
            away: Cell::new(false),
            stopped: Cell::new(false),
        }
    }

    /// The next record, or a promise to be woken.
    fn poll_record(&self, cx: &Context<'_>, tables: &[TaskTable]) -> Poll<Result<Record, LogError>> {
        let mut buffer = self.buffer.borrow_mut();
        if let Some(record) = buffer.pop_front() {
            return Poll::Ready(Ok(record));
        }
        // Registered before the look, so that what comes in between wakes.
        self.waker.register(cx.waker());
        let mut fetch = self.fetch.borrow_mut();
        let Some(fetch) = fetch.as_mut() else { return Poll::Pending };
        if let Err(error) = fetch.poll(BATCH, &mut buffer) {
            return Poll::Ready(Err(error));
        }
        self.read_ahead(&buffer, tables);
        match buffer.pop_front() {
            Some(record) => Poll::Ready(Ok(record)),
            None => Poll::Pending,
        }
    }

    /// Most tables have rows under the keys of the records that change them: these are looked up for the whole batch at once, which
    /// spares each event the wait for memory.
    fn read_ahead(&self, records: &VecDeque<Record>, tables: &[TaskTable]) {
        if records.is_empty() || tables.is_empty() {
            return;
        }
        if let Some(fewer) = self.strangers.get().checked_sub(1) {
            return self.strangers.set(fewer);
        }
        let keys = || records.iter().filter_map(Record::key);
        let known = tables.iter().map(|table| table.overlay.warm(&mut keys())).max().unwrap_or(0);
        if known * 4 < records.len() {
            self.strangers.set(TRY_AGAIN);
        }
    }

    /// Ends the fetch: a future that the agent has spawned may keep an event, and with it the task, longer than the partition is ours.
    pub fn close(&self) {
        self.fetch.take();
        self.buffer.take();
    }
}

/// An input in the hands of one stream, and of its events.
pub(crate) struct Input {
    task: Rc<Task>,
    index: usize,
    pub partition: TopicPartition,
    pub epoch: u64,
}

impl Input {
    pub(super) fn new(task: &Rc<Task>, topic: &str) -> Rc<Self> {
        let index = task.feeds.iter().position(|feed| feed.partition.topic == topic).expect("a declared topic is in the task");
        let partition = task.feeds[index].partition.clone();
        Rc::new(Self { task: task.clone(), index, partition, epoch: task.epoch })
    }

    fn feed(&self) -> &Feed {
        &self.task.feeds[self.index]
    }

    /// The agent asks for more: what it dropped is done, a commit may freeze here, and if there is a record it becomes an event.
    pub(crate) fn poll_event<K: Key, V: Value>(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<Option<Event<K, V>>> {
        let (task, feed) = (&self.task, self.feed());
        feed.tracker.borrow_mut().ask();
        feed.seat.busy.set(false);
        task.boundary();
        if task.phase.get() != Phase::Running {
            return Poll::Ready(None);
        }
        if feed.stopped.get() || task.gathers() || !task.feeding() {
            feed.waker.register(cx.waker());
            return Poll::Pending;
        }
        loop {
            if feed.budget.get() == 0 {
                feed.budget.set(BUDGET);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            feed.budget.set(feed.budget.get() - 1);
            let record = match feed.poll_record(cx, &task.tables) {
                Poll::Ready(Ok(record)) => record,
                // The client reconnects by itself; what is in the overlays is still good.
                Poll::Ready(Err(error @ LogError::Unavailable(_))) => {
                    feed.away.set(true);
                    task.meter.away(error.to_string());
                    feed.budget.set(BUDGET);
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => {
                    self.fail_to_read(error);
                    feed.waker.register(cx.waker());
                    return Poll::Pending;
                }
                Poll::Pending => {
                    self.kafka_answers();
                    feed.budget.set(BUDGET);
                    return Poll::Pending;
                }
            };
            self.kafka_answers();
            if record.offset < feed.start {
                // Of an earlier fetch of this partition: dropped by construction, and read again if it is ours to read.
                continue;
            }
            feed.meter.saw(record.offset);
            match decode::<K, V>(&record) {
                Ok((key, value)) => {
                    feed.tracker.borrow_mut().hand_out(record.offset);
                    feed.seat.busy.set(true);
                    feed.meter.records.add(1);
                    task.shard.count_event();
                    let headers = record.headers();
                    return Poll::Ready(Some(Event::new(key, value, record.timestamp, headers, self.clone(), record.offset)));
                }
                Err(why) => {
                    if !self.refuse(&record, why) {
                        feed.waker.register(cx.waker());
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn kafka_answers(&self) {
        if self.feed().away.replace(false) {
            self.task.meter.back();
        }
    }

    pub(crate) fn release(&self, offset: i64) {
        self.feed().tracker.borrow_mut().release(offset);
    }

    pub(crate) fn acknowledge(&self, offset: i64) {
        self.feed().tracker.borrow_mut().acknowledge(offset);
    }

    /// A record that doesn't decode; true if it was skipped and the next one may come.
    fn refuse(&self, record: &Record, why: String) -> bool {
        let feed = self.feed();
        let sentence = format!("{}@{}: {why}", feed.partition, record.offset);
        match feed.on_decode_error {
            OnDecodeError::Skip => {
                feed.meter.dropped(DropReason::Decode, 1);
                tracing::warn!("{sentence}; skipped, as `on-decode-error` says");
                feed.tracker.borrow_mut().pass(record.offset);
                true
            }
            OnDecodeError::Pause => {
                feed.stopped.set(true);
                let sentence = format!("{sentence}; the partition waits here: mend the type, or set `on-decode-error` to skip");
                self.task.meter.pause(sentence);
                false
            }
            OnDecodeError::Fail => {
                feed.stopped.set(true);
                self.task.judge(Verdict::Fail(sentence));
                false
            }
        }
    }

    fn fail_to_read(&self, error: LogError) {
        self.feed().stopped.set(true);
        self.task.judge(Verdict::Reopen(format!("{}: {error}", self.feed().partition)));
    }
}

fn decode<K: Key, V: Value>(record: &Record) -> Result<(K, V), String> {
    let key = codec::decode_value(record.key()).map_err(|error| format!("the key {error}"))?;
    let value = codec::decode_value(record.value()).map_err(|error| format!("the value {error}"))?;
    Ok((key, value))
}

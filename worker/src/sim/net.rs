//! The log of a simulated worker: the log in memory, behind a network.
//!
//! What is sent lands later, in the order of its partition, once (the producer is idempotent), and never after `message.timeout.ms`;
//! the report comes later still, or says that it failed although it landed. What is read becomes visible later, by partition.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::app::CHANGELOG;
use super::world::{Cluster, cluster};
use crate::log::{
    Bounds, BoxFuture, Deliveries, Fetch, Header, Log, LogEnd, LogError, MemoryLog, NewTopic, Outgoing, ProduceError, Producer,
    Reader, Record, Row, TopicFacts, Wake,
};
use crate::rt;
use crate::rt::sim::ProcessId;
use crate::time::TopicPartition;

/// Batches that a producer holds for one partition before it is full.
const BUFFER: usize = 40;

/// The network, and what is on it.
#[derive(Default)]
pub(super) struct Net {
    /// Workers that reach no broker, or none but the coordinator.
    pub cut: BTreeSet<usize>,
    pub leaderless: BTreeSet<TopicPartition>,
    /// In a thousand: requests that are refused for now, answers that get lost.
    pub errors: u32,
    pub lost: u32,
    /// The longest way, in milliseconds.
    pub latency: u64,
    queues: BTreeMap<(ProcessId, TopicPartition), VecDeque<Batch>>,
    readers: BTreeMap<TopicPartition, Vec<Weak<Mutex<View>>>>,
}

/// Records of one partition on their way.
struct Batch {
    records: Vec<Sent>,
    delivery: Arc<Deliveries>,
    queued: u64,
}

struct Sent {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<Header>,
    timestamp: i64,
}

/// A worker's end of the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub process: ProcessId,
    pub worker: usize,
}

impl End {
    /// The way there and back, or why there is none. Nothing of the cluster is held while it waits: it may be anywhere by then.
    pub async fn travel(self, to: &[TopicPartition]) -> Result<(), LogError> {
        let millis = cluster().latency();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let cluster = cluster();
        let net = cluster.net.borrow();
        if net.cut.contains(&self.worker) {
            return Err(LogError::Unavailable("the network is cut".into()));
        }
        if let Some(at) = to.iter().find(|at| net.leaderless.contains(at)) {
            return Err(LogError::Unavailable(format!("{at} has no leader")));
        }
        if cluster.sim.chance(net.errors) {
            return Err(LogError::Unavailable("the broker is busy".into()));
        }
        Ok(())
    }
}

/// The log as one process has it.
pub(super) struct FarLog {
    pub end: End,
    pub log: Arc<MemoryLog>,
}

impl Log for FarLog {
    fn makes_topics(&self) -> bool {
        true
    }

    fn topics<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Result<HashMap<String, TopicFacts>, LogError>> {
        Box::pin(async {
            self.end.travel(&[]).await?;
            self.log.topics(names).await
        })
    }

    fn create<'a>(&'a self, topics: &'a [NewTopic]) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(async {
            self.end.travel(&[]).await?;
            self.log.create(topics).await
        })
    }

    fn bounds<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Bounds>, LogError>> {
        Box::pin(async move {
            self.end.travel(of).await?;
            let bounds = self.log.bounds(of).await;
            // The answer has its way too.
            self.end.travel(&[]).await?;
            bounds
        })
    }

    fn ends<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<LogEnd>, LogError>> {
        Box::pin(async move {
            self.end.travel(of).await?;
            let ends = self.log.ends(of).await;
            self.end.travel(&[]).await?;
            ends
        })
    }

    fn epoch_end<'a>(&'a self, of: &'a TopicPartition, epoch: i32) -> BoxFuture<'a, Result<Option<i64>, LogError>> {
        Box::pin(async move {
            self.end.travel(std::slice::from_ref(of)).await?;
            self.log.epoch_end(of, epoch).await
        })
    }

    fn tombstone_lives<'a>(&'a self, topics: &'a [String]) -> BoxFuture<'a, Result<HashMap<String, Duration>, LogError>> {
        Box::pin(async move {
            self.end.travel(&[]).await?;
            self.log.tombstone_lives(topics).await
        })
    }

    fn fetch(&self, partition: &TopicPartition, start: i64, reader: Reader) -> Result<Box<dyn Fetch>, LogError> {
        let cluster = cluster();
        let view = View { end: self.end, reader, visible: start, position: start, asked: false, wake: None };
        let view = Arc::new(Mutex::new(view));
        let mut net = cluster.net.borrow_mut();
        let readers = net.readers.entry(partition.clone()).or_default();
        readers.retain(|view| view.strong_count() > 0);
        let is_same = |other: &View| other.end.process == self.end.process && other.reader == reader;
        if readers.iter().filter_map(Weak::upgrade).any(|other| is_same(&other.lock().unwrap())) {
            return Err(LogError::Unavailable(format!("{partition} is being read already, as {reader:?}")));
        }
        readers.push(Arc::downgrade(&view));
        drop(net);
        cluster.ask_for_more(partition, &view);
        Ok(Box::new(FarFetch { at: partition.clone(), log: self.log.clone(), view }))
    }

    fn producer(&self) -> Arc<dyn Producer> {
        Arc::new(FarProducer(self.end))
    }
}

/// How far a reader sees.
struct View {
    end: End,
    reader: Reader,
    visible: i64,
    position: i64,
    /// A look at the log is on its way.
    asked: bool,
    wake: Option<Wake>,
}

struct FarFetch {
    at: TopicPartition,
    log: Arc<MemoryLog>,
    view: Arc<Mutex<View>>,
}

impl Fetch for FarFetch {
    fn poll(&mut self, max: usize, out: &mut VecDeque<Record>) -> Result<(), LogError> {
        let cluster = cluster();
        let mut view = self.view.lock().unwrap();
        let errors = cluster.net.borrow().errors;
        if cluster.sim.chance(errors) {
            let view = Arc::downgrade(&self.view);
            cluster.sim.after(20, move || wake(&view));
            return Err(LogError::Unavailable("the broker is busy".into()));
        }
        let before = out.len();
        self.log.read(&self.at, view.position, view.visible, max, out)?;
        match out.len() - before {
            // Behind what compaction has left out, too.
            n if n < max => view.position = view.visible,
            _ => view.position = out[out.len() - 1].offset + 1,
        }
        Ok(())
    }

    fn position(&self) -> i64 {
        self.view.lock().unwrap().position
    }

    fn on_ready(&mut self, wake: Wake) {
        self.view.lock().unwrap().wake = Some(wake);
    }
}

fn wake(view: &Weak<Mutex<View>>) {
    let wake = view.upgrade().and_then(|view| view.lock().unwrap().wake.clone());
    if let Some(wake) = wake {
        wake();
    }
}

impl Cluster {
    /// The way of one message, in milliseconds.
    pub fn latency(&self) -> u64 {
        let longest = self.net.borrow().latency;
        self.sim.between(0, longest)
    }

    /// A fetch goes out, and shows what the log has when it gets there.
    fn ask_for_more(self: &Rc<Self>, at: &TopicPartition, view: &Arc<Mutex<View>>) {
        if std::mem::replace(&mut view.lock().unwrap().asked, true) {
            return;
        }
        let (at, view) = (at.clone(), Arc::downgrade(view));
        let cluster = self.clone();
        self.sim.after(self.latency(), move || cluster.show(&at, &view));
    }

    fn show(self: &Rc<Self>, at: &TopicPartition, view: &Weak<Mutex<View>>) {
        let Some(shared) = view.upgrade() else { return };
        let end = self.log.end(at);
        let mut view = shared.lock().unwrap();
        let away = {
            let net = self.net.borrow();
            net.cut.contains(&view.end.worker) || net.leaderless.contains(at)
        };
        if away {
            let (at, view, cluster) = (at.clone(), Arc::downgrade(&shared), self.clone());
            return self.sim.after(40, move || cluster.show(&at, &view));
        }
        view.asked = false;
        let was_empty = view.position == view.visible;
        if end > view.visible {
            view.visible = end;
            drop(view);
            if was_empty {
                wake(&Arc::downgrade(&shared));
            }
        }
    }

    /// Something has landed in a partition.
    pub fn announce(self: &Rc<Self>, at: &TopicPartition) {
        let readers: Vec<_> = self.net.borrow().readers.get(at).into_iter().flatten().filter_map(Weak::upgrade).collect();
        for view in readers {
            self.ask_for_more(at, &view);
        }
    }

    fn transmit(self: &Rc<Self>, end: End, at: &TopicPartition) {
        let now = self.sim.elapsed();
        let again = |millis: u64| {
            let (cluster, at) = (self.clone(), at.clone());
            self.sim.after(millis, move || cluster.transmit(end, &at));
        };
        // What was on the wire when the process stopped still goes its way.
        if self.is_frozen(end) && self.sim.chance(500) {
            return again(20);
        }
        let key = (end.process, at.clone());
        let late = |batch: &Batch| batch.queued + self.config.message_timeout <= now;
        let mut given_up = Vec::new();
        let batches: Vec<Batch> = {
            let mut net = self.net.borrow_mut();
            let Some(queue) = net.queues.get_mut(&key) else { return };
            while queue.front().is_some_and(late) {
                given_up.extend(queue.pop_front());
            }
            let is_empty = queue.is_empty();
            let away = is_empty || net.cut.contains(&end.worker) || net.leaderless.contains(at);
            match away || self.sim.chance(net.errors) {
                true => Vec::new(),
                // One request takes all that is there, mostly.
                false => {
                    let queue = net.queues.get_mut(&key).expect("looked up");
                    let all = queue.len();
                    let taken = if self.sim.chance(300) { self.sim.between(1, all as u64) as usize } else { all };
                    queue.drain(..taken).collect()
                }
            }
        };
        for batch in given_up {
            self.sim.note(|| format!("of {end:?} to {at}: {} records time out", batch.records.len()));
            batch.delivery.report(batch.records.len() as u64, None, Some("timed out".into()));
        }
        for batch in batches {
            self.land(end, at, batch);
        }
        let mut net = self.net.borrow_mut();
        match net.queues.get(&key).is_none_or(VecDeque::is_empty) {
            true => {
                net.queues.remove(&key);
            }
            false => {
                drop(net);
                again(self.latency() / 4 + 1);
            }
        }
    }

    fn land(self: &Rc<Self>, end: End, at: &TopicPartition, batch: Batch) {
        let Batch { records, delivery, queued } = batch;
        let count = records.len() as u64;
        for Sent { key, value, headers, timestamp } in &records {
            let landed = self.log.append(at, *timestamp, key.as_deref(), value.as_deref(), headers);
            self.oracle.borrow_mut().landed(end, at, landed, key.as_deref(), value.as_deref());
        }
        let last = self.log.end(at) - 1;
        self.sim.note(|| format!("of {end:?}: {at} up to {last}"));
        self.announce(at);
        let lost = self.net.borrow().lost;
        let mut reply = self.latency();
        if self.sim.chance(lost) {
            // Sent again until it is answered: the broker knows that it has it.
            reply += self.sim.between(100, 2_000);
        }
        let left = (queued + self.config.message_timeout).saturating_sub(self.sim.elapsed());
        let (millis, result) = match reply <= left {
            true => (reply, Ok(last)),
            false => (left, Err("timed out".to_string())),
        };
        let act = move || match result {
            Ok(last) => delivery.report(count, Some(last), None),
            Err(why) => delivery.report(count, None, Some(why)),
        };
        self.sim.after(millis, act);
    }

    /// The process is gone: of what it had queued some has been on the wire.
    pub fn drop_queues(self: &Rc<Self>, end: End) {
        let queues: Vec<_> = {
            let mut net = self.net.borrow_mut();
            let own = net.queues.keys().filter(|(process, _)| *process == end.process).cloned().collect::<Vec<_>>();
            own.into_iter().filter_map(|key| Some((key.1.clone(), net.queues.remove(&key)?))).collect()
        };
        for (at, mut queue) in queues {
            if self.sim.chance(500)
                && let Some(batch) = queue.pop_front()
            {
                self.land(end, &at, batch);
            }
        }
    }

    /// What a process reads, and the changelogs that it has rows for on their way.
    pub fn is_at(&self, process: ProcessId) -> Vec<String> {
        let net = self.net.borrow();
        let rows = net.queues.keys().filter(|(other, at)| *other == process && at.topic == CHANGELOG);
        let rows = rows.map(|(_, at)| format!("sends to {at}"));
        let reads = |views: &Vec<Weak<Mutex<View>>>| {
            views.iter().filter_map(Weak::upgrade).any(|view| view.lock().unwrap().end.process == process)
        };
        let reads = net.readers.iter().filter(|(_, views)| reads(views)).map(|(at, _)| format!("reads {at}"));
        rows.chain(reads).collect()
    }
}

struct FarProducer(End);

impl FarProducer {
    fn queue(&self, at: TopicPartition, records: Vec<Sent>, delivery: &Arc<Deliveries>) -> Result<(), ProduceError> {
        if records.is_empty() {
            return Ok(());
        }
        let (cluster, end) = (cluster(), self.0);
        let mut net = cluster.net.borrow_mut();
        let queue = net.queues.entry((end.process, at.clone())).or_default();
        if queue.len() >= BUFFER {
            return Err(ProduceError::Full);
        }
        delivery.expect(records.len() as u64);
        queue.push_back(Batch { records, delivery: delivery.clone(), queued: cluster.sim.elapsed() });
        if queue.len() == 1 {
            drop(net);
            let millis = cluster.latency() + 1;
            let later = cluster.clone();
            cluster.sim.after(millis, move || later.transmit(end, &at));
        }
        Ok(())
    }
}

impl Producer for FarProducer {
    fn send(&self, record: Outgoing<'_>, delivery: &Arc<Deliveries>) -> Result<(), ProduceError> {
        let sent = Sent {
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.to_vec(),
            timestamp: record.timestamp.unwrap_or_else(rt::wall_millis),
        };
        self.queue(TopicPartition::new(record.topic, record.partition), vec![sent], delivery)
    }

    fn send_rows(&self, at: &TopicPartition, rows: &[Row], delivery: &Arc<Deliveries>) -> Result<usize, ProduceError> {
        let timestamp = rt::wall_millis();
        // Sometimes the buffer takes only some of them.
        let cluster = cluster();
        let room = if cluster.sim.chance(50) { cluster.sim.between(0, rows.len() as u64) as usize } else { rows.len() };
        let sent = rows[..room].iter().map(|row| Sent {
            key: Some(row.key.clone()),
            value: row.value.clone(),
            headers: Vec::new(),
            timestamp,
        });
        match self.queue(at.clone(), sent.collect(), delivery) {
            Err(ProduceError::Full) => Ok(0),
            queued => queued.map(|()| room),
        }
    }
}

/// The network of a cluster, at rest.
pub(super) fn quiet(latency: u64) -> RefCell<Net> {
    RefCell::new(Net { latency, ..Net::default() })
}

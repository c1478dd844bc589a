//! The way of a simulated worker to its group: the model of the coordinator, behind a network.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use faust_wire::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use faust_wire::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    OffsetCommitRequest, OffsetCommitResponse, SyncGroupRequest, SyncGroupResponse,
};
use faust_wire::{Error, GroupDescription};
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::net::End;
use super::world::{Cluster, cluster};
use crate::group::line::{Answer, Line, Link, Offsets, Way};
use crate::group::model::{Coordinator, Request, Response, Token};
use crate::rt::sim::ProcessId;
use crate::time::TopicPartition;

const NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;

/// The broker that has the group, and the connections to it.
pub(super) struct Hub {
    pub model: Coordinator,
    /// Workers that reach no coordinator.
    pub cut: BTreeSet<usize>,
    /// The group is being moved until then.
    away_until: u64,
    lines: BTreeMap<u64, Connected>,
    waiting: BTreeMap<Token, (u64, oneshot::Sender<Response>)>,
    numbered: u64,
    ticks_at: Option<u64>,
}

/// The broker's side of a connection: it serves one request after the other.
struct Connected {
    end: End,
    busy: bool,
    queue: VecDeque<(Token, Request)>,
    /// When the last message on it arrives, in either direction: none overtakes another.
    there: u64,
    back: u64,
    /// The broker doesn't have the group any more, and says so.
    stale: bool,
}

impl Hub {
    pub fn new(model: Coordinator) -> Self {
        Self {
            model,
            cut: BTreeSet::new(),
            away_until: 0,
            lines: BTreeMap::new(),
            waiting: BTreeMap::new(),
            numbered: 0,
            ticks_at: None,
        }
    }

    fn number(&mut self) -> u64 {
        self.numbered += 1;
        self.numbered
    }

    /// Ends a connection: nobody gets an answer over it any more.
    fn close(&mut self, line: u64) {
        self.lines.remove(&line);
        self.waiting.retain(|_, (over, _)| *over != line);
    }
}

/// The coordinator as a process finds it.
pub(super) struct FarCoordinator(pub End);

impl Way for FarCoordinator {
    fn link(&self, _group: &str) -> BoxFuture<'static, Result<Link, Error>> {
        let end = self.0;
        Box::pin(async move {
            let millis = cluster().latency() + cluster().latency();
            tokio::time::sleep(Duration::from_millis(millis)).await;
            cluster().reachable(end)?;
            let open = || std::sync::Arc::new(FarLine { number: cluster().open(end) });
            Ok(Link { joins: open(), other: open() })
        })
    }

    fn described(&self, _group: &str) -> BoxFuture<'static, Result<GroupDescription, Error>> {
        unreachable!("nobody asks a simulated worker's pages")
    }

    fn offsets(&self, _group: &str, of: &[(String, i32)]) -> BoxFuture<'static, Result<Offsets, Error>> {
        let (end, of) = (self.0, of.to_vec());
        Box::pin(async move {
            let millis = cluster().latency();
            tokio::time::sleep(Duration::from_millis(millis)).await;
            cluster().reachable(end)?;
            let offsets = of.into_iter().map(|(topic, partition)| {
                let at = TopicPartition::new(&topic, partition as u32);
                let offset = cluster().hub.borrow().model.committed(&at);
                ((topic, partition), offset)
            });
            let offsets = offsets.collect();
            let millis = cluster().latency();
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(offsets)
        })
    }
}

#[derive(Debug)]
struct FarLine {
    number: u64,
}

impl FarLine {
    async fn call(&self, request: Request, within: Duration) -> Result<Response, Error> {
        let answer = cluster().send(self.number, request);
        let address = || "coordinator:9092".to_string();
        match timeout(within, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Error::Closed { address: address(), reason: "the connection broke".into() }),
            Err(_) => {
                cluster().hub.borrow_mut().close(self.number);
                Err(Error::TimedOut { address: address(), api: "a request", after: within })
            }
        }
    }
}

impl Drop for FarLine {
    fn drop(&mut self) {
        if let Some(cluster) = super::world::current() {
            cluster.hub.borrow_mut().close(self.number);
        }
    }
}

macro_rules! calls {
    ($($method:ident $kind:ident: $request:ident => $response:ident,)*) => {
        impl Line for FarLine {
            $(fn $method(&self, request: $request, within: Duration) -> Answer<'_, $response> {
                Box::pin(async move {
                    match self.call(Request::$kind(request), within).await? {
                        Response::$kind(answer) => Ok(answer),
                        other => Err(Error::Protocol(format!("{other:?}"))),
                    }
                })
            })*
        }
    };
}

calls! {
    join Join: JoinGroupRequest => JoinGroupResponse,
    sync Sync: SyncGroupRequest => SyncGroupResponse,
    heartbeat Heartbeat: HeartbeatRequest => HeartbeatResponse,
    leave Leave: LeaveGroupRequest => LeaveGroupResponse,
    commit Commit: OffsetCommitRequest => OffsetCommitResponse,
}

impl Cluster {
    fn reachable(&self, end: End) -> Result<(), Error> {
        let hub = self.hub.borrow();
        let net = self.net.borrow();
        if hub.cut.contains(&end.worker) {
            return Err(Error::Unreachable { address: "coordinator:9092".into(), reason: "the network is cut".into() });
        }
        if hub.away_until > self.sim.elapsed() || self.sim.chance(net.errors) {
            return Err(Error::Kafka { api: "FindCoordinator", about: "the group".into(), code: NOT_AVAILABLE, message: None });
        }
        Ok(())
    }

    fn open(&self, end: End) -> u64 {
        let mut hub = self.hub.borrow_mut();
        let number = hub.number();
        let line = Connected { end, busy: false, queue: VecDeque::new(), there: 0, back: 0, stale: false };
        hub.lines.insert(number, line);
        number
    }

    fn send(self: &Rc<Self>, line: u64, request: Request) -> oneshot::Receiver<Response> {
        let (answer, answered) = oneshot::channel();
        let mut hub = self.hub.borrow_mut();
        let token = hub.number();
        let (now, latency) = (self.sim.elapsed(), self.latency());
        // Over one that is closed the sender is dropped, which is how the caller hears of it.
        if let Some(connected) = hub.lines.get_mut(&line) {
            connected.there = connected.there.max(now + latency);
            let millis = connected.there - now;
            hub.waiting.insert(token, (line, answer));
            let cluster = self.clone();
            self.sim.after(millis, move || cluster.arrives(line, token, request));
        }
        answered
    }

    fn arrives(self: &Rc<Self>, line: u64, token: Token, request: Request) {
        let mut hub = self.hub.borrow_mut();
        let Some(connected) = hub.lines.get(&line) else { return };
        if hub.cut.contains(&connected.end.worker) {
            return;
        }
        let connected = hub.lines.get_mut(&line).expect("looked up");
        if connected.busy {
            connected.queue.push_back((token, request));
            return;
        }
        connected.busy = true;
        let (end, stale) = (connected.end, connected.stale);
        let answers = match stale || hub.away_until > self.sim.elapsed() {
            true => vec![(token, refused(&request, NOT_COORDINATOR))],
            false => {
                let commits = match &request {
                    Request::Commit(commit) => Some(commit.clone()),
                    _ => None,
                };
                let answers = hub.model.ask(self.sim.elapsed(), token, request);
                if let Some(commit) = commits {
                    let said = answers.iter().find(|(other, _)| *other == token).map(|(_, said)| said);
                    self.committed(end, &commit, said);
                }
                answers
            }
        };
        drop(hub);
        self.spread(answers);
    }

    /// Tells the oracle what was committed.
    fn committed(&self, end: End, commit: &OffsetCommitRequest, said: Option<&Response>) {
        let Some(Response::Commit(said)) = said else { return };
        for (topic, said) in commit.topics.iter().zip(&said.topics) {
            for (partition, said) in topic.partitions.iter().zip(&said.partitions) {
                if said.error_code == 0 {
                    let at = TopicPartition::new(&**topic.name, partition.partition_index as u32);
                    self.oracle.borrow_mut().committed(end, &at, partition.committed_offset);
                }
            }
        }
    }

    /// Sends answers on their ways, and takes up what waited behind them.
    fn spread(self: &Rc<Self>, answers: Vec<(Token, Response)>) {
        let mut next = Vec::new();
        let now = self.sim.elapsed();
        for (token, response) in answers {
            let lost = self.sim.chance(self.net.borrow().lost);
            let latency = self.latency();
            let mut hub = self.hub.borrow_mut();
            let Some(&(line, _)) = hub.waiting.get(&token) else { continue };
            let Some(connected) = hub.lines.get_mut(&line) else { continue };
            connected.busy = false;
            if let Some(waited) = connected.queue.pop_front() {
                next.push((line, waited));
            }
            connected.back = connected.back.max(now + latency);
            let millis = connected.back - now;
            drop(hub);
            let cluster = self.clone();
            self.sim.note(|| format!("to connection {line}: {}", brief(&response)));
            self.sim.after(millis, move || cluster.delivers(line, token, response, lost));
        }
        self.tick_in_time();
        for (line, (token, request)) in next {
            self.arrives(line, token, request);
        }
    }

    fn delivers(&self, line: u64, token: Token, response: Response, lost: bool) {
        let mut hub = self.hub.borrow_mut();
        let Some(connected) = hub.lines.get(&line) else { return };
        if hub.cut.contains(&connected.end.worker) {
            return;
        }
        if lost {
            return hub.close(line);
        }
        if let Some((_, answer)) = hub.waiting.remove(&token) {
            // Who asked may have gone.
            let _ = answer.send(response);
        }
    }

    fn tick_in_time(self: &Rc<Self>) {
        let mut hub = self.hub.borrow_mut();
        let Some(due) = hub.model.deadline() else { return };
        if hub.ticks_at.is_some_and(|at| at <= due) {
            return;
        }
        hub.ticks_at = Some(due);
        let cluster = self.clone();
        self.sim.after(due.saturating_sub(self.sim.elapsed()), move || {
            let now = cluster.sim.elapsed();
            let answers = {
                let mut hub = cluster.hub.borrow_mut();
                if hub.ticks_at != Some(due) {
                    return;
                }
                hub.ticks_at = None;
                hub.model.tick(now)
            };
            cluster.spread(answers);
        });
    }

    /// Another broker gets the group; the one that had it is gone, or lives and says that it isn't the one.
    pub fn move_group(self: &Rc<Self>, away: u64, dies: bool) {
        let now = self.sim.elapsed();
        let mut hub = self.hub.borrow_mut();
        hub.away_until = now + away;
        hub.model.move_away(now + away);
        self.moved.set(true);
        for line in hub.lines.keys().copied().collect::<Vec<_>>() {
            match dies {
                true => hub.close(line),
                // Whoever waits for an answer there waits until it gives up.
                false => hub.lines.get_mut(&line).expect("of the list").stale = true,
            }
        }
        hub.ticks_at = None;
        drop(hub);
        self.tick_in_time();
    }

    /// A process is gone, and its connections with it.
    pub fn hang_up(&self, process: ProcessId) {
        let mut hub = self.hub.borrow_mut();
        let lines = hub.lines.iter().filter(|(_, line)| line.end.process == process).map(|(number, _)| *number);
        for line in lines.collect::<Vec<_>>() {
            hub.close(line);
        }
    }
}

fn refused(request: &Request, code: i16) -> Response {
    match request {
        Request::Join(_) => Response::Join(JoinGroupResponse::default().with_error_code(code)),
        Request::Sync(_) => Response::Sync(SyncGroupResponse::default().with_error_code(code)),
        Request::Heartbeat(_) => Response::Heartbeat(HeartbeatResponse::default().with_error_code(code)),
        Request::Leave(_) => Response::Leave(LeaveGroupResponse::default().with_error_code(code)),
        Request::Commit(commit) => {
            let topics = commit.topics.iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|partition| {
                    OffsetCommitResponsePartition::default().with_partition_index(partition.partition_index).with_error_code(code)
                });
                OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
            });
            Response::Commit(OffsetCommitResponse::default().with_topics(topics.collect()))
        }
    }
}

fn brief(response: &Response) -> String {
    match response {
        Response::Join(join) => {
            format!("joined {} generation {} ({})", join.member_id.as_str(), join.generation_id, join.error_code)
        }
        Response::Sync(sync) => format!("synced ({})", sync.error_code),
        Response::Heartbeat(heartbeat) => format!("heartbeat ({})", heartbeat.error_code),
        Response::Leave(leave) => format!("left ({})", leave.error_code),
        Response::Commit(commit) => {
            let codes = commit.topics.iter().flat_map(|topic| &topic.partitions);
            format!("committed ({:?})", codes.map(|partition| partition.error_code).collect::<Vec<_>>())
        }
    }
}

//! A model of Kafka's group coordinator in the classic protocol, as a pure state machine: requests and time go in, answers come out,
//! some of them later. It is what simulated workers join.
//!
//! It is only worth something if a broker would answer the same, so one script ([`conformance`]) is run against it and, in
//! `on_kafka`, against a real coordinator. It keeps one group, whose members all name one assignment protocol.
//!
//! ```text
//!            a member joins or goes            all have joined, or time is up          the leader has synced
//!   Empty ──────────────────────▶ Preparing ─────────────────────────────▶ Completing ────────────────────▶ Stable
//!                                    ▲                                          │                              │
//!                                    └──────────────────────────────────────────┴──────────────────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use faust_wire::messages::leave_group_response::MemberResponse;
use faust_wire::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use faust_wire::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    OffsetCommitRequest, OffsetCommitResponse, SyncGroupRequest, SyncGroupResponse,
};

use crate::time::TopicPartition;

pub(crate) mod conformance;
mod join;
mod members;

use members::{Member, Members};

/// Names a request, so that its answer finds the way back.
pub(crate) type Token = u64;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    Join(JoinGroupRequest),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveGroupRequest),
    Commit(OffsetCommitRequest),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Response {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    Leave(LeaveGroupResponse),
    Commit(OffsetCommitResponse),
}

/// Kafka's error codes that it gives.
mod code {
    pub const UNKNOWN_TOPIC: i16 = 3;
    pub const ILLEGAL_GENERATION: i16 = 22;
    pub const INCONSISTENT_PROTOCOL: i16 = 23;
    pub const UNKNOWN_MEMBER: i16 = 25;
    pub const INVALID_SESSION_TIMEOUT: i16 = 26;
    pub const REBALANCE_IN_PROGRESS: i16 = 27;
    pub const MEMBER_ID_REQUIRED: i16 = 79;
    pub const FENCED_INSTANCE: i16 = 82;
}

/// The broker's settings that matter here, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// `group.min.session.timeout.ms`
    pub min_session: u64,
    /// `group.max.session.timeout.ms`
    pub max_session: u64,
    /// `group.initial.rebalance.delay.ms`
    pub initial_delay: u64,
}

/// The coordinator of one group.
#[derive(Debug)]
pub(crate) struct Coordinator {
    limits: Limits,
    /// Offsets of topics that aren't here are refused.
    topics: BTreeMap<String, u32>,
    state: State,
    generation: i32,
    leader: Option<String>,
    members: Members,
    /// Ids that were given and not come back with yet, with their ends.
    pending: BTreeMap<String, u64>,
    /// Members that have yet to sync in this generation, and until when they may.
    unsynced: BTreeSet<String>,
    sync_until: u64,
    offsets: BTreeMap<TopicPartition, i64>,
    /// As it lies in the log of groups: what another broker finds there.
    saved: Saved,
    numbered: u64,
    answers: Vec<(Token, Response)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Empty,
    /// Members are waited for, until then; `initial` members have a moment to come together first.
    Preparing {
        until: u64,
        initial: bool,
    },
    /// The leader's assignment is waited for.
    Completing,
    Stable,
}

#[derive(Clone, Debug, Default)]
struct Saved {
    generation: i32,
    leader: Option<String>,
    members: Members,
}

impl Coordinator {
    pub fn new(limits: Limits, topics: BTreeMap<String, u32>) -> Self {
        Self {
            limits,
            topics,
            state: State::Empty,
            generation: 0,
            leader: None,
            members: Members::default(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            sync_until: 0,
            offsets: BTreeMap::new(),
            saved: Saved::default(),
            numbered: 0,
            answers: Vec::new(),
        }
    }

    /// Takes a request; the answers to it and to others that waited.
    pub fn ask(&mut self, now: u64, token: Token, request: Request) -> Vec<(Token, Response)> {
        self.pass(now);
        match request {
            Request::Join(request) => self.join(now, token, request),
            Request::Sync(request) => self.sync(now, token, request),
            Request::Heartbeat(request) => self.heartbeat(now, token, request),
            Request::Leave(request) => self.leave(now, token, request),
            Request::Commit(request) => self.commit(now, token, request),
        }
        std::mem::take(&mut self.answers)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: u64) -> Vec<(Token, Response)> {
        self.pass(now);
        std::mem::take(&mut self.answers)
    }

    /// When the next tick is due.
    pub fn deadline(&self) -> Option<u64> {
        let phase = match self.state {
            State::Preparing { until, .. } => Some(until),
            _ => None,
        };
        let sync = (!self.unsynced.is_empty()).then_some(self.sync_until);
        let sessions = self.members.iter().filter_map(|member| member.expires).chain(self.pending.values().copied());
        [phase, sync].into_iter().flatten().chain(sessions).min()
    }

    pub fn committed(&self, of: &TopicPartition) -> Option<i64> {
        self.offsets.get(of).copied()
    }

    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// Another broker takes the group over: it has what was written down, and nobody waits for an answer any more.
    pub fn move_away(&mut self, now: u64) {
        let Saved { generation, leader, mut members } = self.saved.clone();
        for member in members.iter_mut() {
            member.expires = Some(now + member.session);
        }
        self.state = if members.is_empty() { State::Empty } else { State::Stable };
        (self.generation, self.leader, self.members) = (generation, leader, members);
        self.pending.clear();
        self.unsynced.clear();
        self.answers.clear();
    }

    fn pass(&mut self, now: u64) {
        self.pending.retain(|_, until| *until > now);
        let silent = |member: &Member| member.expires.is_some_and(|expires| expires <= now);
        for id in self.members.iter().filter(|member| silent(member)).map(|member| member.id.clone()).collect::<Vec<_>>() {
            self.expel(now, &id);
        }
        if !self.unsynced.is_empty() && self.sync_until <= now {
            for id in std::mem::take(&mut self.unsynced) {
                self.remove(&id);
            }
            self.prepare(now);
        }
        match self.state {
            State::Preparing { until, .. } if until <= now => self.complete_join(now),
            State::Preparing { initial: false, .. } => self.complete_join_if_all_have(now),
            _ => {}
        }
    }

    fn sync(&mut self, now: u64, token: Token, request: SyncGroupRequest) {
        let refused = |code| Response::Sync(SyncGroupResponse::default().with_error_code(code));
        let id = request.member_id.to_string();
        if let Err(code) = self.validate(&id, request.group_instance_id.as_deref(), Some(request.generation_id)) {
            return self.answer(token, refused(code));
        }
        match self.state {
            State::Empty => self.answer(token, refused(code::UNKNOWN_MEMBER)),
            State::Preparing { .. } => self.answer(token, refused(code::REBALANCE_IN_PROGRESS)),
            State::Completing => {
                self.unsynced.remove(&id);
                let member = self.members.named(&id);
                (member.syncing, member.expires) = (Some(token), None);
                if self.leader.as_ref() == Some(&id) {
                    self.assign(now, &request);
                }
            }
            State::Stable => {
                self.unsynced.remove(&id);
                let member = self.members.named(&id);
                member.expires = Some(now + member.session);
                let assignment = member.assignment.clone();
                self.answer(token, assigned(assignment));
            }
        }
    }

    /// The leader has spoken.
    fn assign(&mut self, now: u64, request: &SyncGroupRequest) {
        self.state = State::Stable;
        for member in self.members.iter_mut() {
            let own = request.assignments.iter().find(|own| *own.member_id == *member.id);
            member.assignment = own.map(|own| own.assignment.clone()).unwrap_or_default();
            if let Some(token) = member.syncing.take() {
                member.expires = Some(now + member.session);
                self.answers.push((token, assigned(member.assignment.clone())));
            }
        }
        self.save();
    }

    fn heartbeat(&mut self, now: u64, token: Token, request: HeartbeatRequest) {
        let id = request.member_id.to_string();
        let valid = self.validate(&id, request.group_instance_id.as_deref(), Some(request.generation_id));
        let code = match (valid, self.state) {
            (Err(code), _) => code,
            (Ok(()), State::Empty) => code::UNKNOWN_MEMBER,
            (Ok(()), state) => {
                let member = self.members.named(&id);
                if member.joining.is_none() && member.syncing.is_none() {
                    member.expires = Some(now + member.session);
                }
                if matches!(state, State::Preparing { .. }) { code::REBALANCE_IN_PROGRESS } else { 0 }
            }
        };
        self.answer(token, Response::Heartbeat(HeartbeatResponse::default().with_error_code(code)));
    }

    fn leave(&mut self, now: u64, token: Token, request: LeaveGroupRequest) {
        let mut members = Vec::new();
        for leaving in request.members {
            let mut id = leaving.member_id.to_string();
            let instance = leaving.group_instance_id.as_deref();
            // By its instance alone: an administrator, or a process that never got an id.
            if let (true, Some(instance)) = (id.is_empty(), instance) {
                id = self.members.of_instance(instance).map(|member| member.id.clone()).unwrap_or_default();
            }
            let code = match self.pending.remove(&id) {
                Some(_) => 0,
                None => self.validate(&id, instance, None).err().unwrap_or(0),
            };
            if code == 0 && self.members.get(&id).is_some() {
                self.expel(now, &id);
            }
            let said =
                MemberResponse::default().with_member_id(leaving.member_id).with_group_instance_id(leaving.group_instance_id);
            members.push(said.with_error_code(code));
        }
        self.answer(token, Response::Leave(LeaveGroupResponse::default().with_members(members)));
    }

    fn commit(&mut self, now: u64, token: Token, request: OffsetCommitRequest) {
        let id = request.member_id.to_string();
        let generation = request.generation_id_or_member_epoch;
        let of_nobody = generation < 0 && id.is_empty() && request.group_instance_id.is_none();
        let code = match (of_nobody, self.state) {
            (true, State::Empty) => 0,
            (true, _) => code::UNKNOWN_MEMBER,
            // A group that never had a member has no generation either.
            (false, State::Empty) if self.generation == 0 => code::ILLEGAL_GENERATION,
            (false, state) => match self.validate(&id, request.group_instance_id.as_deref(), Some(generation)) {
                Ok(()) if state == State::Completing => code::REBALANCE_IN_PROGRESS,
                valid => valid.err().unwrap_or(0),
            },
        };
        if code == 0
            && !of_nobody
            && let member = self.members.named(&id)
            && member.joining.is_none()
        {
            member.expires = Some(now + member.session);
        }
        let mut topics = Vec::new();
        for topic in request.topics {
            let mut partitions = Vec::new();
            for partition in topic.partitions {
                let index = partition.partition_index;
                let known = self.topics.get(&**topic.name).is_some_and(|count| (index as u32) < *count);
                let code = if code == 0 && !known { code::UNKNOWN_TOPIC } else { code };
                if code == 0 {
                    self.offsets.insert(TopicPartition::new(&**topic.name, index as u32), partition.committed_offset);
                }
                partitions.push(OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code));
            }
            topics.push(OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions));
        }
        self.answer(token, Response::Commit(OffsetCommitResponse::default().with_topics(topics)));
    }

    /// Whether the group knows the member as it calls itself.
    fn validate(&self, id: &str, instance: Option<&str>, generation: Option<i32>) -> Result<(), i16> {
        if let Some(instance) = instance {
            let known = self.members.of_instance(instance).ok_or(code::UNKNOWN_MEMBER)?;
            if known.id != id {
                return Err(code::FENCED_INSTANCE);
            }
        }
        self.members.get(id).ok_or(code::UNKNOWN_MEMBER)?;
        match generation {
            Some(generation) if generation != self.generation => Err(code::ILLEGAL_GENERATION),
            _ => Ok(()),
        }
    }

    fn answer(&mut self, token: Token, response: Response) {
        self.answers.push((token, response));
    }

    /// Writes the group down.
    fn save(&mut self) {
        let mut members = self.members.clone();
        for member in members.iter_mut() {
            (member.joining, member.syncing) = (None, None);
        }
        self.saved = Saved { generation: self.generation, leader: self.leader.clone(), members };
    }
}

fn assigned(assignment: Bytes) -> Response {
    Response::Sync(SyncGroupResponse::default().with_assignment(assignment))
}

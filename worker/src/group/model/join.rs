//! Who comes, who goes, and when a generation begins.

use bytes::Bytes;
use faust_wire::StrBytes;
use faust_wire::messages::JoinGroupRequest;
use faust_wire::messages::JoinGroupResponse;
use faust_wire::messages::join_group_response::JoinGroupResponseMember;
use faust_wire::text;

use super::members::Member;
use super::{Coordinator, Response, State, Token, code};

impl Coordinator {
    pub(super) fn join(&mut self, now: u64, token: Token, request: JoinGroupRequest) {
        let session = request.session_timeout_ms as u64;
        if !(self.limits.min_session..=self.limits.max_session).contains(&session) {
            return self.refuse_join(token, &request.member_id, code::INVALID_SESSION_TIMEOUT);
        }
        let id = request.member_id.to_string();
        let Some(protocol) = request.protocols.first() else {
            return self.refuse_join(token, &request.member_id, code::INCONSISTENT_PROTOCOL);
        };
        if self.members.iter().any(|other| other.id != id && *other.protocol != *protocol.name) {
            return self.refuse_join(token, &request.member_id, code::INCONSISTENT_PROTOCOL);
        }
        let (name, metadata) = (protocol.name.to_string(), protocol.metadata.clone());
        let instance = request.group_instance_id.as_ref().map(StrBytes::to_string);
        let is_pending = self.pending.remove(&id).is_some();
        if !id.is_empty() && !is_pending {
            return match self.validate(&id, instance.as_deref(), None) {
                Ok(()) => self.rejoin(now, token, &id, metadata),
                Err(code) => self.refuse_join(token, &request.member_id, code),
            };
        }
        let member = Member {
            id: if is_pending { id } else { self.new_id(instance.as_deref()) },
            instance,
            session,
            rebalance: request.rebalance_timeout_ms as u64,
            protocol: name,
            metadata,
            assignment: Bytes::new(),
            joining: Some(token),
            syncing: None,
            expires: None,
        };
        match &member.instance {
            None if !is_pending => {
                // It is to come back with its id, so that one whose answer got lost leaves nothing behind.
                self.pending.insert(member.id.clone(), now + session);
                self.refuse_join(token, &text(member.id), code::MEMBER_ID_REQUIRED);
            }
            Some(instance) if self.members.of_instance(instance).is_some() => self.replace(now, token, member),
            _ => {
                self.leader.get_or_insert_with(|| member.id.clone());
                self.members.add(member);
                self.prepare_or_go_on(now);
            }
        }
    }

    fn new_id(&mut self, instance: Option<&str>) -> String {
        self.numbered += 1;
        format!("{}-{}", instance.unwrap_or("member"), self.numbered)
    }

    /// A member that is known joins again.
    fn rejoin(&mut self, now: u64, token: Token, id: &str, metadata: Bytes) {
        let leads = self.leader.as_deref() == Some(id);
        let member = self.members.named(id);
        let is_news = member.metadata != metadata;
        let repeats = match self.state {
            State::Completing => !is_news,
            State::Stable => !is_news && !leads,
            State::Empty | State::Preparing { .. } => false,
        };
        if repeats {
            // The answer got lost. It renews no session.
            let answer = self.joined(id, false);
            return self.answer(token, answer);
        }
        (member.metadata, member.joining, member.expires) = (metadata, Some(token), None);
        self.prepare_or_go_on(now);
    }

    /// A process comes back under its instance id, or a twin takes the place of another one: the process before is out.
    fn replace(&mut self, now: u64, token: Token, new: Member) {
        let instance = new.instance.as_deref().expect("a static member");
        let old = self.members.of_instance(instance).expect("looked up").id.clone();
        let member = self.members.named(&old);
        let assignment = member.assignment.clone();
        let (joining, syncing) = (member.joining.take(), member.syncing.take());
        let id = new.id.clone();
        *member = Member { assignment, expires: Some(now + new.session), joining: None, ..new };
        if let Some(token) = joining {
            self.refuse_join(token, &text(old.as_str()), code::FENCED_INSTANCE);
        }
        if let Some(token) = syncing {
            let fenced = faust_wire::messages::SyncGroupResponse::default().with_error_code(code::FENCED_INSTANCE);
            self.answer(token, Response::Sync(fenced));
        }
        if self.leader.as_ref() == Some(&old) {
            self.leader = Some(id.clone());
        }
        if self.unsynced.remove(&old) {
            self.unsynced.insert(id.clone());
        }
        if self.state == State::Stable {
            // Nobody else hears of it; a leader shall not plan anew (KIP-814).
            let leads = self.leader.as_ref() == Some(&id);
            self.save();
            let answer = self.joined(&id, leads);
            return self.answer(token, answer);
        }
        let member = self.members.named(&id);
        (member.joining, member.expires) = (Some(token), None);
        self.prepare_or_go_on(now);
    }

    fn prepare_or_go_on(&mut self, now: u64) {
        match self.state {
            State::Preparing { initial: false, .. } => self.complete_join_if_all_have(now),
            State::Preparing { .. } => {}
            _ => self.prepare(now),
        }
    }

    /// A rebalance begins.
    pub(super) fn prepare(&mut self, now: u64) {
        for member in self.members.iter_mut() {
            if let Some(token) = member.syncing.take() {
                member.expires = Some(now + member.session);
                let again = faust_wire::messages::SyncGroupResponse::default().with_error_code(code::REBALANCE_IN_PROGRESS);
                self.answers.push((token, Response::Sync(again)));
            }
        }
        self.unsynced.clear();
        let initial = self.state == State::Empty;
        let wait = if initial { self.limits.initial_delay } else { self.members.patience() };
        self.state = State::Preparing { until: now + wait, initial };
        if !initial {
            self.complete_join_if_all_have(now);
        }
    }

    pub(super) fn complete_join_if_all_have(&mut self, now: u64) {
        if self.pending.is_empty() && self.members.iter().all(|member| member.joining.is_some()) {
            self.complete_join(now);
        }
    }

    /// A generation begins, of those who have joined, and of static members also without.
    pub(super) fn complete_join(&mut self, now: u64) {
        let late = self.members.iter().filter(|member| member.joining.is_none() && member.instance.is_none());
        for id in late.map(|member| member.id.clone()).collect::<Vec<_>>() {
            self.remove(&id);
        }
        let joined: Vec<String> =
            self.members.iter().filter(|member| member.joining.is_some()).map(|member| member.id.clone()).collect();
        if joined.is_empty() && !self.members.is_empty() {
            self.state = State::Preparing { until: now + self.members.patience(), initial: false };
            return;
        }
        self.generation += 1;
        let Some(first) = joined.first() else {
            (self.state, self.leader) = (State::Empty, None);
            return self.save();
        };
        if self.leader.as_ref().is_none_or(|leader| !joined.contains(leader)) {
            self.leader = Some(first.clone());
        }
        self.state = State::Completing;
        self.sync_until = now + self.members.patience();
        self.unsynced = self.members.iter().map(|member| member.id.clone()).collect();
        for id in joined {
            let token = self.members.named(&id).joining.take().expect("it has joined");
            let answer = self.joined(&id, false);
            self.answer(token, answer);
        }
        for member in self.members.iter_mut() {
            member.expires = Some(now + member.session);
        }
    }

    /// The generation as a member is told of it.
    fn joined(&self, id: &str, skip_assignment: bool) -> Response {
        let leader = self.leader.clone().unwrap_or_default();
        let told = |member: &Member| {
            JoinGroupResponseMember::default()
                .with_member_id(text(member.id.as_str()))
                .with_group_instance_id(member.instance.as_deref().map(text))
                .with_metadata(member.metadata.clone())
        };
        let members = if leader == id { self.members.iter().map(told).collect() } else { Vec::new() };
        let protocol = self.members.iter().next().map(|member| text(member.protocol.as_str()));
        Response::Join(
            JoinGroupResponse::default()
                .with_generation_id(self.generation)
                .with_protocol_name(protocol)
                .with_leader(text(leader))
                .with_member_id(text(id))
                .with_skip_assignment(skip_assignment)
                .with_members(members),
        )
    }

    fn refuse_join(&mut self, token: Token, member: &StrBytes, code: i16) {
        self.answer(token, Response::Join(JoinGroupResponse::default().with_error_code(code).with_member_id(member.clone())));
    }

    /// A member leaves, or its session has ended.
    pub(super) fn expel(&mut self, now: u64, id: &str) {
        self.remove(id);
        match self.state {
            State::Stable | State::Completing => self.prepare(now),
            State::Preparing { initial: false, .. } => self.complete_join_if_all_have(now),
            State::Empty | State::Preparing { .. } => {}
        }
    }

    pub(super) fn remove(&mut self, id: &str) {
        let Some(member) = self.members.remove(id) else { return };
        if let Some(token) = member.joining {
            self.refuse_join(token, &text(id), code::UNKNOWN_MEMBER);
        }
        self.unsynced.remove(id);
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.iter().next().map(|member| member.id.clone());
        }
    }
}

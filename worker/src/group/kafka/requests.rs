//! The requests of a member, with answers in the state machine's terms.

use std::collections::BTreeMap;
use std::time::Duration;

use faust_wire::messages::join_group_request::JoinGroupRequestProtocol;
use faust_wire::messages::leave_group_request::MemberIdentity;
use faust_wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use faust_wire::messages::sync_group_request::SyncGroupRequestAssignment;
use faust_wire::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest, TopicName,
};
use faust_wire::{Error, StrBytes, text};

use super::consumer;
use super::line::Line;
use crate::group::protocol::{Input, Joined, Rejected, Sender, Told, Verdict};
use crate::group::userdata::Subscription;
use crate::rt;
use crate::time::TopicPartition;
use crate::topology::Groups;

const PROTOCOL_TYPE: &str = "consumer";
/// All members must name it; members of other assignors are refused.
const PROTOCOL_NAME: &str = "faust";

/// What came of an offset commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Committed {
    /// The same for all partitions, but those that are refused for reasons of their own.
    As(Verdict),
    /// Done, but not for this partition, and maybe more like it.
    Except(TopicPartition, &'static str),
}

/// What stays the same in all requests of a member.
pub(super) struct Asking {
    pub group_id: String,
    pub groups: Groups,
    /// `group.instance.id` of a static member.
    pub instance: Option<String>,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
}

impl Asking {
    pub async fn join(&self, over: &dyn Line, member: String, said: &Subscription) -> Result<Input, Error> {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text(PROTOCOL_NAME))
            .with_metadata(consumer::subscription(said, &self.groups));
        let request = JoinGroupRequest::default()
            .with_group_id(self.group())
            .with_session_timeout_ms(millis(self.session_timeout))
            .with_rebalance_timeout_ms(millis(self.rebalance_timeout))
            .with_member_id(text(member))
            .with_group_instance_id(self.instance())
            .with_protocol_type(text(PROTOCOL_TYPE))
            .with_protocols(vec![protocol]);
        // The broker holds the answer back until all members have joined.
        let answer = over.join(request, self.rebalance_timeout + self.session_timeout).await?;
        let member = answer.member_id.to_string();
        let answer = match Verdict::of(answer.error_code) {
            Verdict::Ok => Ok(Joined {
                member,
                generation: answer.generation_id,
                leader: answer.leader.to_string(),
                peers: answer.members.into_iter().map(|peer| consumer::peer(peer.member_id.to_string(), peer.metadata)).collect(),
                skip_assignment: answer.skip_assignment,
            }),
            verdict => Err(Rejected { member, verdict }),
        };
        Ok(Input::Joined { answer })
    }

    pub async fn sync(&self, over: &dyn Line, by: Sender, assignments: &[Told]) -> Result<Input, Error> {
        let assignment =
            |told: &Told| {
                SyncGroupRequestAssignment::default()
                    .with_member_id(text(told.member.as_str()))
                    .with_assignment(consumer::assignment(&told.assignment, &told.active, &self.groups))
            };
        let request = SyncGroupRequest::default()
            .with_group_id(self.group())
            .with_generation_id(by.generation)
            .with_member_id(text(by.member.as_str()))
            .with_group_instance_id(self.instance())
            .with_protocol_type(Some(text(PROTOCOL_TYPE)))
            .with_protocol_name(Some(text(PROTOCOL_NAME)))
            .with_assignments(assignments.iter().map(assignment).collect());
        let sent = rt::uptime_millis();
        // Held back as well, until the leader has synced.
        let answer = over.sync(request, self.rebalance_timeout + self.session_timeout).await?;
        let answer = match Verdict::of(answer.error_code) {
            Verdict::Ok => consumer::told(answer.assignment)
                .ok_or(Verdict::Refused("its leader's assignment can't be read; is the group's id used by another application?")),
            verdict => Err(verdict),
        };
        Ok(Input::Synced { sent, by, answer })
    }

    /// Half a session without an answer leaves the other half for another connection.
    pub async fn heartbeat(&self, over: &dyn Line, by: Sender) -> Result<Input, Error> {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group())
            .with_generation_id(by.generation)
            .with_member_id(text(by.member.as_str()))
            .with_group_instance_id(self.instance());
        let sent = rt::uptime_millis();
        let answer = over.heartbeat(request, self.session_timeout / 2).await?;
        let sent = if mutant!("lease from the answer") { rt::uptime_millis() } else { sent };
        Ok(Input::Heartbeat { sent, by, verdict: Verdict::of(answer.error_code) })
    }

    pub async fn leave(&self, over: &dyn Line, member: String) -> Result<Input, Error> {
        let identity = MemberIdentity::default()
            .with_member_id(text(member))
            .with_group_instance_id(self.instance())
            .with_reason(Some(text("the worker stops")));
        let request = LeaveGroupRequest::default().with_group_id(self.group()).with_members(vec![identity]);
        let answer = over.leave(request, self.session_timeout).await?;
        // Older brokers have one code, newer ones another for each member.
        let of_member = answer.members.first().map_or(0, |member| member.error_code);
        let code = if answer.error_code == 0 { of_member } else { answer.error_code };
        Ok(Input::LeaveAnswered { verdict: Verdict::of(code) })
    }

    pub async fn commit(&self, over: &dyn Line, by: &Sender, offsets: &[(TopicPartition, i64)]) -> Result<Committed, Error> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for (of, offset) in offsets {
            let partition =
                OffsetCommitRequestPartition::default().with_partition_index(of.partition as i32).with_committed_offset(*offset);
            topics.entry(&of.topic).or_default().push(partition);
        }
        let topic = |(name, partitions): (&str, _)| {
            OffsetCommitRequestTopic::default().with_name(TopicName(text(name))).with_partitions(partitions)
        };
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group())
            .with_generation_id_or_member_epoch(by.generation)
            .with_member_id(text(by.member.as_str()))
            .with_group_instance_id(self.instance())
            .with_topics(topics.into_iter().map(topic).collect());
        let answer = over.commit(request, self.session_timeout).await?;
        let mut refused = None;
        for topic in &answer.topics {
            for partition in &topic.partitions {
                match (Verdict::of_partition(partition.error_code), Verdict::of(partition.error_code)) {
                    (Some(why), _) => refused = Some((TopicPartition::new(&**topic.name, partition.partition_index as u32), why)),
                    (None, Verdict::Ok) => {}
                    (None, verdict) => return Ok(Committed::As(verdict)),
                }
            }
        }
        Ok(refused.map_or(Committed::As(Verdict::Ok), |(partition, why)| Committed::Except(partition, why)))
    }

    fn instance(&self) -> Option<StrBytes> {
        self.instance.as_deref().map(text)
    }

    fn group(&self) -> GroupId {
        GroupId(text(self.group_id.as_str()))
    }
}

fn millis(duration: Duration) -> i32 {
    duration.as_millis().try_into().unwrap_or(i32::MAX)
}

//! Consumer groups seen from outside: who coordinates one, who is in it.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{DescribeGroupsRequest, FindCoordinatorRequest, GroupId, LeaveGroupRequest};

use crate::client::{Client, Patience};
use crate::connection::Connection;
use crate::error::Error;
use crate::metadata::Broker;
use crate::request::Request;
use crate::text;

/// From this version on, FindCoordinator takes and answers lists.
const LISTED: i16 = 4;

/// A group as its coordinator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Kafka's word: `Stable`, `PreparingRebalance`, `CompletingRebalance`, `Empty`, `Dead` (also when it never existed).
    pub state: String,
    /// `consumer`, or empty.
    pub protocol_type: String,
    /// The assignor that was agreed on; empty unless stable.
    pub protocol: String,
    pub members: Vec<GroupMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    pub id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    pub client_id: String,
    pub host: String,
    /// What the member said when it joined.
    pub metadata: Bytes,
    /// What the leader gave it.
    pub assignment: Bytes,
}

impl Client {
    /// The broker that coordinates a group. That there is none yet is an answer, which is not waited away.
    pub async fn coordinator(&self, group: &str) -> Result<Broker, Error> {
        match self.coordinator_at(self.any().await?, group).await {
            Err(Error::Closed { .. }) => self.coordinator_at(self.any().await?, group).await,
            found => found,
        }
    }

    async fn coordinator_at(&self, connection: Connection, group: &str) -> Result<Broker, Error> {
        let about = format!("group `{group}`");
        let listed = connection.version_of::<FindCoordinatorRequest>().is_some_and(|version| version >= LISTED);
        let request = match listed {
            true => FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]),
            false => FindCoordinatorRequest::default().with_key(text(group)),
        };
        let response = connection.call(request).await?;
        if !listed {
            let message = response.error_message.as_ref().map(|message| message.as_str());
            Error::check(FindCoordinatorRequest::NAME, response.error_code, about, message)?;
            return Broker::of(response.node_id.0, &response.host, response.port);
        }
        let found = response.coordinators.into_iter().find(|coordinator| coordinator.key.as_str() == group);
        let found = found.ok_or_else(|| Error::Protocol(format!("FindCoordinator was not answered for {about}")))?;
        let message = found.error_message.as_ref().map(|message| message.as_str());
        Error::check(FindCoordinatorRequest::NAME, found.error_code, about, message)?;
        Broker::of(found.node_id.0, &found.host, found.port)
    }

    /// State and members of a group.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, Error> {
        let mut patience = Patience::new();
        loop {
            match self.describe_group_once(group).await {
                Err(error) => patience.after(error).await?,
                described => return described,
            }
        }
    }

    async fn describe_group_once(&self, group: &str) -> Result<GroupDescription, Error> {
        let connection = self.to(&self.coordinator(group).await?).await?;
        let response = connection.call(DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))])).await?;
        let about = format!("group `{group}`");
        let found = response.groups.into_iter().find(|found| found.group_id.as_str() == group);
        let found = found.ok_or_else(|| Error::Protocol(format!("DescribeGroups was not answered for {about}")))?;
        // Newer brokers say of a group that doesn't exist that it isn't there, older ones that it is dead.
        let exists = found.error_code != ResponseError::GroupIdNotFound.code();
        if exists {
            let message = found.error_message.as_ref().map(|message| message.as_str());
            Error::check(DescribeGroupsRequest::NAME, found.error_code, about, message)?;
        }
        let members = found.members.into_iter().map(|member| GroupMember {
            id: member.member_id.to_string(),
            instance_id: member.group_instance_id.map(|id| id.to_string()),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            metadata: member.member_metadata,
            assignment: member.member_assignment,
        });
        Ok(GroupDescription {
            state: if exists { found.group_state.to_string() } else { "Dead".to_string() },
            protocol_type: found.protocol_type.to_string(),
            protocol: found.protocol_data.to_string(),
            members: members.collect(),
        })
    }

    /// Takes a static member out of a group in its stead, so that its partitions go to others at once; false if it wasn't in it.
    pub async fn remove_static_member(&self, group: &str, instance_id: &str, reason: &str) -> Result<bool, Error> {
        let mut patience = Patience::new();
        loop {
            match self.remove_static_member_once(group, instance_id, reason).await {
                Err(error) => patience.after(error).await?,
                removed => return removed,
            }
        }
    }

    async fn remove_static_member_once(&self, group: &str, instance_id: &str, reason: &str) -> Result<bool, Error> {
        let connection = self.to(&self.coordinator(group).await?).await?;
        let member = MemberIdentity::default().with_group_instance_id(Some(text(instance_id))).with_reason(Some(text(reason)));
        let request = LeaveGroupRequest::default().with_group_id(GroupId(text(group))).with_members(vec![member]);
        let response = connection.call(request).await?;
        let of_member = response.members.first().map_or(0, |member| member.error_code);
        let code = if response.error_code != 0 { response.error_code } else { of_member };
        let gone = [ResponseError::UnknownMemberId, ResponseError::GroupIdNotFound];
        if gone.iter().any(|error| error.code() == code) {
            return Ok(false);
        }
        let about = format_args!("member `{instance_id}` of group `{group}`");
        Error::check(LeaveGroupRequest::NAME, code, about, None).map(|()| true)
    }
}

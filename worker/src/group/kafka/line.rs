//! What a member's requests go over: the wire client, or in a simulation the model of a coordinator.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use faust_wire::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    OffsetCommitRequest, OffsetCommitResponse, SyncGroupRequest, SyncGroupResponse,
};
use faust_wire::{Client, Connection, Error, GroupDescription};
use futures::future::{BoxFuture, try_join};

/// The way to a group's coordinator.
pub(crate) trait Way: Send + Sync + 'static {
    /// Finds the coordinator and connects to it.
    fn link(&self, group: &str) -> BoxFuture<'static, Result<Link, Error>>;

    /// The committed offsets of these partitions, refused while a transaction is open on one of them.
    fn offsets(&self, group: &str, of: &[(String, i32)]) -> BoxFuture<'static, Result<Offsets, Error>>;

    /// Who is in the group, and what they have said and were told.
    fn described(&self, group: &str) -> BoxFuture<'static, Result<GroupDescription, Error>>;
}

pub(crate) type Offsets = BTreeMap<(String, i32), Option<i64>>;

/// Two connections, since a broker serves one request of a connection after the other and holds JoinGroup and SyncGroup back.
#[derive(Clone)]
pub(crate) struct Link {
    pub joins: Arc<dyn Line>,
    /// Heartbeats, offset commits, the farewell.
    pub other: Arc<dyn Line>,
}

pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// One connection to the coordinator. A request that isn't answered `within` its time ends it.
pub(crate) trait Line: Debug + Send + Sync {
    fn join(&self, request: JoinGroupRequest, within: Duration) -> Answer<'_, JoinGroupResponse>;
    fn sync(&self, request: SyncGroupRequest, within: Duration) -> Answer<'_, SyncGroupResponse>;
    fn heartbeat(&self, request: HeartbeatRequest, within: Duration) -> Answer<'_, HeartbeatResponse>;
    fn leave(&self, request: LeaveGroupRequest, within: Duration) -> Answer<'_, LeaveGroupResponse>;
    fn commit(&self, request: OffsetCommitRequest, within: Duration) -> Answer<'_, OffsetCommitResponse>;
}

impl Way for Client {
    fn link(&self, group: &str) -> BoxFuture<'static, Result<Link, Error>> {
        let (client, group) = (self.clone(), group.to_string());
        Box::pin(async move {
            let broker = client.coordinator(&group).await?;
            let (joins, other) = try_join(client.connect(&broker), client.connect(&broker)).await?;
            Ok(Link { joins: Arc::new(joins), other: Arc::new(other) })
        })
    }

    fn offsets(&self, group: &str, of: &[(String, i32)]) -> BoxFuture<'static, Result<Offsets, Error>> {
        let (client, group, of) = (self.clone(), group.to_string(), of.to_vec());
        Box::pin(async move { client.offset_fetch(&group, Some(&of), true).await })
    }

    fn described(&self, group: &str) -> BoxFuture<'static, Result<GroupDescription, Error>> {
        let (client, group) = (self.clone(), group.to_string());
        Box::pin(async move { client.describe_group(&group).await })
    }
}

impl Line for Connection {
    fn join(&self, request: JoinGroupRequest, within: Duration) -> Answer<'_, JoinGroupResponse> {
        Box::pin(self.call_with_timeout(request, within))
    }

    fn sync(&self, request: SyncGroupRequest, within: Duration) -> Answer<'_, SyncGroupResponse> {
        Box::pin(self.call_with_timeout(request, within))
    }

    fn heartbeat(&self, request: HeartbeatRequest, within: Duration) -> Answer<'_, HeartbeatResponse> {
        Box::pin(self.call_with_timeout(request, within))
    }

    fn leave(&self, request: LeaveGroupRequest, within: Duration) -> Answer<'_, LeaveGroupResponse> {
        Box::pin(self.call_with_timeout(request, within))
    }

    fn commit(&self, request: OffsetCommitRequest, within: Duration) -> Answer<'_, OffsetCommitResponse> {
        Box::pin(self.call_with_timeout(request, within))
    }
}

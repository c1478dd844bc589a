//! Which requests can be made, and what answers each.
//!
//! The codec has such a trait too, but implements it only when its broker half is compiled as well.

use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, VersionRange};

/// A request of Kafka's protocol.
pub trait Request: Encodable + HeaderVersion + Message + Send + Sync + 'static {
    type Response: Decodable + HeaderVersion + Message + Send + 'static;
    const KEY: ApiKey;
    const NAME: &'static str;

    /// The versions of which the codec knows both halves.
    fn known_versions() -> VersionRange {
        Self::VERSIONS.intersect(&Self::Response::VERSIONS)
    }
}

macro_rules! requests {
    ($($name:ident: $request:ident => $response:ident,)*) => {
        $(impl Request for $request {
            type Response = $response;
            const KEY: ApiKey = ApiKey::$name;
            const NAME: &'static str = stringify!($name);
        })*
    };
}

requests! {
    ApiVersions: ApiVersionsRequest => ApiVersionsResponse,
    Metadata: MetadataRequest => MetadataResponse,
    FindCoordinator: FindCoordinatorRequest => FindCoordinatorResponse,
    JoinGroup: JoinGroupRequest => JoinGroupResponse,
    SyncGroup: SyncGroupRequest => SyncGroupResponse,
    Heartbeat: HeartbeatRequest => HeartbeatResponse,
    LeaveGroup: LeaveGroupRequest => LeaveGroupResponse,
    OffsetCommit: OffsetCommitRequest => OffsetCommitResponse,
    OffsetFetch: OffsetFetchRequest => OffsetFetchResponse,
    DescribeGroups: DescribeGroupsRequest => DescribeGroupsResponse,
    DeleteGroups: DeleteGroupsRequest => DeleteGroupsResponse,
    ListOffsets: ListOffsetsRequest => ListOffsetsResponse,
    CreateTopics: CreateTopicsRequest => CreateTopicsResponse,
    DeleteTopics: DeleteTopicsRequest => DeleteTopicsResponse,
    CreatePartitions: CreatePartitionsRequest => CreatePartitionsResponse,
    DeleteRecords: DeleteRecordsRequest => DeleteRecordsResponse,
    DescribeConfigs: DescribeConfigsRequest => DescribeConfigsResponse,
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse,
}

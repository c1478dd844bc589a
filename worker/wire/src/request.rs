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
    /// Older ones lack something that correct work depends on.
    const OLDEST: i16;

    /// The versions that we speak: of which the codec knows both halves, and that can do what we need.
    fn known_versions() -> VersionRange {
        let codec = Self::VERSIONS.intersect(&Self::Response::VERSIONS);
        VersionRange { min: codec.min.max(Self::OLDEST), ..codec }
    }
}

/// The oldest Kafka that has all the versions below.
pub(crate) const OLDEST_KAFKA: &str = "2.8";

macro_rules! requests {
    ($($name:ident: $request:ident => $response:ident $(, from $oldest:literal)?;)*) => {
        $(impl Request for $request {
            type Response = $response;
            const KEY: ApiKey = ApiKey::$name;
            const NAME: &'static str = stringify!($name);
            const OLDEST: i16 = 0 $(+ $oldest)?;
        })*
    };
}

requests! {
    ApiVersions: ApiVersionsRequest => ApiVersionsResponse;
    SaslHandshake: SaslHandshakeRequest => SaslHandshakeResponse, from 1; // the mechanism's messages are requests too
    SaslAuthenticate: SaslAuthenticateRequest => SaslAuthenticateResponse, from 1; // says how long it counts
    Metadata: MetadataRequest => MetadataResponse, from 10; // a topic that was made anew has another id; Kafka 2.8
    FindCoordinator: FindCoordinatorRequest => FindCoordinatorResponse;
    JoinGroup: JoinGroupRequest => JoinGroupResponse, from 5; // static members; 2.3
    SyncGroup: SyncGroupRequest => SyncGroupResponse;
    Heartbeat: HeartbeatRequest => HeartbeatResponse;
    LeaveGroup: LeaveGroupRequest => LeaveGroupResponse, from 3; // in the stead of a static member; 2.4
    OffsetCommit: OffsetCommitRequest => OffsetCommitResponse, from 7; // a static member is fenced; 2.3
    OffsetFetch: OffsetFetchRequest => OffsetFetchResponse, from 7; // waits for open transactions; 2.5
    DescribeGroups: DescribeGroupsRequest => DescribeGroupsResponse, from 4; // instance ids; 2.4
    DeleteGroups: DeleteGroupsRequest => DeleteGroupsResponse;
    ListOffsets: ListOffsetsRequest => ListOffsetsResponse;
    OffsetForLeaderEpoch: OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse, from 3; // for others than replicas; 2.3
    CreateTopics: CreateTopicsRequest => CreateTopicsResponse, from 4; // the broker's own defaults; 2.4
    DeleteTopics: DeleteTopicsRequest => DeleteTopicsResponse;
    CreatePartitions: CreatePartitionsRequest => CreatePartitionsResponse;
    DeleteRecords: DeleteRecordsRequest => DeleteRecordsResponse;
    DescribeConfigs: DescribeConfigsRequest => DescribeConfigsResponse;
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse;
}

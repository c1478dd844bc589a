//! What the coordinator's error codes mean to a member.

/// What an answer's error code asks of the member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ok,
    /// A rebalance has begun: join.
    Rebalance,
    /// The request carried another generation than the group's.
    OtherGeneration,
    /// The coordinator doesn't know the member: its session expired.
    UnknownMember,
    /// Another process has the member's place.
    Fenced,
    /// Join again with the member id of the answer.
    TakeId,
    /// The coordinator is elsewhere, or not there yet: find it again.
    Moved(&'static str),
    /// Something failed that another try may mend.
    Retry(&'static str),
    /// No further try helps; in words that go behind "Kafka refuses …: ".
    Refused(&'static str),
}

impl Verdict {
    pub fn of(code: i16) -> Self {
        match code {
            0 => Self::Ok,
            22 => Self::OtherGeneration,
            25 => Self::UnknownMember,
            27 => Self::Rebalance,
            79 => Self::TakeId,
            82 => Self::Fenced,
            14 => Self::Moved("the coordinator is still loading its groups"),
            15 => Self::Moved("the coordinator is not available"),
            16 => Self::Moved("the coordinator is another broker now"),
            12 => Self::Refused("the offset's metadata is too large"),
            23 => Self::Refused(
                "the group's other members speak another assignment protocol; is its id used by another application? Give this one an \
                 id of its own",
            ),
            24 => Self::Refused("the group's id is not valid; choose another app id"),
            26 => Self::Refused(
                "the session timeout is outside of what the brokers allow; set it between their `group.min.session.timeout.ms` and \
                 `group.max.session.timeout.ms`",
            ),
            28 => Self::Refused("the offset commit is too large; raise the brokers' `offset.metadata.max.bytes`"),
            30 => Self::Refused("it may not use the group; grant READ on it"),
            31 => Self::Refused("it may not use this cluster; grant it access"),
            35 => Self::Refused("the brokers are too old for this request; use Kafka 2.5 or later"),
            42 => Self::Refused(
                "the coordinator finds the request invalid; is the group's id used by a consumer of another protocol?",
            ),
            58 => Self::Refused("its credentials are not accepted; check user and password"),
            81 => Self::Refused("the group is full; raise the brokers' `group.max.size`"),
            _ => Self::Retry("the coordinator failed on the request"),
        }
    }

    /// Why an offset commit fails for one partition and no other, if that is what the code says: it is nothing about the member.
    pub fn of_partition(code: i16) -> Option<&'static str> {
        match code {
            3 => Some("Kafka doesn't know it; was the topic deleted?"),
            29 => Some("this worker may not read the topic; grant READ on it"),
            _ => None,
        }
    }
}

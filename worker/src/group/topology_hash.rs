//! One number for a topology, so that members that mean different things by the same task id notice.

use crate::fnv::Fnv;
use crate::topology::CoPartitioned;

/// Equal for equal co-partition groups and partition counts, in every process and every version of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct TopologyHash(pub u64);

impl TopologyHash {
    pub fn of(groups: &[CoPartitioned]) -> Self {
        let mut hash = Fnv::new();
        for group in groups {
            for topic in &group.topics {
                hash.eat(topic.as_bytes());
                hash.eat(b",");
            }
            hash.eat(&group.partitions.to_be_bytes());
        }
        Self(hash.0)
    }
}

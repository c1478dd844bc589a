//! One number for a topology, and one for each of its groups, so that members that mean different things by the same task id notice.

use crate::fnv::Fnv;
use crate::topology::CoPartitioned;

/// Equal for equal co-partition groups and partition counts, in every process and every version of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct TopologyHash(pub u64);

/// Equal for equal topics and partition counts of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct GroupHash(pub u64);

impl TopologyHash {
    pub fn of(groups: &[CoPartitioned]) -> Self {
        let mut hash = Fnv::new();
        groups.iter().for_each(|group| eat(&mut hash, group));
        Self(hash.0)
    }
}

impl GroupHash {
    pub fn of(group: &CoPartitioned) -> Self {
        let mut hash = Fnv::new();
        eat(&mut hash, group);
        Self(hash.0)
    }
}

/// How many copies there are to be is none of it: that may change worker by worker.
fn eat(hash: &mut Fnv, group: &CoPartitioned) {
    for topic in &group.topics {
        hash.eat(topic.as_bytes());
        hash.eat(b",");
    }
    hash.eat(&group.partitions.to_be_bytes());
}

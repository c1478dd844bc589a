//! What is in whose hands, by what the members say.

use super::Member;
use crate::topology::CoPartitioned;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    None,
    /// A member, as an index.
    One(usize),
    /// Two got it from the same generation, so neither can be believed: it is given to nobody before both have let go.
    Several,
}

impl Holder {
    pub fn is(self, member: usize) -> bool {
        self == Self::One(member)
    }
}

/// Who holds each partition of each group: of two that claim it, the one to whom a newer generation gave it.
pub(super) fn holders(members: &[&Member], groups: &[CoPartitioned]) -> Vec<Vec<Holder>> {
    let mut held: Vec<Vec<(Holder, i32)>> = groups.iter().map(|g| vec![(Holder::None, i32::MIN); g.partitions as usize]).collect();
    for (index, member) in members.iter().enumerate() {
        for task in &member.owned {
            let Some(held) = held.get_mut(task.group as usize).and_then(|group| group.get_mut(task.partition as usize)) else {
                continue;
            };
            *held = match *held {
                (Holder::None, _) => (Holder::One(index), member.generation),
                (_, generation) if generation < member.generation => (Holder::One(index), member.generation),
                (Holder::One(other), generation) if generation == member.generation && other != index => {
                    (Holder::Several, generation)
                }
                other => other,
            };
        }
    }
    held.into_iter().map(|group| group.into_iter().map(|(holder, _)| holder).collect()).collect()
}

//! What a member of another version of the app means by its task ids.

use crate::group::topology_hash::{GroupHash, TopologyHash};
use crate::group::userdata::Subscription;
use crate::topology::{CoPartitioned, Groups, TaskId};

/// Which of a member's groups are which of ours.
pub(crate) struct Terms {
    /// All are, by the same numbers.
    pub same: bool,
    /// What the member takes task ids to mean.
    pub topology: TopologyHash,
    /// Our and the member's number of each group that both have.
    pairs: Vec<(u32, u32)>,
}

impl Terms {
    pub fn of(said: Option<&Subscription>, groups: &Groups) -> Self {
        let ours = TopologyHash::of(groups);
        let same = said.is_some_and(|said| said.topology == ours);
        let theirs: &[GroupHash] = said.map_or(&[], |said| &said.groups);
        let pair = |(group, of): (u32, &CoPartitioned)| {
            let other = if same { Some(group) } else { place(theirs, GroupHash::of(of)) };
            other.map(|other| (group, other))
        };
        let pairs: Vec<(u32, u32)> = (0..).zip(groups).filter_map(pair).collect();
        // Where nothing is shared the member is to see that it is another topology's leader who gives it nothing.
        let topology = said.filter(|_| !pairs.is_empty()).map_or(ours, |said| said.topology);
        Self { same, topology, pairs }
    }

    pub fn ours(&self, theirs: u32) -> Option<u32> {
        self.pairs.iter().find(|(_, other)| *other == theirs).map(|(ours, _)| *ours)
    }

    pub fn theirs(&self, ours: u32) -> Option<u32> {
        self.pairs.iter().find(|(own, _)| *own == ours).map(|(_, theirs)| *theirs)
    }

    pub fn to_ours(&self, tasks: &[TaskId]) -> Vec<TaskId> {
        sorted(tasks.iter().filter_map(|task| self.ours(task.group).map(|group| TaskId { group, ..*task })))
    }

    pub fn to_theirs(&self, tasks: &[TaskId]) -> Vec<TaskId> {
        sorted(tasks.iter().filter_map(|task| self.theirs(task.group).map(|group| TaskId { group, ..*task })))
    }
}

fn place(hashes: &[GroupHash], of: GroupHash) -> Option<u32> {
    hashes.iter().position(|hash| *hash == of).map(|place| place as u32)
}

fn sorted(tasks: impl Iterator<Item = TaskId>) -> Vec<TaskId> {
    let mut tasks: Vec<TaskId> = tasks.collect();
    tasks.sort();
    tasks
}

//! A group of one, for the log in memory: every task is ours, from the start to the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::events::Events;
use super::{Drain, GroupError, GroupEvent, Lease, MemberView, Membership, Places};
use crate::log::BoxFuture;
use crate::time::TopicPartition;
use crate::topology::{Groups, TaskId};

const GENERATION: i32 = 1;

/// The committed offsets of a group in memory. Whoever starts the group again in the same process hands over the same ones.
#[derive(Debug, Default)]
pub(crate) struct Offsets(Mutex<BTreeMap<TopicPartition, i64>>);

/// The only member of its group.
pub(crate) struct SingleGroup {
    offsets: Arc<Offsets>,
    lease: Lease,
    events: Events<GroupEvent>,
}

impl SingleGroup {
    pub fn start(groups: &Groups, offsets: Arc<Offsets>) -> Arc<Self> {
        let partitions = |(group, of): (u32, &crate::topology::CoPartitioned)| {
            (0..of.partitions).map(move |partition| TaskId { group, partition })
        };
        let tasks = (0..).zip(groups).flat_map(partitions).collect();
        let events = Events::new();
        events.push(GroupEvent::Assigned { generation: GENERATION, tasks, standbys: Vec::new() });
        let lease = Lease::new(Duration::from_millis(u64::MAX), Duration::ZERO);
        lease.renew(1);
        Arc::new(Self { offsets, lease, events })
    }
}

impl Membership for SingleGroup {
    fn next(&self) -> BoxFuture<'_, GroupEvent> {
        Box::pin(self.events.next())
    }

    fn released(&self) {}

    fn committed<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Option<i64>>, GroupError>> {
        let offsets = self.offsets.0.lock().unwrap();
        let committed = of.iter().map(|partition| offsets.get(partition).copied()).collect();
        Box::pin(std::future::ready(Ok(committed)))
    }

    fn commit(&self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'_, Result<(), GroupError>> {
        self.offsets.0.lock().unwrap().extend(offsets);
        Box::pin(std::future::ready(Ok(())))
    }

    fn lease(&self) -> &Lease {
        &self.lease
    }

    fn view(&self) -> MemberView {
        MemberView {
            member: "single".to_string(),
            generation: GENERATION,
            leader: true,
            settled: true,
            leader_member: "single".to_string(),
            joined: true,
            rebalances: 1,
            handed_over: false,
        }
    }

    fn places(&self, _of: TaskId) -> BoxFuture<'_, Result<Places, GroupError>> {
        Box::pin(std::future::ready(Ok(Places::default())))
    }

    fn cold(&self) {}

    fn copies(&self, _lags: Vec<(TaskId, u64)>) {}

    /// There is nobody to hand over to.
    fn drain(&self, how: Drain) {
        if how == Drain::Leave {
            self.events.push(GroupEvent::Left);
        }
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        self.lease.end();
        self.events.push(GroupEvent::Left);
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::CoPartitioned;

    #[tokio::test]
    async fn a_second_start_finds_the_offsets_of_the_first() {
        let groups = vec![
            CoPartitioned { topics: vec!["a".into()], partitions: 1, stateful: false, standbys: 0 },
            CoPartitioned { topics: vec!["b".into()], partitions: 2, stateful: false, standbys: 0 },
        ];
        let offsets = Arc::new(Offsets::default());
        let group = SingleGroup::start(&groups, offsets.clone());
        let task = |group, partition| TaskId { group, partition };
        let all = vec![task(0, 0), task(1, 0), task(1, 1)];
        assert_eq!(group.next().await, GroupEvent::Assigned { generation: 1, tasks: all, standbys: vec![] });
        assert!(group.lease().holds(crate::rt::uptime_millis()));
        let (a, b) = (TopicPartition::new("a", 0), TopicPartition::new("b", 1));
        group.commit(vec![(b.clone(), 7)]).await.unwrap();
        group.end().await;
        assert_eq!(group.next().await, GroupEvent::Left);

        let again = SingleGroup::start(&groups, offsets);
        assert_eq!(again.committed(&[a, b]).await, Ok(vec![None, Some(7)]));
    }
}

//! Who has what in the group, as its coordinator tells: an assignment says nothing of others' tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use faust_wire::{Error, GroupDescription};
use tokio::sync::Mutex;

use super::consumer;
use super::line::Way;
use crate::group::Places;
use crate::group::protocol::Terms;
use crate::topology::{Groups, TaskId};

/// Asked for and decoded when somebody wants to know, once for each generation.
#[derive(Default)]
pub(super) struct Directory(Mutex<Option<(i32, Arc<Entries>)>>);

/// The members with something, and what that is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Entries {
    endpoints: Vec<String>,
    owners: BTreeMap<TaskId, usize>,
    standbys: BTreeMap<TaskId, Vec<usize>>,
}

impl Directory {
    pub async fn places(
        &self,
        way: &dyn Way,
        group_id: &str,
        groups: &Groups,
        generation: i32,
        of: TaskId,
    ) -> Result<Places, Error> {
        // Whoever comes meanwhile waits for the same answer.
        let mut known = self.0.lock().await;
        if let Some((_, entries)) = known.as_ref().filter(|(of, _)| *of == generation) {
            return Ok(entries.places(of));
        }
        let described = way.described(group_id).await?;
        let entries = Arc::new(Entries::of(&described, groups));
        // While the group rebalances, members have no assignments; and who is no member doesn't know which generation it has seen.
        *known = (described.state == "Stable" && generation >= 0).then(|| (generation, entries.clone()));
        Ok(entries.places(of))
    }
}

impl Entries {
    fn of(described: &GroupDescription, groups: &Groups) -> Self {
        let mut entries = Self::default();
        for member in &described.members {
            let peer = consumer::peer(member.id.clone(), member.metadata.clone());
            let told = consumer::told(member.assignment.clone());
            let (Some(said), Some(told)) = (peer.subscription, told) else { continue };
            let terms = Terms::of(Some(&said), groups);
            // Given by the leader of another topology than the member's, it means nothing.
            if told.topology != said.topology || said.endpoint.is_empty() {
                continue;
            }
            let index = entries.endpoints.len();
            for task in terms.to_ours(&told.active) {
                entries.owners.insert(task, index);
            }
            for task in terms.to_ours(&told.kept()) {
                entries.standbys.entry(task).or_default().push(index);
            }
            entries.endpoints.push(said.endpoint);
        }
        entries
    }

    fn places(&self, of: TaskId) -> Places {
        let standbys = self.standbys.get(&of).into_iter().flatten();
        Places {
            owner: self.owners.get(&of).map(|owner| self.endpoints[*owner].clone()),
            standbys: standbys.map(|standby| self.endpoints[*standby].clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use faust_wire::GroupMember;

    use super::*;
    use crate::group::topology_hash::{GroupHash, TopologyHash};
    use crate::group::userdata::{Assignment, Subscription};
    use crate::topology::CoPartitioned;

    #[test]
    fn a_task_is_where_its_member_can_be_reached_whatever_version_of_the_app_that_is() {
        let group = |topic: &str| CoPartitioned { topics: vec![topic.into()], partitions: 2, stateful: true, standbys: 1 };
        let (ours, theirs) = (vec![group("views")], vec![group("clicks"), group("views")]);
        let task = |group, partition| TaskId { group, partition };
        let member = |endpoint: &str, groups: &Groups, active, standby, warmups| {
            let (topology, hashes) = (TopologyHash::of(groups), groups.iter().map(GroupHash::of).collect());
            let said = Subscription { endpoint: endpoint.into(), topology, groups: hashes, ..Subscription::default() };
            let told = Assignment { active, standby, warmups, topology, ..Assignment::default() };
            GroupMember {
                id: endpoint.into(),
                instance_id: None,
                client_id: String::new(),
                host: String::new(),
                metadata: consumer::subscription(&said, groups),
                assignment: consumer::assignment(&told, &[], groups),
            }
        };
        let mut members = vec![
            member("a:1", &ours, vec![task(0, 0)], vec![], vec![]),
            member("b:1", &theirs, vec![task(1, 1)], vec![task(1, 0)], vec![]),
            member("c:1", &ours, vec![], vec![], vec![task(0, 0)]),
        ];
        members.push(GroupMember { metadata: "garbage".into(), ..members[0].clone() });
        let described =
            GroupDescription { state: "Stable".into(), protocol_type: "consumer".into(), protocol: "faust".into(), members };
        let entries = Entries::of(&described, &ours);
        let places = |owner: Option<&str>, standbys: &[&str]| Places {
            owner: owner.map(str::to_string),
            standbys: standbys.iter().map(|standby| standby.to_string()).collect(),
        };
        assert_eq!(entries.places(task(0, 0)), places(Some("a:1"), &["b:1", "c:1"]));
        assert_eq!(entries.places(task(0, 1)), places(Some("b:1"), &[]));
        assert_eq!(entries.places(task(0, 2)), places(None, &[]));
    }
}

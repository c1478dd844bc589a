//! The user-data that rides on the group protocol: what a member tells of itself when it joins, and what the leader tells it.
//!
//! A format only ever grows at its end, so that during a rolling upgrade every version reads every other: a reader takes the
//! fields it knows and leaves the rest alone. Numbers are LEB128, because the coordinator keeps all members' bytes in one record.

use super::topology_hash::TopologyHash;
use crate::fnv::Fnv;
use crate::topology::TaskId;

const VERSION: u8 = 2;
/// The first one with `draining` and `heard`.
const HAS_DRAINING: u8 = 2;

/// What a member tells of itself.
///
/// The broker rebalances when a single byte of it changes, so it is put together once for each rebalance that the member wants (the
/// `nonce` counts those, from a number that no earlier process had) and repeated as it is whenever an answer got lost.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Subscription {
    /// The instance id of a static member; else the process, whatever member id the coordinator gives it.
    pub process: String,
    pub nonce: u64,
    /// Where other workers reach this one, as `host:port`; empty when they can't.
    pub endpoint: String,
    /// Rack or availability zone; empty when unknown.
    pub zone: String,
    /// The generation that gave the member its active tasks; −1 when it has none.
    pub generation: i32,
    /// The active tasks in its hands: assigned, or taken away and not yet released.
    pub active: Vec<TaskId>,
    pub standby: Vec<TaskId>,
    /// How far its copies of the tasks' changelogs are.
    pub positions: Vec<(TaskId, u64)>,
    pub topology: TopologyHash,
    /// It gives its tasks away and takes no others.
    pub draining: bool,
}

/// What the leader tells a member: its own tasks only, or the record of the group would grow with members × partitions.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Assignment {
    pub active: Vec<TaskId>,
    pub standby: Vec<TaskId>,
    /// Member id of the member that computed it.
    pub leader: String,
    /// Tasks wait for their old owners: the next rebalance is near.
    pub more: bool,
    /// The topology that the leader's task ids mean.
    pub topology: TopologyHash,
    /// To what this is the answer; none of a leader that doesn't say.
    pub heard: Option<Heard>,
}

/// What the leader had heard of the member when it planned.
///
/// A static member that comes back is given what its predecessor had, and the leader isn't asked: by this it sees that its own words
/// were not heard, and whether they say anything that the leader should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Heard {
    pub nonce: u64,
    pub portrait: u64,
}

impl Subscription {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_text(&mut out, &self.process);
        put_number(&mut out, self.nonce);
        put_text(&mut out, &self.endpoint);
        put_text(&mut out, &self.zone);
        put_number(&mut out, (i64::from(self.generation) + 1).max(0) as u64);
        put_tasks(&mut out, &self.active);
        put_tasks(&mut out, &self.standby);
        put_number(&mut out, self.positions.len() as u64);
        for (task, position) in &self.positions {
            put_number(&mut out, task.group.into());
            put_number(&mut out, task.partition.into());
            put_number(&mut out, *position);
        }
        out.extend(self.topology.0.to_be_bytes());
        out.push(self.draining.into());
        out
    }

    /// What stays the same of a member over its rebalances, as one number.
    pub fn portrait(&self) -> u64 {
        let mut hash = Fnv::new();
        for text in [&self.endpoint, &self.zone] {
            hash.eat(text.as_bytes());
            hash.eat(&[0]);
        }
        hash.eat(&self.topology.0.to_be_bytes());
        hash.eat(&[self.draining.into()]);
        hash.0
    }

    pub fn heard(&self) -> Heard {
        Heard { nonce: self.nonce, portrait: self.portrait() }
    }

    /// None for bytes that are no such user-data.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::open(bytes)?;
        let (process, nonce, endpoint, zone) = (from.text()?, from.number()?, from.text()?, from.text()?);
        let generation = i32::try_from(i64::try_from(from.number()?).ok()? - 1).ok()?;
        let (active, standby) = (from.tasks()?, from.tasks()?);
        let mut positions = Vec::new();
        for _ in 0..from.number()? {
            let task = TaskId { group: from.small()?, partition: from.small()? };
            positions.push((task, from.number()?));
        }
        let topology = TopologyHash(from.hash()?);
        let draining = from.version >= HAS_DRAINING && from.byte()? != 0;
        Some(Self { process, nonce, endpoint, zone, generation, active, standby, positions, topology, draining })
    }
}

impl Assignment {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_tasks(&mut out, &self.active);
        put_tasks(&mut out, &self.standby);
        put_text(&mut out, &self.leader);
        out.push(self.more.into());
        out.extend(self.topology.0.to_be_bytes());
        out.push(self.heard.is_some().into());
        if let Some(heard) = self.heard {
            put_number(&mut out, heard.nonce);
            out.extend(heard.portrait.to_be_bytes());
        }
        out
    }

    /// None for bytes that are no such user-data.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::open(bytes)?;
        let (active, standby, leader) = (from.tasks()?, from.tasks()?, from.text()?);
        let more = from.byte()? != 0;
        let topology = TopologyHash(from.hash()?);
        let heard = match from.version >= HAS_DRAINING && from.byte()? != 0 {
            true => Some(Heard { nonce: from.number()?, portrait: from.hash()? }),
            false => None,
        };
        Some(Self { active, standby, leader, more, topology, heard })
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend(text.as_bytes());
}

/// Sorted tasks, group by group, each partition as the gap from the one before: one byte a task as a rule.
fn put_tasks(out: &mut Vec<u8>, tasks: &[TaskId]) {
    let groups: Vec<_> = tasks.chunk_by(|a, b| a.group == b.group).collect();
    put_number(out, groups.len() as u64);
    for group in groups {
        put_number(out, group[0].group.into());
        put_number(out, group.len() as u64);
        let mut next = 0;
        for task in group {
            put_number(out, (task.partition - next).into());
            next = task.partition + 1;
        }
    }
}

/// Takes fields off the front of bytes that may be anything.
struct Reader<'a> {
    version: u8,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn open(bytes: &'a [u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        (version >= 1).then_some(Self { version, rest })
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.bytes(1)?[0])
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()?.try_into().ok()?;
        String::from_utf8(self.bytes(length)?.to_vec()).ok()
    }

    /// Nothing is reserved for a count that is only claimed: each task takes at least a byte, so the bytes bound the memory.
    fn tasks(&mut self) -> Option<Vec<TaskId>> {
        let mut tasks = Vec::new();
        for _ in 0..self.number()? {
            let group = self.small()?;
            let mut next = 0u32;
            for _ in 0..self.number()? {
                let partition = next.checked_add(self.small()?)?;
                tasks.push(TaskId { group, partition });
                next = partition.checked_add(1)?;
            }
        }
        Some(tasks)
    }

    fn hash(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.bytes(8)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn tasks() -> impl Strategy<Value = Vec<TaskId>> {
        let task = (0..5u32, 0..300u32).prop_map(|(group, partition)| TaskId { group, partition });
        prop::collection::btree_set(task, 0..40).prop_map(|tasks: BTreeSet<_>| tasks.into_iter().collect())
    }

    prop_compose! {
        fn subscriptions()(process in ".*", nonce: u64, endpoint in ".*", zone in ".*", generation in -1..=i32::MAX, active in tasks(),
                           standby in tasks(), positions in prop::collection::vec(any::<u64>(), 0..20), topology: u64,
                           draining: bool) -> Subscription {
            let positions = active.iter().copied().zip(positions).collect();
            let topology = TopologyHash(topology);
            Subscription { process, nonce, endpoint, zone, generation, active, standby, positions, topology, draining }
        }
    }

    prop_compose! {
        fn assignments()(active in tasks(), standby in tasks(), leader in ".*", more: bool, topology: u64,
                         heard: Option<(u64, u64)>) -> Assignment {
            let heard = heard.map(|(nonce, portrait)| Heard { nonce, portrait });
            Assignment { active, standby, leader, more, topology: TopologyHash(topology), heard }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_also_with_fields_of_a_newer_version_behind_it(
            subscription in subscriptions(), assignment in assignments(), newer: Vec<u8>,
        ) {
            let (mut said, mut told) = (subscription.encode(), assignment.encode());
            prop_assert_eq!(Subscription::decode(&said), Some(subscription.clone()));
            prop_assert_eq!(Assignment::decode(&told), Some(assignment.clone()));
            for bytes in [&mut said, &mut told] {
                bytes[0] = VERSION + 1;
                bytes.extend(&newer);
            }
            prop_assert_eq!(Subscription::decode(&said), Some(subscription));
            prop_assert_eq!(Assignment::decode(&told), Some(assignment));
        }

        #[test]
        fn garbage_is_refused_and_never_panics(garbage: Vec<u8>, version in 0..4u8) {
            let bytes = [&[version], garbage.as_slice()].concat();
            let _ = (Subscription::decode(&bytes), Assignment::decode(&bytes));
        }

        #[test]
        fn torn_bytes_are_refused(subscription in subscriptions(), cut in 0..1_000usize) {
            let bytes = subscription.encode();
            prop_assert_eq!(Subscription::decode(&bytes[..cut % bytes.len()]), None);
        }
    }

    #[test]
    fn the_bytes_of_all_versions_stand() {
        let task = |group, partition| TaskId { group, partition };
        let subscription = Subscription {
            process: "p".into(),
            nonce: 300,
            endpoint: "h:1".into(),
            zone: "z".into(),
            generation: 4,
            active: vec![task(0, 0), task(0, 2), task(1, 7)],
            standby: vec![],
            positions: vec![(task(0, 2), 9)],
            topology: TopologyHash(0x0102_0304_0506_0708),
            draining: true,
        };
        let said = |version, rest: &[u8]| {
            let head = b"\x01p\xac\x02\x03h:1\x01z\x05".as_slice();
            let tasks = b"\x02\x00\x02\x00\x01\x01\x01\x07\x00\x01\x00\x02\x09".as_slice();
            [&[version], head, tasks, &[1, 2, 3, 4, 5, 6, 7, 8], rest].concat()
        };
        assert_eq!(subscription.encode(), said(2, &[1]));
        assert_eq!(Subscription::decode(&said(1, &[])), Some(Subscription { draining: false, ..subscription }));

        let heard = Some(Heard { nonce: 300, portrait: 9 });
        let assignment = Assignment { active: vec![task(0, 5)], leader: "l".into(), more: true, heard, ..Assignment::default() };
        let told = |version, rest: &[u8]| [&[version], b"\x01\x00\x01\x05\x00\x01l\x01".as_slice(), &[0; 8], rest].concat();
        assert_eq!(assignment.encode(), told(2, b"\x01\xac\x02\0\0\0\0\0\0\0\x09"));
        assert_eq!(Assignment::decode(&told(1, &[])), Some(Assignment { heard: None, ..assignment }));
    }
}

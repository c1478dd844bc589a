//! What a member tells, as bytes.

use super::bytes::{Reader, put_number, put_tasks, put_text};
use super::{Drain, HAS_COPIES, HAS_DRAINS, Heard, Subscription, VERSION};
use crate::fnv::Fnv;
use crate::group::lag::Lag;
use crate::group::topology_hash::{GroupHash, TopologyHash};
use crate::topology::TaskId;

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
        // The positions of the first two versions, of which there are none any more.
        put_number(&mut out, 0);
        out.extend(self.topology.0.to_be_bytes());
        out.push(drain_code(self.drains));
        put_text(&mut out, &self.node);
        put_tasks(&mut out, &self.warmups);
        out.push(self.copies.is_some().into());
        if let Some(copies) = &self.copies {
            let (tasks, lags): (Vec<TaskId>, Vec<Lag>) = copies.iter().copied().unzip();
            put_tasks(&mut out, &tasks);
            out.extend(lags.iter().map(|lag| lag.0));
        }
        put_number(&mut out, self.groups.len() as u64);
        self.groups.iter().for_each(|group| out.extend(group.0.to_be_bytes()));
        out
    }

    /// None for bytes that are no such user-data.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::open(bytes)?;
        let (process, nonce, endpoint, zone) = (from.text()?, from.number()?, from.text()?, from.text()?);
        let generation = i32::try_from(i64::try_from(from.number()?).ok()? - 1).ok()?;
        let (active, standby) = (from.tasks()?, from.tasks()?);
        for _ in 0..from.number()? {
            let _position = (from.small()?, from.small()?, from.number()?);
        }
        let topology = TopologyHash(from.hash()?);
        let drains = if from.version >= HAS_DRAINS { drain_of(from.byte()?) } else { None };
        let old = Self { process, nonce, endpoint, zone, generation, active, standby, topology, drains, ..Self::default() };
        if from.version < HAS_COPIES {
            return Some(old);
        }
        let (node, warmups) = (from.text()?, from.tasks()?);
        let copies = if from.byte()? != 0 { Some(copies(&mut from)?) } else { None };
        let mut groups = Vec::new();
        for _ in 0..from.number()? {
            groups.push(GroupHash(from.hash()?));
        }
        Some(Self { node, warmups, copies, groups, ..old })
    }

    /// What stays the same of a member over its rebalances, as one number.
    pub fn portrait(&self) -> u64 {
        let mut hash = Fnv::new();
        for text in [&self.endpoint, &self.zone, &self.node] {
            hash.eat(text.as_bytes());
            hash.eat(&[0]);
        }
        hash.eat(&self.topology.0.to_be_bytes());
        hash.eat(&[drain_code(self.drains)]);
        hash.0
    }

    pub fn heard(&self) -> Heard {
        Heard { nonce: self.nonce, portrait: self.portrait() }
    }
}

fn copies(from: &mut Reader) -> Option<Vec<(TaskId, Lag)>> {
    let tasks = from.tasks()?;
    let lags = from.bytes(tasks.len())?;
    Some(tasks.into_iter().zip(lags.iter().copied().map(Lag)).collect())
}

fn drain_code(drains: Option<Drain>) -> u8 {
    match drains {
        None => 0,
        Some(Drain::Leave) => 1,
        Some(Drain::Handover) => 2,
    }
}

/// A kind of drain that isn't known is taken for the one that gives everything away, as the second version took every kind.
fn drain_of(code: u8) -> Option<Drain> {
    match code {
        0 => None,
        2 => Some(Drain::Handover),
        _ => Some(Drain::Leave),
    }
}

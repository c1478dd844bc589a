//! What the leader tells a member, as bytes.

use super::bytes::{Reader, put_number, put_tasks, put_text};
use super::{Assignment, HAS_COPIES, HAS_DRAINS, Heard, VERSION};
use crate::group::lag::Lag;
use crate::group::topology_hash::TopologyHash;

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
        put_tasks(&mut out, &self.warmups);
        out.push(self.recovery_lag.0);
        out
    }

    /// None for bytes that are no such user-data.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::open(bytes)?;
        let (active, standby, leader) = (from.tasks()?, from.tasks()?, from.text()?);
        let more = from.byte()? != 0;
        let topology = TopologyHash(from.hash()?);
        let heard = match from.version >= HAS_DRAINS && from.byte()? != 0 {
            true => Some(Heard { nonce: from.number()?, portrait: from.hash()? }),
            false => None,
        };
        let (warmups, recovery_lag) = match from.version >= HAS_COPIES {
            true => (from.tasks()?, Lag(from.byte()?)),
            false => (Vec::new(), Lag::UNKNOWN),
        };
        Some(Self { active, standby, warmups, recovery_lag, leader, more, topology, heard })
    }
}

//! Whole clusters on one thread: the engine's real code – control, tasks, overlay, commit, restore, group member and assignor – on
//! simulated machines, networks and brokers, under faults, with everything that happens decided by a seed.
//!
//! ```text
//!   plan ──faults──▶ world ── workers (rt::sim::Process) ── log ──▶ net ──▶ the log in memory
//!                                   │                └─ membership ─▶ group ─▶ group::model
//!                                   └─ stores ─▶ disk            oracle ◀── what lands, what is committed
//! ```
//!
//! What a worker is given in place of the real thing: [`net`] (the log behind a network), [`group`] (the coordinator behind it),
//! [`disk`] (what a kill leaves). `make sim SEEDS=…` runs many seeds; `SEED=… ` runs one and prints what happened.

mod app;
mod disk;
mod group;
mod many;
mod mutants;
mod net;
mod oracle;
mod plan;
mod tests;
mod world;

pub(crate) use disk::Disk;
pub(crate) use world::{disk, log, membership};

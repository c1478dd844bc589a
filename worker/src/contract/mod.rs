//! What a worker and whoever deploys it tell each other, as `docs/reference/contract.md` has it.

mod declared;
mod description;
mod file;
#[cfg(test)]
mod golden;
#[cfg(feature = "kafka")]
mod labels;
mod load;
mod section;
#[cfg(test)]
mod tests;

pub(crate) use declared::Declared;
#[cfg(test)]
pub(crate) use declared::{DeclaredTable, DeclaredTopic};
pub(crate) use description::Description;
#[cfg(feature = "kafka")]
pub(crate) use labels::zone;
pub(crate) use load::{Configured, configure};

/// The version of the contract, on both sides. Additions don't raise it.
pub(crate) const VERSION: u64 = 1;

/// What an operator may require of a worker beyond version 1.
pub(crate) const FEATURES: [&str; 3] = ["drain-leave", "drain-handover", "standbys"];

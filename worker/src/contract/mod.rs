//! What a worker and whoever deploys it tell each other, as `docs/reference/contract.md` has it.

mod labels;

pub(crate) use labels::zone;

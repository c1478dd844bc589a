//! The pod plan against a small world: a StatefulSet controller, a kubelet, workers, a user, and an operator that dies anywhere.

mod cases;
mod properties;
pub mod world;

//! The operator: runs FaustApps.

mod app;
mod kafka;
mod model;
mod topics;

fn main() {}

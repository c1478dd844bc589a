//! The operator: runs FaustApps.

mod app;
mod model;

fn main() {}

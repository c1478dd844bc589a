//! The operator: runs FaustApps.

mod app;
mod model;
mod pods;
mod status;
mod workers;

fn main() {}

//! The operator: runs FaustApps.

mod app;
mod differs;
mod model;
mod objects;
mod quantity;
mod revision;
mod storage;

#[cfg(test)]
mod golden;

fn main() {}

//! The laws of an assignment, each for many clusters with random histories: `PROPTEST_CASES=10000` plays more of them.

mod cluster;
mod examples;
mod laws;
mod speed;

//! The operator's own program against a real API server and a real Kafka: what it writes, and whether its rights suffice for it.
//!
//! Nothing else acts there: the tests play the StatefulSet controller, the kubelet and the workers.

mod app;
mod door;
mod exactly;
mod leader;
mod operator;
mod pods;
mod refused;
mod stage;
mod steady;
mod wait;
mod worker;

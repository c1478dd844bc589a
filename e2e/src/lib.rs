//! What the scenarios are told with: workers as processes, a producer and readers that are not ours, and the oracle.
//!
//! `cluster` has what the scenarios on the cluster need beside that, `chaos` the runs in which one fault follows the other.
//!
//! Nothing here looks into the library. A worker is the real program, seen by its HTTP pages, its log and its exit code; Kafka is
//! seen by plain clients and by its own tools.

pub mod changelog;
pub mod chaos;
pub mod cluster;
pub mod deployment;
pub mod offsets;
pub mod oracle;
pub mod orders;
mod pace;
pub mod page_views;
pub mod pages;
mod random;
pub mod records;
pub mod views;
pub mod wait;
pub mod worker;

pub use deployment::Deployment;
pub use offsets::{Offsets, Window};
pub use oracle::Oracle;
pub use orders::Orders;
pub use page_views::PageViews;
pub use pages::{Row, State, TaskState};
pub use views::{Flow, Views};
pub use worker::Worker;

//! Real faults, one after the other: three brokers, three workers, records that never stop, and after it a look at every key.
//!
//! `plan` says from a seed what happens; `site` (brokers and the cables to them) and `stage` (one app on it) do it; `oracle` judges
//! what came out and `gaps` how long a partition stood still; `report` tells it.

mod cables;
mod commits;
mod gaps;
mod load;
mod oracle;
mod plan;
mod report;
mod round;
mod site;
mod stage;

pub use plan::{Fault, Members, Round, Setting};
pub use report::Report;
pub use round::play;
pub use site::Site;

/// The names of all workers that there may be; a round begins with the first three.
const NAMES: [&str; 5] = ["anna", "bert", "cleo", "dora", "emil"];
/// Of the app's source topic.
const PARTITIONS: i32 = 12;
/// Less loses members on a busy machine, more makes every take-over wait.
const SESSION: std::time::Duration = std::time::Duration::from_secs(3);

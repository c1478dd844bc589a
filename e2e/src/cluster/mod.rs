//! The cluster as a person has it: kubectl, helm, HTTP through the API server, Kafka's tools. And two things from behind the scenes,
//! where they are at hand: signals to a container, as the node sends them, and the API server's audit log.

mod app;
mod commits;
mod gone;
mod group;
mod kcat;
mod operator;
mod proxy;
mod report;
mod rights;
mod stage;
mod watch;

pub use app::{App, Claim, Condition, Pod, manifest};
pub use commits::Commits;
pub use group::Group;
pub use kcat::Kcat;
pub use operator::{Mark, Operator};
pub use stage::Stage;
pub use watch::{Change, Watch, most_unready, times_to_ready};

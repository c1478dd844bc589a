//! Clearing away what earlier tests left, so that none is told what another one did.

use faust_testbed::{Broker, Cluster};
use faust_wire::{Client, Config};
use tokio::runtime::Builder;

use crate::page_views::{CHANGELOG, COUNTED, VIEWS};

/// Deletes the namespaces with this label and waits until they are gone, and their pods with them.
#[track_caller]
pub fn namespaces(cluster: &Cluster, label: &str) {
    let arguments = ["delete", "namespaces", "--selector", label, "--timeout", "120s"];
    cluster.kubectl(arguments).unwrap_or_else(|error| panic!("an earlier test's namespace doesn't go: {error}"));
}

/// Deletes the example's topics; its group's offsets go with them.
#[track_caller]
pub fn topics(broker: &Broker) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = Client::new(Config::parse(&broker.bootstrap(), "faust-e2e").expect("a broker's address"));
    let names = [VIEWS, COUNTED, CHANGELOG].map(str::to_string);
    let metadata = runtime.block_on(client.metadata(Some(&names))).unwrap_or_else(|error| panic!("Kafka's topics: {error}"));
    for topic in metadata.topics.iter().filter(|topic| topic.error.is_none()) {
        broker.delete_topic(&topic.name).unwrap_or_else(|error| panic!("{error}"));
    }
}

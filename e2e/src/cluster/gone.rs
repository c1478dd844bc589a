//! Clearing away what earlier tests left, so that none is told what another one did.

use faust_testbed::{Broker, Cluster};
use faust_wire::{Client, Config};
use tokio::runtime::Builder;

use crate::page_views::{CHANGELOG, COUNTED, GROUP, VIEWS};

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

/// Takes the places of pods that are gone out of the example's group, as the end of their session would a while later.
#[track_caller]
pub fn members(broker: &Broker) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = Client::new(Config::parse(&broker.bootstrap(), "faust-e2e").expect("a broker's address"));
    let group = runtime.block_on(client.describe_group(GROUP)).unwrap_or_else(|error| panic!("group {GROUP}: {error}"));
    for instance in group.members.into_iter().filter_map(|member| member.instance_id) {
        let removed = runtime.block_on(client.remove_static_member(GROUP, &instance, "its pod is gone"));
        removed.unwrap_or_else(|error| panic!("member {instance} of group {GROUP}: {error}"));
    }
}

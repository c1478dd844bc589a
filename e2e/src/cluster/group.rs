//! The example's consumer group, as its coordinator describes it.

use faust_testbed::Broker;
use faust_wire::{Client, Config};
use tokio::runtime::{Builder, Runtime};

use crate::page_views::GROUP;
use crate::wait;

pub struct Group {
    runtime: Runtime,
    client: Client,
}

impl Group {
    pub fn on(broker: &Broker) -> Self {
        let config = Config::parse(&broker.bootstrap(), "faust-e2e").expect("a broker's address");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { runtime, client: Client::new(config) }
    }

    /// State, and its members' instance ids in order; a member without one by its member id.
    pub fn members(&self) -> Result<(String, Vec<String>), String> {
        let described =
            self.runtime.block_on(self.client.describe_group(GROUP)).map_err(|error| format!("group {GROUP}: {error}"))?;
        let mut members: Vec<String> =
            described.members.into_iter().map(|member| member.instance_id.unwrap_or(member.id)).collect();
        members.sort();
        Ok((described.state, members))
    }

    /// Waits until exactly these are in it and have shared the partitions.
    #[track_caller]
    pub fn until_of(&self, instances: &[String]) {
        wait::until(format_args!("group {GROUP} is stable with members {instances:?} and nobody else"), || {
            let (state, members) = self.members()?;
            if state == "Stable" && members == instances { Ok(()) } else { Err(format!("{state}, {members:?}")) }
        });
    }
}

//! Which log and which group the settings ask for.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use super::Fault;
use crate::group::{Membership, SingleGroup};
use crate::log::{Log, MemoryLog};
use crate::rt::Rt;
use crate::settings::{Broker, Resolved};
use crate::topology::{Groups, Topology};

/// How long a leaving member waits for the coordinator.
pub(super) const LEAVE: Duration = Duration::from_secs(5);

/// Partitions that a topic in memory gets where none are declared.
const MEMORY_PARTITIONS: u32 = 8;

/// What lies in memory under an app's id: its log, and its group's offsets. It stays while the process lives, so a worker that is
/// started again goes on where the last one stopped.
#[derive(Clone)]
struct InMemory {
    log: Arc<MemoryLog>,
    offsets: Arc<crate::group::Offsets>,
}

fn in_memory(app: &str) -> InMemory {
    static APPS: LazyLock<Mutex<BTreeMap<String, InMemory>>> = LazyLock::new(Mutex::default);
    let make = || InMemory { log: MemoryLog::new(MEMORY_PARTITIONS), offsets: Arc::default() };
    APPS.lock().unwrap().entry(app.to_string()).or_insert_with(make).clone()
}

/// Makes the log; connects to nothing yet.
pub(super) async fn log(rt: Rt, settings: &Resolved, topology: &Topology, app: &str) -> Result<Arc<dyn Log>, Fault> {
    match &settings.broker {
        Broker::Memory => Ok(in_memory(app).log),
        #[cfg(feature = "kafka")]
        Broker::Kafka(brokers) => {
            let _ = topology;
            let kafka = kafka_settings(settings, brokers, app);
            Ok(rt.blocking(move || crate::log::KafkaLog::new(kafka)).await?)
        }
    }
}

#[cfg(feature = "kafka")]
fn kafka_settings(settings: &Resolved, brokers: &str, app: &str) -> crate::log::KafkaSettings {
    crate::log::KafkaSettings {
        brokers: brokers.to_string(),
        group_id: app.to_string(),
        client_id: format!("faust-{app}"),
        fetch_memory: settings.fetch_memory,
        message_timeout: settings.message_timeout(),
        properties: settings.kafka.clone(),
    }
}

/// Joins the group.
pub(super) async fn membership(
    settings: &Resolved,
    log: &Arc<dyn Log>,
    groups: Groups,
    app: &str,
) -> Result<Arc<dyn Membership>, Fault> {
    let _ = log;
    match &settings.broker {
        Broker::Memory => Ok(SingleGroup::start(&groups, in_memory(app).offsets)),
        #[cfg(feature = "kafka")]
        Broker::Kafka(brokers) => todo_kafka_group(settings, brokers, groups, app),
    }
}

//! Which log and which group the settings ask for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

#[cfg(feature = "kafka")]
use faust_wire::Security;

#[cfg(feature = "kafka")]
use crate::cli::ExitReason;
use crate::cli::Refusal;
#[cfg(feature = "kafka")]
use crate::contract;
#[cfg(feature = "kafka")]
use crate::group::{GroupSettings, KafkaGroup};
use crate::group::{Membership, SingleGroup};
#[cfg(feature = "kafka")]
use crate::log::LogError;
use crate::log::{Log, MemoryLog};
#[cfg(feature = "kafka")]
use crate::readiness::Reason;
use crate::rt::Rt;
use crate::settings::{Broker, Resolved};
use crate::status::Status;
use crate::topology::Groups;

/// A busy broker may take so long for an answer, however short the session is.
#[cfg(feature = "kafka")]
const SHORTEST_PATIENCE: Duration = Duration::from_secs(2);

/// How long a leaving member waits for the coordinator.
pub(super) const LEAVE: Duration = Duration::from_secs(5);

/// Between two tries to give up a place in the group.
#[cfg(feature = "kafka")]
const AGAIN: Duration = Duration::from_secs(1);

/// Partitions that a topic in memory gets where none are declared.
const MEMORY_PARTITIONS: u32 = 8;

/// What lies in memory under an app's id: its log, and its group's offsets. It stays while the process lives, so a worker that is
/// started again goes on where the last one stopped.
#[derive(Clone)]
struct InMemory {
    log: Arc<MemoryLog>,
    offsets: Arc<crate::group::Offsets>,
    /// In place of the group of one.
    #[cfg(test)]
    group: Arc<Mutex<Option<Arc<dyn Membership>>>>,
}

fn in_memory(app: &str) -> InMemory {
    static APPS: LazyLock<Mutex<BTreeMap<String, InMemory>>> = LazyLock::new(Mutex::default);
    let make = || InMemory {
        log: MemoryLog::new(MEMORY_PARTITIONS),
        offsets: Arc::default(),
        #[cfg(test)]
        group: Arc::default(),
    };
    APPS.lock().unwrap().entry(app.to_string()).or_insert_with(make).clone()
}

/// The log in memory of an app, for tests that meddle with it.
#[cfg(test)]
pub(crate) fn memory_log(app: &str) -> Arc<MemoryLog> {
    in_memory(app).log
}

/// Gives the workers of an app a group that says what the test wants.
#[cfg(test)]
pub(crate) fn in_group(app: &str, group: Arc<dyn Membership>) {
    *in_memory(app).group.lock().unwrap() = Some(group);
}

/// Makes the log; connects to nothing yet.
pub(super) async fn log(rt: Rt, settings: &Resolved, app: &str) -> Result<Arc<dyn Log>, Refusal> {
    match &settings.broker {
        Broker::Memory => {
            let _ = rt;
            #[cfg(all(test, feature = "kafka"))]
            if let Some(log) = crate::sim::log() {
                return Ok(log);
            }
            Ok(in_memory(app).log)
        }
        #[cfg(feature = "kafka")]
        Broker::Kafka(brokers) => {
            let kafka = kafka_settings(settings, brokers, app)?;
            Ok(rt.blocking(move || crate::log::KafkaLog::new(kafka)).await?)
        }
        #[cfg(not(feature = "kafka"))]
        Broker::Kafka(_) => unreachable!("settings refuse a broker whose client isn't compiled in"),
    }
}

#[cfg(feature = "kafka")]
fn kafka_settings(settings: &Resolved, brokers: &str, app: &str) -> Result<crate::log::KafkaSettings, Refusal> {
    let beyond_security = settings.kafka.iter().filter(|(key, _)| !Security::owns(key));
    Ok(crate::log::KafkaSettings {
        brokers: brokers.to_string(),
        group_id: app.to_string(),
        client_id: client_id(app),
        fetch_memory: settings.fetch_memory as usize,
        message_timeout: settings.message_timeout(),
        security: security(settings)?,
        extra: beyond_security.map(|(key, value)| (key.to_string(), value.to_string())).collect(),
    })
}

#[cfg(feature = "kafka")]
fn security(settings: &Resolved) -> Result<Security, LogError> {
    Security::parse(settings.kafka.iter()).map_err(|invalid| LogError::Config(invalid.to_string()))
}

/// Joins the group; other workers reach this one where it `listens`, if the settings don't say where.
pub(super) async fn membership(
    settings: &Resolved,
    groups: Groups,
    app: &str,
    listens: SocketAddr,
) -> Result<Arc<dyn Membership>, Refusal> {
    match &settings.broker {
        Broker::Memory => {
            let _ = listens;
            #[cfg(all(test, feature = "kafka"))]
            if let Some(membership) = crate::sim::membership(&groups) {
                return Ok(membership);
            }
            #[cfg(test)]
            if let Some(group) = in_memory(app).group.lock().unwrap().clone() {
                return Ok(group);
            }
            Ok(SingleGroup::start(&groups, in_memory(app).offsets))
        }
        #[cfg(feature = "kafka")]
        Broker::Kafka(brokers) => {
            let group = GroupSettings {
                group_id: app.to_string(),
                way: Arc::new(client(settings, brokers, app)?),
                groups,
                session_timeout: settings.session_timeout,
                rebalance_timeout: settings.rebalance_timeout,
                margin: settings.message_timeout(),
                instance: settings.instance_id.clone(),
                endpoint: settings.advertised_address.clone().unwrap_or_else(|| listens.to_string()),
                zone: contract::zone(settings)?.unwrap_or_default(),
                node: settings.node.clone().unwrap_or_default(),
                recovery_lag: settings.recovery_lag,
                max_warmups: usize::try_from(settings.max_warmups).unwrap_or(usize::MAX),
            };
            Ok(KafkaGroup::start(group))
        }
        #[cfg(not(feature = "kafka"))]
        Broker::Kafka(_) => unreachable!("settings refuse a broker whose client isn't compiled in"),
    }
}

/// Gives up the place that an earlier process with this instance id may have in the group. Asks until Kafka has answered.
pub(super) async fn give_up_place(settings: &Resolved, app: &str, status: &Status) -> Result<(), Refusal> {
    #[cfg(feature = "kafka")]
    if let (Broker::Kafka(brokers), Some(instance)) = (&settings.broker, &settings.instance_id) {
        let client = client(settings, brokers, app)?;
        while let Err(error) = client.remove_static_member(app, instance, "the worker drains").await {
            if error.is_refusal() {
                return Err(Refusal::new(ExitReason::KafkaRefuses, error.to_string()));
            }
            status.wait_for(Reason::WaitingForKafka, error.to_string());
            tokio::time::sleep(AGAIN).await;
        }
    }
    #[cfg(not(feature = "kafka"))]
    let _ = (settings, app);
    status.go_on();
    Ok(())
}

#[cfg(feature = "kafka")]
fn client(settings: &Resolved, brokers: &str, app: &str) -> Result<faust_wire::Client, Refusal> {
    let mut config = faust_wire::Config::parse(brokers, client_id(app)).map_err(|error| LogError::Config(error.to_string()))?;
    config.security = security(settings)?;
    // A broker that hangs keeps its connections open: another one has to be asked while the session still lasts.
    let patience = (settings.session_timeout / 3).max(SHORTEST_PATIENCE);
    config.connect_timeout = config.connect_timeout.min(patience);
    config.request_timeout = config.request_timeout.min(patience);
    Ok(faust_wire::Client::new(config))
}

#[cfg(feature = "kafka")]
fn client_id(app: &str) -> String {
    format!("faust-{app}")
}

//! One connection per broker, and which broker to ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::config::{Address, Config};
use crate::connection::Connection;
use crate::error::Error;
use crate::metadata::{self, Broker, Metadata};
use crate::request::Request;
use crate::transport;

/// How often what a moving cluster gets wrong is asked again, and the first pause between two tries; each next one is twice as long.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(50);

/// Kafka, as one thing to ask. Cheap to clone; connects when it is first asked something.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: Config,
    /// The brokers that the cluster named last: where to ask when the bootstrap addresses have gone.
    known: Mutex<BTreeSet<Address>>,
    slots: Mutex<BTreeMap<Address, Arc<Slot>>>,
    /// Who led a partition when that was asked last: believed until it says otherwise, or nothing.
    leaders: Mutex<BTreeMap<String, BTreeMap<i32, Broker>>>,
}

/// The connection to one address; locked while one is being made, so that callers share it.
type Slot = tokio::sync::Mutex<Option<Connection>>;

impl Client {
    pub fn new(config: Config) -> Self {
        let (known, slots, leaders) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { config, known, slots, leaders }))
    }

    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Brokers and the named topics, or all topics. Never creates one; a topic that doesn't exist is in the answer, with its error.
    pub async fn metadata(&self, topics: Option<&[String]>) -> Result<Metadata, Error> {
        let metadata = Metadata::of(self.call(metadata::question(topics)).await?)?;
        let known: BTreeSet<_> = metadata.brokers.values().map(|broker| broker.address.clone()).collect();
        let bootstrap = &self.0.config.bootstrap;
        self.0.slots.lock().unwrap().retain(|address, _| known.contains(address) || bootstrap.contains(address));
        *self.0.known.lock().unwrap() = known;
        Ok(metadata)
    }

    /// A connection that nobody else uses.
    pub async fn connect(&self, broker: &Broker) -> Result<Connection, Error> {
        Connection::open(&broker.address, &self.0.config).await.map_err(|error| advertised(broker, error))
    }

    /// Asks any broker. If the connection ends meanwhile it is asked once more, so it must bear being carried out twice.
    pub async fn call<R: Request + Clone>(&self, request: R) -> Result<R::Response, Error> {
        match self.any().await?.call(request.clone()).await {
            Err(Error::Closed { .. }) => self.any().await?.call(request).await,
            result => result,
        }
    }

    /// The shared connection to a broker.
    pub async fn to(&self, broker: &Broker) -> Result<Connection, Error> {
        self.at(&broker.address).await.map_err(|error| advertised(broker, error))
    }

    /// A connection that there is, else the first that can be made, to a bootstrap address or a broker heard of.
    pub(crate) async fn any(&self) -> Result<Connection, Error> {
        let mut addresses = self.0.config.bootstrap.clone();
        addresses.extend(self.0.known.lock().unwrap().iter().filter(|known| !self.0.config.bootstrap.contains(known)).cloned());
        if let Some(open) = addresses.iter().find_map(|address| self.open_at(address)) {
            return Ok(open);
        }
        let attempts = addresses.into_iter().map(|address| {
            let client = self.clone();
            async move { client.at(&address).await }
        });
        transport::first(attempts.peekable()).await.map_err(none_reachable)
    }

    /// Those of the partitions whose leader isn't known.
    pub(crate) fn without_leader<'a>(&self, partitions: &BTreeSet<(&'a str, i32)>) -> Vec<(&'a str, i32)> {
        let leaders = self.0.leaders.lock().unwrap();
        let known = |(topic, partition): &(&str, i32)| leaders.get(*topic).is_some_and(|own| own.contains_key(partition));
        partitions.iter().filter(|partition| !known(partition)).copied().collect()
    }

    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<Broker> {
        self.0.leaders.lock().unwrap().get(topic)?.get(&partition).cloned()
    }

    pub(crate) fn learn_leader(&self, topic: &str, partition: i32, leader: &Broker) {
        self.0.leaders.lock().unwrap().entry(topic.to_string()).or_default().insert(partition, leader.clone());
    }

    /// They may have moved, or gone.
    pub(crate) fn forget_leaders(&self, partitions: &BTreeSet<(&str, i32)>) {
        let mut leaders = self.0.leaders.lock().unwrap();
        for (topic, partition) in partitions {
            if let Some(own) = leaders.get_mut(*topic) {
                own.remove(partition);
            }
        }
        leaders.retain(|_, own| !own.is_empty());
    }

    async fn at(&self, address: &Address) -> Result<Connection, Error> {
        let slot = self.0.slots.lock().unwrap().entry(address.clone()).or_default().clone();
        let limit = self.0.config.connect_timeout;
        let shared = async {
            let mut slot = slot.lock().await;
            match &*slot {
                Some(connection) if !connection.is_closed() => Ok(connection.clone()),
                _ => {
                    *slot = None;
                    let connection = Connection::open(address, &self.0.config).await?;
                    Ok(slot.insert(connection).clone())
                }
            }
        };
        let too_long = || Error::Unreachable { address: address.to_string(), reason: format!("no answer within {limit:?}") };
        timeout(limit, shared).await.unwrap_or_else(|_| Err(too_long()))
    }

    fn open_at(&self, address: &Address) -> Option<Connection> {
        let slot = self.0.slots.lock().unwrap().get(address).cloned()?;
        let connection = slot.try_lock().ok()?.clone();
        connection.filter(|connection| !connection.is_closed())
    }
}

/// A broker that can't be reached where it says it is: often the fault is in what it says.
fn advertised(broker: &Broker, error: Error) -> Error {
    match error {
        Error::Unreachable { address, reason } => Error::Unreachable { address, reason: as_advertised(broker, &reason) },
        Error::Untrusted { address, reason } => Error::Untrusted { address, reason: as_advertised(broker, &reason) },
        other => other,
    }
}

fn as_advertised(broker: &Broker, reason: &str) -> String {
    format!("{reason} (the address is the one that broker {} advertises)", broker.id)
}

/// One error for why no broker answers. A refusal stands for all: who we are is the same everywhere, and others may just be away.
fn none_reachable(mut errors: Vec<Error>) -> Error {
    if let Some(refusal) = errors.iter().position(Error::is_refusal) {
        return errors.swap_remove(refusal);
    }
    if errors.len() == 1 {
        return errors.remove(0);
    }
    let (addresses, reasons): (Vec<_>, Vec<_>) = errors
        .into_iter()
        .map(|error| match error {
            Error::Unreachable { address, reason } => (address.clone(), format!("{address}: {reason}")),
            other => ("a broker".to_string(), other.to_string()),
        })
        .unzip();
    Error::Unreachable { address: addresses.join(","), reason: reasons.join("; ") }
}

/// The patience for what fails because a leader, coordinator or controller has moved or is just coming: a bounded number of tries.
///
/// A broker that is away or stays silent is not asked again: the caller has waited long enough, and knows whether to wait longer.
pub(crate) struct Patience {
    left: u32,
    pause: Duration,
}

impl Patience {
    pub fn new() -> Self {
        Self { left: TRIES - 1, pause: PAUSE }
    }

    /// Waits until it is time to try again; gives the error back if that isn't worth it.
    pub async fn after(&mut self, error: Error) -> Result<(), Error> {
        let passing = matches!(error, Error::Kafka { .. } | Error::Closed { .. }) && error.is_retriable();
        if self.left == 0 || !passing {
            return Err(error);
        }
        tracing::debug!(%error, "asking again");
        sleep(self.pause).await;
        self.left -= 1;
        self.pause *= 2;
        Ok(())
    }
}

#[cfg(test)]
mod tests;

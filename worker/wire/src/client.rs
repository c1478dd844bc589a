//! One connection per broker, and which broker to ask.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::config::{Address, Config};
use crate::connection::Connection;
use crate::error::Error;
use crate::metadata::{self, Broker, Metadata};
use crate::request::Request;

/// How often what a moving cluster gets wrong is asked again, and the first pause between two tries; each next one is twice as long.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(50);

/// Kafka, as one thing to ask. Cheap to clone; connects when it is first asked something.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: Config,
    /// What the cluster said last; where to ask when the bootstrap addresses don't answer.
    known: Mutex<Vec<Address>>,
    slots: Mutex<BTreeMap<Address, Arc<Slot>>>,
}

/// The connection to one address; locked while one is being made, so that callers share it.
type Slot = tokio::sync::Mutex<Option<Connection>>;

impl Client {
    pub fn new(config: Config) -> Self {
        Self(Arc::new(Inner { config, known: Mutex::default(), slots: Mutex::default() }))
    }

    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Brokers and the named topics, or all topics. Never creates one; a topic that doesn't exist is in the answer, with its error.
    pub async fn metadata(&self, topics: Option<&[String]>) -> Result<Metadata, Error> {
        let metadata = Metadata::of(self.call(metadata::question(topics)).await?)?;
        *self.0.known.lock().unwrap() = metadata.brokers.values().map(|broker| broker.address.clone()).collect();
        Ok(metadata)
    }

    /// A connection that nobody else uses.
    pub async fn connect(&self, broker: &Broker) -> Result<Connection, Error> {
        Connection::open(&broker.address, &self.0.config).await
    }

    /// Asks any broker.
    pub async fn call<R: Request + Clone>(&self, request: R) -> Result<R::Response, Error> {
        let connection = self.any().await?;
        match connection.call(request.clone()).await {
            // It had died unnoticed since it was last used.
            Err(Error::Closed { .. }) => self.any().await?.call(request).await,
            result => result,
        }
    }

    /// The shared connection to a broker.
    pub async fn to(&self, broker: &Broker) -> Result<Connection, Error> {
        self.at(&broker.address).await
    }

    /// Whichever connection there is, else the first that can be made: to brokers heard of, then to the bootstrap addresses.
    pub(crate) async fn any(&self) -> Result<Connection, Error> {
        let known = self.0.known.lock().unwrap().clone();
        let mut addresses: Vec<&Address> = known.iter().chain(&self.0.config.bootstrap).collect();
        addresses.sort_by_key(|address| !self.is_open(address));
        let mut reasons = Vec::new();
        for (i, address) in addresses.iter().enumerate() {
            if addresses[..i].contains(address) {
                continue;
            }
            match self.at(address).await {
                Ok(connection) => return Ok(connection),
                Err(Error::Unreachable { address, reason }) => reasons.push((address, reason)),
                Err(error) => reasons.push((address.to_string(), error.to_string())),
            }
        }
        let address = reasons.iter().map(|(address, _)| address.as_str()).collect::<Vec<_>>().join(",");
        let reason = reasons.iter().map(|(_, reason)| reason.as_str()).collect::<Vec<_>>().join("; ");
        Err(Error::Unreachable { address, reason })
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

    fn is_open(&self, address: &Address) -> bool {
        let slot = self.0.slots.lock().unwrap().get(address).cloned();
        slot.is_some_and(|slot| slot.try_lock().is_ok_and(|slot| slot.as_ref().is_some_and(|open| !open.is_closed())))
    }
}

/// The patience for what fails because a leader, coordinator or controller has moved or is just coming: a bounded number of tries.
///
/// A broker that stays silent is not asked again: the caller has waited for it long enough.
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
        if self.left == 0 || !error.is_retriable() || matches!(error, Error::TimedOut { .. }) {
            return Err(error);
        }
        tracing::debug!(%error, "asking again");
        sleep(self.pause).await;
        self.left -= 1;
        self.pause *= 2;
        Ok(())
    }
}

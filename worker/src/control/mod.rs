//! The control runtime: topics, membership, which task runs on which shard, and the worker's end.
//!
//! It shares no thread with agents, so that a stuck one stops neither heartbeats nor the HTTP pages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::app::{AppNode, Running};
use crate::error::TopologyError;
use crate::group::Membership;
use crate::log::{Log, LogError};
use crate::rt::Rt;
use crate::settings::Resolved;
use crate::state::{FlushLimits, Place, StoreError, Stores, Throttle};
use crate::status::Status;
use crate::task::flusher::Flusher;
use crate::task::shard::{self, Shared};
use crate::topology::{Groups, Topology};
use crate::web;

mod lag;
mod tasks;
mod topics;
mod transport;

use tasks::Tasks;

/// Why a worker can't start, or ended otherwise than it was told. Each kind has its exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Settings, topology, data folder, port: a person has to change something.
    Config { field: &'static str, sentence: String },
    /// Kafka answers, and refuses us.
    Kafka(String),
    /// An agent failed, or a record is refused.
    Agent(String),
    /// Our own mistake.
    Panic(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config { sentence, .. } => f.write_str(sentence),
            Self::Kafka(sentence) | Self::Agent(sentence) => f.write_str(sentence),
            Self::Panic(sentence) => write!(f, "a mistake in faust itself: {sentence}; please report it"),
        }
    }
}

impl std::error::Error for Fault {}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Config { field: "datadir", sentence: error.to_string() }
    }
}

impl From<LogError> for Fault {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Config(_) => Self::Config { field: "kafka", sentence: error.to_string() },
            other => Self::Kafka(other.to_string()),
        }
    }
}

/// Between two looks at whether the worker is ready.
const LOOK: Duration = Duration::from_millis(20);

/// A worker that has been started.
pub(crate) struct Handle {
    stop: mpsc::UnboundedSender<()>,
    end: watch::Receiver<Option<Result<(), Fault>>>,
    running: Arc<Running>,
    /// Where the HTTP pages are.
    pub web: SocketAddr,
}

impl Handle {
    /// Drain, commit, leave. Saying it twice changes nothing.
    pub fn stop(&self) {
        // One that has ended needs no stop.
        let _ = self.stop.send(());
    }

    /// Resolves when the worker is a member of its group and all its tasks run.
    pub async fn ready(&self) {
        while self.running.readiness().is_err() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How the worker ended.
    pub async fn ended(&self) -> Result<(), Fault> {
        match self.end.clone().wait_for(Option::is_some).await {
            Ok(end) => end.clone().expect("waited for"),
            Err(_) => Err(Fault::Panic("the control thread panicked".into())),
        }
    }
}

/// Starts a worker on threads of its own; returns when its HTTP pages answer, which is long before it has joined.
pub(crate) async fn start(app: &'static AppNode, settings: Resolved) -> Result<Handle, Fault> {
    start_on(Rt::threads(), app, settings).await
}

/// Starts a worker on `rt`.
pub(crate) async fn start_on(rt: Rt, app: &'static AppNode, settings: Resolved) -> Result<Handle, Fault> {
    let topology = app.topology().map_err(contradictory)?;
    let (begun, on_begun) = oneshot::channel();
    let (end, on_end) = watch::channel(None);
    let (stop, stops) = mpsc::unbounded_channel();
    let status = Arc::new(Status::new(app.id));
    let worker = Starting { rt, app, settings: Arc::new(settings), topology: Arc::new(topology), status };
    rt.start("faust-control", move || {
        Box::pin(async move {
            let result = worker.run(begun, stops).await;
            app.set_running(None);
            end.send_replace(Some(result));
        })
    });
    match on_begun.await {
        Ok((web, running)) => Ok(Handle { stop, end: on_end, running, web }),
        Err(_) => {
            let mut on_end = on_end;
            let end = on_end.wait_for(Option::is_some).await.map(|end| end.clone().expect("waited for"));
            match end {
                Ok(Err(fault)) => Err(fault),
                _ => Err(Fault::Panic("the control thread panicked".into())),
            }
        }
    }
}

fn contradictory(problems: Vec<TopologyError>) -> Fault {
    let sentences: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Fault::Config { field: "topology", sentence: sentences.join("; ") }
}

/// What a worker is made of.
struct Starting {
    rt: Rt,
    app: &'static AppNode,
    settings: Arc<Resolved>,
    topology: Arc<Topology>,
    status: Arc<Status>,
}

impl Starting {
    async fn run(self, begun: oneshot::Sender<(SocketAddr, Arc<Running>)>, mut stops: mpsc::UnboundedReceiver<()>) -> Result<(), Fault> {
        let Self { rt, app, settings, topology, status } = self;
        let stores = rt.blocking({
            let place = place(&settings);
            move || Stores::open(&place)
        });
        let stores = stores.await?;
        let log = transport::log(rt, &settings, &topology, app.id).await?;
        let running = Arc::new(Running::new(log.clone(), topology.clone(), status.clone()));
        let server = web::bind(&settings).await?;
        let address = server.address();
        let pages = tokio::spawn(server.serve(app, running.clone()));
        // Nobody waits any more: the worker starts all the same.
        let _ = begun.send((address, running.clone()));
        tracing::info!("{}: HTTP on http://{address}", app.id);

        let result = async {
            let groups = tokio::select! {
                biased;
                _ = stops.recv() => return Ok(()),
                groups = topics::prepare(&*log, &topology, &status) => groups?,
            };
            running.found(&groups);
            let membership = transport::membership(&settings, &log, groups.clone(), app.id).await?;
            running.joined(membership.clone());
            let worker = Joined { rt, settings, topology, log, membership, stores, status, groups };
            worker.run(app, running, &mut stops).await
        };
        let result = result.await;
        pages.abort();
        result
    }
}

fn place(settings: &Resolved) -> Place {
    match settings.store {
        crate::settings::Store::Memory => Place::Memory,
        #[cfg(feature = "rocksdb")]
        crate::settings::Store::RocksDb => Place::Disk(settings.datadir.clone()),
    }
}

/// A worker that has joined its group.
struct Joined {
    rt: Rt,
    settings: Arc<Resolved>,
    topology: Arc<Topology>,
    log: Arc<dyn Log>,
    membership: Arc<dyn Membership>,
    stores: Arc<Stores>,
    status: Arc<Status>,
    groups: Groups,
}

impl Joined {
    async fn run(
        self,
        app: &'static AppNode,
        running: Arc<Running>,
        stops: &mut mpsc::UnboundedReceiver<()>,
    ) -> Result<(), Fault> {
        let Self { rt, settings, topology, log, membership, stores, status, groups: _ } = self;
        let limits = FlushLimits { records: settings.flush_records, interval: settings.flush_interval };
        let flusher = Arc::new(Flusher::new(limits));
        let flushing = tokio::spawn({
            let flusher = flusher.clone();
            async move { flusher.run(rt).await }
        });
        let lags = tokio::spawn(lag::watch(log.clone(), status.clone()));
        let (failures, mut failed) = mpsc::unbounded_channel();
        let shared = Shared {
            rt,
            settings: settings.clone(),
            topology,
            log: log.clone(),
            membership: membership.clone(),
            stores,
            status: status.clone(),
            failures,
            flusher,
            throttle: settings.restore_rate.map(|rate| Arc::new(Throttle::new(rate))),
            epochs: Arc::default(),
            undrained: Arc::default(),
        };
        let undrained = shared.undrained.clone();
        let (mailboxes, ends): (Vec<_>, Vec<_>) = (0..rt.shards()).map(|index| shard::start(shared.clone(), index)).unzip();
        running.shards(mailboxes.clone());
        app.set_running(Some(running.clone()));

        let mut tasks = Tasks::new(mailboxes, shared.clone());
        drop(shared);
        let mut result = loop {
            tokio::select! {
                biased;
                _ = stops.recv() => break Ok(()),
                failure = failed.recv() => break Err(Fault::Agent(failure.unwrap_or_default())),
                event = membership.next() => {
                    if let Err(fault) = tasks.follow(event, &*membership) {
                        break Err(fault);
                    }
                }
                () = tasks.ended() => tasks.settle(&*membership),
            }
        };
        tracing::info!("{}: stopping", app.id);
        if tokio::time::timeout(settings.shutdown_timeout, tasks.drain()).await.is_err() {
            result = result.and(Err(Fault::Agent("not drained within `shutdown-timeout`; what was in hand is read again".into())));
        }
        if let Ok(failure) = failed.try_recv() {
            result = result.and(Err(Fault::Agent(failure)));
        }
        if tokio::time::timeout(transport::LEAVE, membership.leave()).await.is_err() {
            tracing::warn!("{}: the coordinator did not answer the leave; the session runs out by itself", app.id);
        }
        (lags.abort(), flushing.abort());
        app.set_running(None);
        running.shards(Vec::new());
        drop(tasks);
        for end in ends {
            if end.await.is_err() {
                result = result.and(Err(Fault::Panic("a shard panicked".into())));
            }
        }
        if result.is_ok() && undrained.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Fault::Agent("stopped, but the last work could not be committed; it is read again".into()));
        }
        result
    }
}

//! The control runtime: topics, membership, which task runs on which shard, and the worker's end.
//!
//! It shares no thread with agents, so that a stuck one stops neither heartbeats nor the HTTP pages.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};

use crate::app::{AppNode, Running};
use crate::cli::{ExitReason, Refusal};
use crate::contract::{Configured, Declared, Description};
use crate::error::TopologyError;
use crate::group::{Drain, Membership};
use crate::log::{Log, LogError};
use crate::readiness::Reason;
use crate::rt::{self, Rt};
use crate::settings::Resolved;
use crate::state::{ALL_BATCHES, BatchMemory, FlushLimits, Place, StoreError, StoreMemory, Stores, Throttle};
use crate::status::Status;
use crate::task::flusher::Flusher;
use crate::task::shard::{self, Shared};
use crate::topology::{Groups, Topology};
use crate::web::admin::{self, Admin};
use crate::web::{self, Facts};

mod ages;
mod copies;
pub(crate) mod drain;
mod lag;
mod progress;
mod sources;
mod tasks;
mod topics;
mod transport;
mod watchdog;
mod work;

use tasks::Tasks;
#[cfg(test)]
pub(crate) use transport::{in_group, memory_log};
use work::Work;

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::new(ExitReason::DatadirInUse, error.to_string()).about("settings.datadir")
    }
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Config(_) => Self::new(ExitReason::SettingRefused, error.to_string()).about("settings.kafka"),
            other => Self::new(ExitReason::KafkaRefuses, other.to_string()),
        }
    }
}

/// An agent, or a record, ended the worker.
fn failed(sentence: impl Into<String>) -> Refusal {
    Refusal::new(ExitReason::AgentFailed, sentence)
}

/// A new process has a new producer.
fn producer_failed(why: &str) -> Refusal {
    let sentence = format!(
        "the producer has failed for good: {why}; what is not committed is read again, here once the worker is started anew"
    );
    Refusal::new(ExitReason::KafkaRefuses, sentence)
}

fn panicked(what: &str) -> Refusal {
    Refusal::new(ExitReason::Panicked, format!("{what} panicked, which is a bug in faust"))
}

/// Between two looks at whether the worker is ready.
const LOOK: Duration = Duration::from_millis(20);

/// How long shards that have nothing to do any more may take to end, whatever `shutdown-timeout` has left.
const GRACE: Duration = Duration::from_secs(1);

/// A worker that has been started.
pub(crate) struct Handle {
    stop: mpsc::UnboundedSender<()>,
    end: watch::Receiver<Option<Result<(), Refusal>>>,
    running: Arc<Running>,
    /// Where the HTTP pages are.
    pub web: SocketAddr,
    /// Where the admin server is, if there is one.
    pub admin: Option<SocketAddr>,
}

impl Handle {
    /// Finish, commit, leave the group or keep the place there that has an instance id. Saying it twice changes nothing.
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
    pub async fn ended(&self) -> Result<(), Refusal> {
        match self.end.clone().wait_for(Option::is_some).await {
            Ok(end) => end.clone().expect("waited for"),
            Err(_) => Err(panicked("the control thread")),
        }
    }
}

/// Starts a worker on threads of its own; returns when its HTTP pages answer, which is long before it has joined.
pub(crate) async fn start(app: &'static AppNode, configured: Configured) -> Result<Handle, Refusal> {
    start_on(Rt::threads(), app, configured).await
}

/// Starts a worker on `rt`.
pub(crate) async fn start_on(rt: Rt, app: &'static AppNode, configured: Configured) -> Result<Handle, Refusal> {
    let topology = app.topology().map_err(contradictory)?;
    let Configured { settings, declared, ignored } = configured;
    let description = Description::new(app.id, &topology);
    declared.check(&description)?;
    let (begun, on_begun) = oneshot::channel();
    let (end, on_end) = watch::channel(None);
    let (stop, stops) = mpsc::unbounded_channel();
    let status = Arc::new(Status::new(app.id));
    let facts = Arc::new(Facts { instance: settings.instance_id.clone(), ignored, topology: description });
    let worker = Starting { rt, app, settings: Arc::new(settings), topology: Arc::new(topology), declared, status, facts };
    rt.start("faust-control", move || {
        Box::pin(async move {
            let result = worker.run(begun, stops).await;
            app.set_running(None);
            end.send_replace(Some(result));
        })
    });
    match on_begun.await {
        Ok(Begun { web, admin, running }) => Ok(Handle { stop, end: on_end, running, web, admin }),
        Err(_) => {
            let mut on_end = on_end;
            let end = on_end.wait_for(Option::is_some).await.map(|end| end.clone().expect("waited for"));
            match end {
                Ok(Err(fault)) => Err(fault),
                _ => Err(panicked("the control thread")),
            }
        }
    }
}

fn contradictory(problems: Vec<TopologyError>) -> Refusal {
    let sentences: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Refusal::new(ExitReason::TopologyRefused, sentences.join("; "))
}

/// What is known once the HTTP pages answer.
struct Begun {
    web: SocketAddr,
    admin: Option<SocketAddr>,
    running: Arc<Running>,
}

/// What a worker is made of.
struct Starting {
    rt: Rt,
    app: &'static AppNode,
    settings: Arc<Resolved>,
    topology: Arc<Topology>,
    declared: Declared,
    status: Arc<Status>,
    facts: Arc<Facts>,
}

impl Starting {
    async fn run(self, begun: oneshot::Sender<Begun>, mut stops: mpsc::UnboundedReceiver<()>) -> Result<(), Refusal> {
        let Self { rt, app, settings, topology, declared, status, facts } = self;
        if !facts.ignored.is_empty() {
            tracing::warn!("{}: not known to this version and left out: {}", app.id, facts.ignored.join(", "));
        }
        let stores = rt.blocking({
            let place = place(&settings);
            move || Stores::open(&place)
        });
        let stores = stores.await?;
        let log = transport::log(rt, &settings, app.id).await?;
        let running = Arc::new(Running::new(log.clone(), topology.clone(), status.clone(), settings.recovery_lag));
        let server = web::bind(&settings).await?;
        let address = server.address();
        let admin = admin::bind(rt, &settings).await?;
        let admin_address = admin.as_ref().map(Admin::address);
        write_port(&settings, address.port());
        let pages = rt::spawn(server.serve(app, running.clone(), facts));
        tracing::info!("{}: HTTP on http://{address}", app.id);
        let admin = admin.map(|admin| rt::spawn(admin.serve(rt, running.clone())));
        if let Some(address) = admin_address {
            tracing::info!("{}: admin server on http://{address}", app.id);
        }
        // Nobody waits any more: the worker starts all the same.
        let _ = begun.send(Begun { web: address, admin: admin_address, running: running.clone() });

        let epochs = Arc::default();
        let mut anew = false;
        let result = async {
            loop {
                let groups = tokio::select! {
                    biased;
                    Some(()) = stops.recv() => return Ok(()),
                    () = running.drain.leaves() => {
                        // It has never joined, but a process before it may have: its place would keep its partitions from others.
                        tokio::select! {
                            biased;
                            Some(()) = stops.recv() => return Ok(()),
                            given_up = transport::give_up_place(&settings, app.id, &status) => given_up?,
                        }
                        running.drain.done();
                        stops.recv().await;
                        return Ok(());
                    }
                    groups = topics::prepare(&*log, &topology, &declared, &settings, &status) => groups?,
                };
                if anew {
                    let log = log.clone();
                    rt.blocking(move || log.refresh()).await;
                }
                log.expect(groups.iter().map(|group| group.partitions as usize * group.topics.len()).sum());
                running.found(&groups);
                let copies = copies::left_behind(rt, &stores, &*log, &topology, &groups, &status).await;
                let membership = transport::membership(&settings, groups.clone(), app.id, address).await?;
                // Before its first word to the group has gone out.
                membership.copies(copies);
                running.joined(membership.clone());
                let worker = Joined {
                    rt,
                    settings: settings.clone(),
                    topology: topology.clone(),
                    log: log.clone(),
                    membership,
                    stores: stores.clone(),
                    status: status.clone(),
                    epochs: Arc::clone(&epochs),
                    groups,
                };
                match worker.run(app, running.clone(), &mut stops).await? {
                    End::Stopped => return Ok(()),
                    End::Anew => anew = true,
                }
            }
        };
        let result = result.await;
        pages.abort();
        if let Some(admin) = admin {
            admin.abort();
        }
        result
    }
}

/// Tells programs on this machine which port was taken; a worker without a data folder tells it in its log only.
fn write_port(settings: &Resolved, port: u16) {
    if place(settings) != Place::Memory
        && let Err(error) = std::fs::write(settings.datadir.join("web-port"), format!("{port}\n"))
    {
        tracing::warn!("{}: {error}", settings.datadir.join("web-port").display());
    }
}

fn place(settings: &Resolved) -> Place {
    match settings.store {
        crate::settings::Store::Memory => Place::Memory,
        #[cfg(feature = "rocksdb")]
        crate::settings::Store::RocksDb => Place::Disk(settings.datadir.clone(), StoreMemory::new(settings.store_memory)),
        #[cfg(not(feature = "rocksdb"))]
        crate::settings::Store::RocksDb => unreachable!("settings refuse a store that isn't compiled in"),
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
    /// Task epochs that were given in this process.
    epochs: Arc<AtomicU64>,
    groups: Groups,
}

/// How a membership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stopped,
    /// The source topics aren't what they were.
    Anew,
}

impl Joined {
    /// Until a stop, a failure, or another number of partitions. A worker that has drained waits here for its stop.
    async fn run(
        self,
        app: &'static AppNode,
        running: Arc<Running>,
        stops: &mut mpsc::UnboundedReceiver<()>,
    ) -> Result<End, Refusal> {
        let Self { rt, settings, topology, log, membership, stores, status, epochs, groups } = self;
        let bytes = StoreMemory::new(settings.store_memory).unflushed();
        let limits = FlushLimits { records: settings.flush_records, interval: settings.flush_interval, bytes };
        let flusher = Arc::new(Flusher::new(limits));
        let flushing = rt::spawn({
            let flusher = flusher.clone();
            async move { flusher.run(rt).await }
        });
        let lags = rt::spawn(lag::watch(log.clone(), status.clone(), settings.clone()));
        let (failures, mut failure) = mpsc::unbounded_channel();
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
            tombstones: Arc::default(),
            throttle: settings.restore_rate.and_then(NonZeroU64::new).map(|rate| Arc::new(Throttle::new(rate))),
            batches: Arc::new(BatchMemory::new(ALL_BATCHES)),
            epochs,
            tenure: Arc::default(),
            undrained: Arc::default(),
        };
        let copies = rt::spawn(copies::watch(log.clone(), shared.topology.clone(), status.clone(), membership.clone()));
        let told = rt::spawn(progress::tell(status.clone()));
        ages::learn(&shared).await;
        let ages = rt::spawn(ages::watch(shared.clone()));
        // Where everything shares one thread nobody could look.
        let watching = (rt == Rt::threads()).then(|| {
            let watch = watchdog::watch(status.clone(), shared.topology.clone(), settings.clone(), shared.failures.clone());
            rt::spawn(watch)
        });
        let undrained = shared.undrained.clone();
        let (mailboxes, mut ends): (Vec<_>, FuturesUnordered<_>) =
            (0..rt.shards()).map(|index| shard::start(shared.clone(), index)).unzip();
        running.shards(mailboxes.clone());
        running.stores(rt, shared.flusher.clone());
        app.set_running(Some(running.clone()));

        let own = app.tasks();
        let failures = shared.failures.clone();
        let mut work = (!own.is_empty()).then(|| Work::start(rt, own, membership.clone(), failures, settings.shutdown_timeout));
        let mut tasks = Tasks::new(mailboxes, shared.clone());
        drop(shared);
        let mut drains = None;
        let mut broken = log.broken();
        let mut changed = std::pin::pin!(sources::changed(log.clone(), groups, settings.topics_interval));
        let mut result = loop {
            if tasks.have_left() {
                running.drain.done();
            }
            tokio::select! {
                biased;
                Some(()) = stops.recv() => break Ok(End::Stopped),
                how = running.drain.news(drains) => {
                    drains = Some(how);
                    membership.drain(how);
                }
                why = &mut broken => break Err(producer_failed(&why)),
                why = failure.recv() => break Err(failed(why.unwrap_or_default())),
                event = membership.next() => {
                    if let Err(fault) = tasks.follow(event, &*membership) {
                        break Err(fault);
                    }
                }
                () = tasks.ended() => tasks.settle(&*membership),
                why = &mut changed, if drains != Some(Drain::Leave) => {
                    tracing::warn!("{}: {why}; what is in hand is committed, then the worker joins anew", app.id);
                    status.wait_for(Reason::WaitingForTopics, why);
                    break Ok(End::Anew);
                }
                // A shard ends when it is told to, and that comes later.
                Some(_) = ends.next() => break Err(panicked("a shard")),
            }
        };
        if let Err(fault) = &result {
            status.fail(&fault.sentence);
        }
        if result != Ok(End::Anew) {
            status.stop();
        }
        // What did not drain when it was revoked has been said then.
        undrained.store(false, Ordering::Relaxed);
        // A moment more than the tasks have, so that they can say themselves what they could not finish.
        let deadline = rt::now() + settings.shutdown_timeout + GRACE;
        if let Some(work) = &work {
            work.stop();
        }
        if tokio::time::timeout_at(deadline, tasks.drain()).await.is_err() {
            result = result.and(Err(failed("not drained within `shutdown-timeout`; what was in hand is read again")));
        }
        if let Some(work) = &mut work {
            match tokio::time::timeout_at(deadline, &mut work.ended).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => result = result.and(Err(panicked("the thread of the app's tasks"))),
                Err(_) => result = result.and(Err(failed("a task of the app keeps its thread busy and was left behind"))),
            }
        }
        if let Ok(why) = failure.try_recv() {
            result = result.and(Err(failed(why)));
        }
        if tokio::time::timeout(transport::LEAVE, membership.end()).await.is_err() {
            tracing::warn!("{}: the coordinator did not answer the leave; the session runs out by itself", app.id);
        }
        lags.abort();
        if let Some(watching) = watching {
            watching.abort();
        }
        copies.abort();
        ages.abort();
        told.abort();
        flushing.abort();
        app.set_running(None);
        running.shards(Vec::new());
        drop(tasks);
        let ended = async {
            while let Some(end) = ends.next().await {
                if end.is_err() {
                    result = result.clone().and(Err(panicked("a shard")));
                }
            }
        };
        if tokio::time::timeout_at(deadline.max(rt::now() + GRACE), ended).await.is_err() {
            result = result.and(Err(failed("an agent keeps its thread busy and was left behind; what was in hand is read again")));
        }
        if result == Ok(End::Stopped) && undrained.load(Ordering::Relaxed) {
            return Err(failed("stopped, but the last work could not be committed; it is read again"));
        }
        result
    }
}

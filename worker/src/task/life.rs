//! The life of a task on its shard: open, run, start over where it must, drain, close.

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Notify, oneshot};

use super::input::{Feed, Seat};
use super::open::{OpenError, Opened, open};
use super::scope::Scoped;
use super::shard::{Shard, Stop};
use super::{Phase, Task, TaskContext, TaskId, Verdict, commit};
use crate::agent::AgentFuture;
use crate::error::Error;
use crate::log::{LogError, Reader};
use crate::state::SharedStore;
use crate::status::{InputMeter, Stage, TableMeter, TaskMeter};
use crate::time::TopicPartition;

/// Between two tries of the same thing.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A task that has run so long has recovered.
const RECOVERED: Duration = Duration::from_secs(30);

/// Runs a task until it is told to stop.
pub(super) async fn live(
    shard: Rc<Shard>,
    id: TaskId,
    first_epoch: u64,
    mut stop: oneshot::Receiver<Stop>,
    ended: oneshot::Sender<()>,
) {
    let meter = meter(&shard, id);
    let mut pause = FIRST_PAUSE;
    let mut epoch = first_epoch;
    let mut kept = None;
    loop {
        let opened = match kept.take() {
            Some(opened) => opened,
            None => {
                meter.enter(Stage::Opening);
                tokio::select! {
                    biased;
                    _ = &mut stop => break,
                    opened = open_patiently(&shard, id, &meter) => opened,
                }
            }
        };
        let begun = crate::rt::now();
        match run(&shard, id, epoch, &meter, opened, &mut stop).await {
            End::Stopped => break,
            End::StartOver { why, keep } => {
                meter.starts_over.add(1);
                meter.wait_for(format!("starting over from the committed offset: {why}"));
                kept = keep;
            }
        }
        if kept.is_none() {
            close(&shard, id, &meter).await;
        }
        pause = if begun.elapsed() > RECOVERED { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        epoch = shard.next_epoch();
        tokio::select! {
            biased;
            _ = &mut stop => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    drop(kept);
    close(&shard, id, &meter).await;
    shard.forget(id);
    meter.enter(Stage::Absent);
    // Whoever waited may have gone.
    let _ = ended.send(());
}

/// Why one epoch ended.
enum End {
    Stopped,
    /// With what is still good: the stores, where the committed offsets are.
    StartOver { why: String, keep: Option<Opened> },
}

/// Opens the task, as often as it takes.
async fn open_patiently(shard: &Rc<Shard>, id: TaskId, meter: &Arc<TaskMeter>) -> Opened {
    let mut pause = FIRST_PAUSE;
    loop {
        match open(shard, id, meter).await {
            Ok(opened) => return opened,
            Err(OpenError::Waiting(why)) => meter.wait_for(why),
            Err(OpenError::Stuck(why)) => {
                meter.wait_for(why);
                pause = LONGEST_PAUSE;
            }
            // The stop is on its way.
            Err(OpenError::Lost) => {}
        }
        close(shard, id, meter).await;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One epoch.
async fn run(
    shard: &Rc<Shard>,
    id: TaskId,
    epoch: u64,
    meter: &Arc<TaskMeter>,
    opened: Opened,
    stop: &mut oneshot::Receiver<Stop>,
) -> End {
    let task = match begin(shard, id, epoch, meter, opened) {
        Ok(task) => task,
        Err(error) => return End::StartOver { why: error.to_string(), keep: None },
    };
    let mut agents = start_agents(shard, &task);
    shard.set_running(id, Some(task.clone()));
    meter.epoch.set(epoch as i64);
    meter.epochs.add(1);
    meter.enter(Stage::Running);

    let end = tokio::select! {
        biased;
        stop = &mut *stop => match stop {
            Ok(Stop::Drain) => {
                meter.enter(Stage::Draining);
                drain(shard, &task, &mut agents).await;
                End::Stopped
            }
            Ok(Stop::Drop) | Err(_) => End::Stopped,
        },
        verdict = task.judgement() => match verdict {
            Verdict::StartOver(why) => {
                let tables = task.tables.iter().map(|table| table.afresh(&shard.budget)).collect();
                let starts = task.committed.borrow().clone();
                End::StartOver { why, keep: Some(Opened { tables, starts }) }
            }
            Verdict::Reopen(why) => End::StartOver { why, keep: None },
            Verdict::Fail(why) => fail(shard, why, stop).await,
        },
        Some((agent, result)) = agents.next() => {
            let why = describe(&task, agent, result);
            task.end();
            fail(shard, why, stop).await
        }
    };
    // First the epoch, then the agents' futures: what they still do when they are dropped counts for nothing.
    task.end();
    drop(agents);
    shard.set_running(id, None);
    end
}

/// The whole worker ends; the task waits, dead, for its turn.
async fn fail(shard: &Shard, why: String, stop: &mut oneshot::Receiver<Stop>) -> End {
    tracing::error!("{why}");
    // The control loop may be gone already.
    let _ = shard.failures.send(why);
    let _ = stop.await;
    End::Stopped
}

/// Builds the task and starts to fetch.
fn begin(shard: &Rc<Shard>, id: TaskId, epoch: u64, meter: &Arc<TaskMeter>, opened: Opened) -> Result<Rc<Task>, LogError> {
    let group = &shard.topology.groups[id.group as usize];
    let seats: Vec<Rc<Seat>> =
        group.agents.iter().map(|agent| Rc::new(Seat { agent: agent.name, busy: Cell::new(true) })).collect();
    let mut feeds = Vec::new();
    for (input, &start) in meter.inputs.iter().zip(&opened.starts) {
        let seat = seats.iter().find(|seat| seat.agent == input.agent).expect("every input has its agent").clone();
        let fetch = shard.log.fetch(&input.partition, start, Reader::Source)?;
        input.fetches.add(1);
        feeds.push(Feed::new(input.partition.clone(), start, fetch, seat, input.clone(), shard.settings.on_decode_error));
    }
    Ok(Rc::new(Task {
        id,
        epoch,
        meter: meter.clone(),
        feeds,
        tables: opened.tables,
        membership: shard.membership.clone(),
        phase: Cell::new(Phase::Running),
        due: Cell::new(false),
        frozen: RefCell::new(None),
        committed: RefCell::new(opened.starts),
        sent: RefCell::default(),
        budget: shard.budget.clone(),
        shard: shard.signals.clone(),
        verdict: RefCell::new(None),
        judged: Notify::new(),
        settled: Notify::new(),
    }))
}

type Agents = FuturesUnordered<Scoped<(&'static str, Ending)>>;
type Ending = std::thread::Result<Result<(), Error>>;

/// Calls every agent of the group with its part of the task.
fn start_agents(shard: &Shard, task: &Rc<Task>) -> Agents {
    let group = &shard.topology.groups[task.id.group as usize];
    let agents = FuturesUnordered::new();
    for agent in &group.agents {
        let name = agent.name;
        let future: AgentFuture = agent.function.call(&TaskContext(task.clone()));
        let caught = async move { (name, AssertUnwindSafe(future).catch_unwind().await) };
        agents.push(Scoped { task: task.clone(), future: Box::pin(caught) });
    }
    agents
}

/// Stops the intake, lets the agents finish what they have in hand, commits what is done.
async fn drain(shard: &Rc<Shard>, task: &Rc<Task>, agents: &mut Agents) {
    let deadline = crate::rt::now() + shard.settings.revoke_timeout;
    task.drain();
    let finished = tokio::time::timeout_at(deadline, async {
        while let Some((agent, result)) = agents.next().await {
            match result {
                Ok(Ok(())) => {}
                other => return Err(describe(task, agent, other)),
            }
        }
        task.settled().await;
        Ok(())
    });
    match finished.await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => {
            tracing::error!("{why}");
            let _ = shard.failures.send(why);
            return;
        }
        Err(_) => {
            let events: Vec<_> = task.feeds.iter().filter_map(|feed| task.in_hand(feed.seat.agent)).collect();
            tracing::warn!(
                "task {}: not drained within `revoke-timeout`; what was in hand is read again by the next owner: {}",
                task.id,
                events.join(", ")
            );
            return;
        }
    }
    for feed in &task.feeds {
        feed.tracker.borrow_mut().ask();
    }
    if task.freeze() {
        let committed = tokio::time::timeout_at(deadline, commit::commit(shard, std::slice::from_ref(task))).await;
        if committed.is_err() || task.frozen.borrow().is_some() {
            tracing::warn!("task {}: the last commit did not get through; its records are read again by the next owner", task.id);
            shard.undrained.store(true, Ordering::Relaxed);
        }
    }
}

/// Gives up the stores.
async fn close(shard: &Rc<Shard>, id: TaskId, meter: &TaskMeter) {
    let holds: Vec<SharedStore> = meter
        .tables
        .iter()
        .filter_map(|table| {
            let store = crate::state::StoreId { table: table.table.to_string(), partition: id.partition };
            shard.flusher.closed(&store)
        })
        .collect();
    shard.rt.blocking(move || drop(holds)).await;
}

/// What an agent's end means; there is no good one while its stream goes on.
fn describe(task: &Task, agent: &str, ending: Ending) -> String {
    let at = task.in_hand(agent).map(|event| format!(" at {event}")).unwrap_or_default();
    match ending {
        Ok(Ok(())) => format!(
            "agent `{agent}`, task {}: it ended while its stream goes on; an agent runs until `next` returns `None`",
            task.id
        ),
        Ok(Err(error)) => format!("agent `{agent}` failed{at}: {error}"),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| text.to_string()).or_else(|| panic.downcast_ref::<String>().cloned());
            format!("agent `{agent}` panicked{at}: {}", text.unwrap_or_else(|| "no message".into()))
        }
    }
}

/// The task's meter, which it keeps over all its epochs here.
fn meter(shard: &Shard, id: TaskId) -> Arc<TaskMeter> {
    let group = &shard.topology.groups[id.group as usize];
    shard.status.task(id, || {
        let inputs = group.topics.iter().map(|topic| {
            let agent = group.agents.iter().find(|agent| agent.declared.topics.iter().any(|own| own.name == topic.name));
            let agent = agent.expect("a group's topics come from its agents").name;
            Arc::new(InputMeter::new(TopicPartition::new(topic.name, id.partition), agent))
        });
        let tables = group.tables.iter().map(|table| Arc::new(TableMeter::new(table.name, id.partition)));
        TaskMeter::new(id, shard.index, inputs.collect(), tables.collect())
    })
}

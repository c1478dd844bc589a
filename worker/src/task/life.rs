//! The life of a task on its shard: open, run, start over where it must, drain, close.

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Notify, mpsc, oneshot};

use super::input::{Feed, Seat};
use super::open::{OpenError, Opened, open};
use super::scope::Scoped;
use super::shard::{Shard, Stop};
use super::{Phase, Task, TaskContext, TaskId, Verdict, apply, commit};
use crate::error::Error;
use crate::log::{Deliveries, LogError, Reader};
use crate::state::{StoreError, WipeReason};
use crate::status::{Role, Stage, TaskMeter};

/// Between two tries of the same thing.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A task that has run so long has recovered.
const RECOVERED: Duration = Duration::from_secs(30);

/// What comes between a try that has lasted so long and the next one.
pub(super) fn next_pause(pause: Duration, lasted: Duration) -> Duration {
    if lasted > RECOVERED { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) }
}

/// Runs a task until it is told to stop.
pub(super) async fn live(
    shard: Rc<Shard>,
    id: TaskId,
    first_epoch: u64,
    tenure: u64,
    mut stop: mpsc::UnboundedReceiver<Stop>,
    ended: oneshot::Sender<()>,
) {
    let meter = shard.meter(id, shard.index);
    meter.set_role(Role::Active);
    let mut pause = FIRST_PAUSE;
    let mut epoch = first_epoch;
    let mut kept = None;
    let mut in_flight = Vec::new();
    loop {
        let opened = match kept.take() {
            Some(opened) => opened,
            None => {
                meter.enter(Stage::Opening);
                tokio::select! {
                    biased;
                    _ = stop.recv() => break,
                    opened = async { settle(&in_flight).await; open_patiently(&shard, id, &meter).await } => opened,
                }
            }
        };
        let begun = crate::rt::now();
        match run(&shard, id, Term { epoch, tenure }, &meter, opened, &mut stop, &mut in_flight).await {
            End::Stopped => break,
            End::StartOver { why, keep } => {
                meter.starts_over.add(1);
                meter.wait_for(format!("starting over from the committed offset: {why}"));
                kept = keep;
            }
        }
        if kept.is_none() {
            shard.close(id).await;
        }
        pause = next_pause(pause, begun.elapsed());
        epoch = shard.next_epoch();
        tokio::select! {
            biased;
            how = stop.recv() => {
                // What it would have read again is read by the next owner.
                if matches!(how, Some(Stop::Drain(_))) {
                    shard.undrained.store(true, Ordering::Relaxed);
                }
                break;
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
    settle(&in_flight).await;
    drop(kept);
    shard.forget(id);
    meter.enter(Stage::Absent);
    // Whoever waited may have gone.
    let _ = ended.send(());
}

/// Rows that are still on their way would land behind the end that the next restore goes by, here or at the next owner's. They land or
/// are given up within `message.timeout.ms`.
async fn settle(in_flight: &[Arc<Deliveries>]) {
    for delivery in in_flight {
        // Both ends of it will do.
        let _ = delivery.settled().await;
    }
}

/// Under what a task works: its epoch, and the worker's tenure that it was given in.
#[derive(Clone, Copy)]
pub(super) struct Term {
    pub epoch: u64,
    pub tenure: u64,
}

/// Why one epoch ended.
enum End {
    Stopped,
    /// With what is still good: the stores, which have the rows of what is committed.
    StartOver {
        why: String,
        keep: Option<Opened>,
    },
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
        shard.close(id).await;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One epoch.
async fn run(
    shard: &Rc<Shard>,
    id: TaskId,
    term: Term,
    meter: &Arc<TaskMeter>,
    opened: Opened,
    stop: &mut mpsc::UnboundedReceiver<Stop>,
    in_flight: &mut Vec<Arc<Deliveries>>,
) -> End {
    let task = match begin(shard, id, term, meter, opened) {
        Ok(task) => task,
        Err(error) => return End::StartOver { why: error.to_string(), keep: None },
    };
    let mut agents = start_agents(shard, &task);
    shard.set_running(id, Some(task.clone()));
    meter.epoch.set(term.epoch as i64);
    meter.epochs.add(1);
    meter.enter(Stage::Running);

    let end = tokio::select! {
        biased;
        how = stop.recv() => {
            if let Some(Stop::Drain(within)) = how {
                meter.enter(Stage::Draining);
                drain(shard, &task, &mut agents, stop, within).await;
            }
            End::Stopped
        }
        verdict = task.judgement() => match verdict {
            Verdict::StartOver(why) => {
                let keep = keep(shard, &task).await;
                End::StartOver { why, keep }
            }
            Verdict::Reopen(why) => {
                mend_stores(shard, &task).await;
                End::StartOver { why, keep: None }
            }
            Verdict::Fail(why) => fail(shard, &task, why, stop).await,
        },
        Some((agent, result)) = agents.next() => {
            let why = describe(&task, agent, result);
            match mend_stores(shard, &task).await {
                true => End::StartOver { why, keep: None },
                false => fail(shard, &task, why, stop).await,
            }
        }
    };
    // First the epoch, then the agents' futures: what they still do when they are dropped counts for nothing.
    task.end();
    in_flight.append(&mut task.in_flight.borrow_mut());
    in_flight.retain(|delivery| delivery.outstanding() > 0);
    drop(agents);
    shard.set_running(id, None);
    end
}

/// The stores, with the rows of all that is committed. A commit that is under way may still commit some.
pub(super) async fn keep(shard: &Shard, task: &Task) -> Option<Opened> {
    task.end();
    task.let_go().await;
    if apply::apply(shard, task).await.is_err() {
        mend_stores(shard, task).await;
        return None;
    }
    let tables = task.tables.iter().map(|table| table.afresh(&shard.budget)).collect();
    let starts = match mutant!("start over where it was") {
        true => task.feeds.iter().map(|feed| feed.tracker.borrow().committable()).collect(),
        false => task.committed.borrow().clone(),
    };
    Some(Opened { tables, starts, behind: task.left_behind() })
}

/// Whether a store failed under the agents, which then are not to blame. One that is corrupt is wiped, to be rebuilt from its changelog.
async fn mend_stores(shard: &Shard, task: &Task) -> bool {
    task.end();
    let mut failed = false;
    for (table, meter) in task.tables.iter().zip(&task.meter.tables) {
        let Some(failure) = table.overlay.store_failure() else { continue };
        failed = true;
        if matches!(failure, StoreError::Corrupt(_)) {
            meter.wiped(WipeReason::Corrupt);
            let (stores, id) = (shard.stores.clone(), table.id.clone());
            // Held anew before it is emptied: what a commit under way still wants to apply is refused, or it would be all that is in it.
            let wipe = move || stores.store(&id.table, id.partition).and_then(|_held| stores.wipe(&id.table, id.partition));
            if let Err(error) = shard.rt.blocking(wipe).await {
                tracing::error!("{}: the corrupt store can't be wiped, tried again: {error}", table.id);
            }
        }
    }
    failed
}

/// The whole worker ends; the task waits, dead, for its turn.
async fn fail(shard: &Shard, task: &Task, why: String, stop: &mut mpsc::UnboundedReceiver<Stop>) -> End {
    task.end();
    report(shard, why);
    stop.recv().await;
    End::Stopped
}

fn report(shard: &Shard, why: String) {
    tracing::error!("{why}");
    // The control loop may be gone already.
    let _ = shard.failures.send(why);
}

/// Builds the task and starts to fetch.
pub(super) fn begin(
    shard: &Rc<Shard>,
    id: TaskId,
    term: Term,
    meter: &Arc<TaskMeter>,
    opened: Opened,
) -> Result<Rc<Task>, LogError> {
    let group = &shard.topology.groups[id.group as usize];
    let seats: Vec<Rc<Seat>> =
        group.agents.iter().map(|agent| Rc::new(Seat { agent: agent.name, busy: Cell::new(true) })).collect();
    let mut feeds = Vec::new();
    for (input, &start) in meter.inputs.iter().zip(&opened.starts) {
        let seat = seats.iter().find(|seat| seat.agent == input.agent).expect("every input has its agent").clone();
        let fetch = shard.log.fetch(&input.partition, start, Reader::Source)?;
        input.begin_fetch();
        feeds.push(Feed::new(input.partition.clone(), start, fetch, seat, input.clone(), shard.settings.on_decode_error));
    }
    Ok(Rc::new(Task {
        id,
        epoch: term.epoch,
        tenure: term.tenure,
        tenures: shard.tenure.clone(),
        meter: meter.clone(),
        feeds,
        tables: opened.tables,
        membership: shard.membership.clone(),
        phase: Cell::new(Phase::Running),
        due: Cell::new(None),
        frozen: RefCell::new(None),
        in_commit: Cell::new(false),
        applying: tokio::sync::Mutex::new(()),
        committed: RefCell::new(opened.starts),
        behind: RefCell::new(opened.behind),
        sent: RefCell::default(),
        in_flight: RefCell::default(),
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
    for (index, &agent) in group.agents.iter().enumerate() {
        let context = TaskContext(task.clone());
        // Called in there too: a closure may do things, and panic, before it returns its future.
        let agent_runs = async move { agent.function.call(&context).await };
        let caught = async move { (agent.name, AssertUnwindSafe(agent_runs).catch_unwind().await) };
        agents.push(Scoped { task: task.clone(), agent: index, future: Box::pin(caught) });
    }
    agents
}

/// Stops the intake, lets the agents finish what they have in hand, commits what is done: until the deadline, or until the membership
/// under which it was done is lost.
async fn drain(
    shard: &Rc<Shard>,
    task: &Rc<Task>,
    agents: &mut Agents,
    stop: &mut mpsc::UnboundedReceiver<Stop>,
    within: Duration,
) {
    let deadline = tokio::time::sleep(within);
    task.drain();
    let left = tokio::select! {
        biased;
        _ = stop.recv() => return,
        verdict = task.judgement() => match verdict {
            Verdict::StartOver(why) | Verdict::Reopen(why) => why,
            Verdict::Fail(why) => return report(shard, why),
        },
        finished = finish(shard, task, agents) => match finished {
            Ok(()) => return,
            Err(why) => return report(shard, why),
        },
        () = deadline => {
            let events: Vec<_> = task.feeds.iter().filter_map(|feed| task.in_hand(feed.seat.agent)).collect();
            format!("not drained within {within:?}, in hand: {}", events.join(", "))
        }
    };
    tracing::warn!("task {}: {left}; what is not committed is read again by the next owner", task.id);
    shard.undrained.store(true, Ordering::Relaxed);
}

/// The agents to their ends, and everything they have done committed.
async fn finish(shard: &Rc<Shard>, task: &Rc<Task>, agents: &mut Agents) -> Result<(), String> {
    while let Some((agent, result)) = agents.next().await {
        if !matches!(result, Ok(Ok(()))) {
            return Err(describe(task, agent, result));
        }
    }
    if mutant!("drain commits nothing") {
        return Ok(());
    }
    let own = std::slice::from_ref(task);
    // What froze before, whoever takes it up.
    commit::commit(shard, own).await;
    task.settled().await;
    for feed in &task.feeds {
        feed.tracker.borrow_mut().ask();
    }
    task.freeze();
    commit::commit(shard, own).await;
    task.settled().await;
    if let Err(error) = apply::apply(shard, task).await {
        tracing::warn!("task {}: its next owner rebuilds from the changelog what is not in the store: {error}", task.id);
    }
    Ok(())
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
            let text =
                panic.downcast_ref::<&str>().map(|text| text.to_string()).or_else(|| panic.downcast_ref::<String>().cloned());
            format!("agent `{agent}` panicked{at}: {}", text.unwrap_or_else(|| "no message".into()))
        }
    }
}

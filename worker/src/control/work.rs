//! The app's own tasks: on a thread of theirs, so that they can stop neither heartbeats nor agents; those of the leader only while this
//! worker certainly leads.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior};

use crate::app::{Shutdown, TaskFuture, TaskNode};
use crate::group::{Lease, MemberView, Membership};
use crate::rt::{self, Ended, Rt};
use crate::task::shard::Failure;

/// Between two looks at who leads.
const LOOK: Duration = Duration::from_millis(100);

/// The tasks that run.
pub(super) struct Work {
    shutdown: watch::Sender<bool>,
    pub ended: Ended,
}

impl Work {
    /// Starts them; once told to stop, they have `grace`.
    pub fn start(
        rt: Rt,
        tasks: Vec<&'static TaskNode>,
        membership: Arc<dyn Membership>,
        failures: mpsc::UnboundedSender<Failure>,
        grace: Duration,
    ) -> Self {
        let (sender, shutdown) = Shutdown::channel();
        let ended = rt.start("faust-app", move || Box::pin(run(tasks, membership, failures, shutdown, grace)));
        Self { shutdown: sender, ended }
    }

    pub fn stop(&self) {
        self.shutdown.send_replace(true);
    }
}

async fn run(
    tasks: Vec<&'static TaskNode>,
    membership: Arc<dyn Membership>,
    failures: mpsc::UnboundedSender<Failure>,
    shutdown: Shutdown,
    grace: Duration,
) {
    let mut running: FuturesUnordered<_> = tasks
        .into_iter()
        .map(|task| {
            let (membership, shutdown, failures) = (membership.clone(), shutdown.clone(), failures.clone());
            async move {
                let who = || Lead::of(&membership.view(), membership.lease(), rt::uptime_millis());
                let ended = match task.is_on_leader() {
                    true => lead(task, &who, &shutdown).await,
                    false => outcome(task, task.call(shutdown)).await,
                };
                if let Err(why) = ended {
                    tracing::error!("{why}");
                    // The control loop may be gone already.
                    let _ = failures.send(why);
                }
            }
        })
        .collect();
    let too_late = async {
        shutdown.requested().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        biased;
        () = async { while running.next().await.is_some() {} } => {}
        () = too_late => tracing::warn!("tasks of the app did not end within `shutdown-timeout` and were dropped"),
    }
}

/// How a task ended; it may well have nothing more to do.
async fn outcome(task: &TaskNode, work: impl Future<Output = crate::Result<()>>) -> Result<(), Failure> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("task `{}` failed: {error}", task.name)),
        Err(panic) => {
            let text =
                panic.downcast_ref::<&str>().map(|text| text.to_string()).or_else(|| panic.downcast_ref::<String>().cloned());
            Err(format!("task `{}` panicked: {}", task.name, text.unwrap_or_else(|| "no message".into())))
        }
    }
}

/// Runs a task whenever this worker leads, until the worker stops.
async fn lead(task: &'static TaskNode, who: &dyn Fn() -> Lead, shutdown: &Shutdown) -> Result<(), Failure> {
    loop {
        until(who, Lead::Ours, shutdown).await;
        if shutdown.is_requested() {
            return Ok(());
        }
        tracing::info!("task `{}` begins: this worker leads", task.name);
        outcome(task, WhileLeading::new(who, task.call(shutdown.clone()))).await?;
        // Also when it has ended by itself: it is done for as long as this worker leads.
        until(who, Lead::Others, shutdown).await;
        if shutdown.is_requested() {
            return Ok(());
        }
        tracing::info!("task `{}` has ended: this worker doesn't lead any more", task.name);
    }
}

async fn until(who: &dyn Fn() -> Lead, leads: Lead, shutdown: &Shutdown) {
    while who() != leads && shutdown.sleep(LOOK).await {}
}

/// Who leads, as far as this worker knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lead {
    Ours,
    /// The group decides, or this worker may not be in it any more without knowing.
    Open,
    Others,
}

impl Lead {
    /// Another member leads at the earliest when all have joined anew, this one among them, or when its session has ended. So the lead is
    /// ours as long as nothing of that can have begun.
    fn of(view: &MemberView, lease: &Lease, now: u64) -> Self {
        match view {
            MemberView { joined: false, .. } => Self::Others,
            MemberView { settled: false, .. } => Self::Open,
            _ if !lease.holds(now) => Self::Open,
            MemberView { leader: true, .. } => Self::Ours,
            _ => Self::Others,
        }
    }
}

/// Polls its work only while the lead is ours, and ends when it is another one's.
struct WhileLeading<'a> {
    who: &'a dyn Fn() -> Lead,
    work: TaskFuture,
    /// The membership wakes nobody when it changes.
    look: Interval,
}

impl<'a> WhileLeading<'a> {
    fn new(who: &'a dyn Fn() -> Lead, work: TaskFuture) -> Self {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { who, work, look }
    }
}

impl Future for WhileLeading<'_> {
    type Output = crate::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        while self.look.poll_tick(cx).is_ready() {}
        match (self.who)() {
            Lead::Ours => self.work.as_mut().poll(cx),
            Lead::Open => Poll::Pending,
            Lead::Others => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::secs;

    fn view(joined: bool, settled: bool, leader: bool) -> MemberView {
        MemberView { joined, settled, leader, ..MemberView::default() }
    }

    #[test]
    fn the_lead_is_ours_only_while_nobody_else_can_have_it() {
        let lease = Lease::new(secs(3), secs(1));
        lease.renew(1_000);
        let of = |view, now| Lead::of(&view, &lease, now);
        assert_eq!(of(view(true, true, true), 1_500), Lead::Ours);
        assert_eq!(of(view(true, true, false), 1_500), Lead::Others);
        assert_eq!(of(view(true, false, true), 1_500), Lead::Open, "a rebalance may give it to another one");
        assert_eq!(of(view(true, true, true), 3_500), Lead::Open, "the session may have ended");
        assert_eq!(of(view(false, false, false), 1_500), Lead::Others);
    }

    /// Counts what it gets done, and that it was dropped.
    struct Busy(Rc<Cell<u32>>, Rc<Cell<u32>>);

    impl Drop for Busy {
        fn drop(&mut self) {
            self.1.set(self.1.get() + 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_stands_still_while_the_lead_is_open_and_is_dropped_when_it_is_lost() {
        let lead = Rc::new(Cell::new(Lead::Ours));
        let (done, dropped) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let busy = Busy(done.clone(), dropped.clone());
        let work: TaskFuture = Box::pin(async move {
            loop {
                busy.0.set(busy.0.get() + 1);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let who = || lead.get();
        let mut leading = WhileLeading::new(&who, work);
        let mut go = async |how| {
            lead.set(how);
            tokio::time::timeout(secs(1), &mut leading).await.is_ok()
        };
        assert!(!go(Lead::Ours).await);
        let before = done.get();
        assert!(before >= 99, "{before}");
        assert!(!go(Lead::Open).await);
        assert_eq!((done.get(), dropped.get()), (before, 0));
        assert!(!go(Lead::Ours).await);
        assert!(done.get() > before);
        let before = done.get();
        assert!(go(Lead::Others).await);
        assert_eq!(done.get(), before);
        drop(leading);
        assert_eq!(dropped.get(), 1);
    }
}

//! What an app does beside its agents: tasks of its own, on every worker or where the app is led.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::AppNode;
use crate::error::Result;

/// A registered task: `app.task(name, f)`.
#[derive(Clone, Copy)]
pub struct Task {
    node: &'static TaskNode,
}

/// What the app remembers of a task.
pub(crate) struct TaskNode {
    pub name: &'static str,
    app: &'static AppNode,
    on_leader: AtomicBool,
    function: TaskFn,
}

type TaskFn = Box<dyn Fn(Shutdown) -> TaskFuture + Send + Sync>;
pub(crate) type TaskFuture = Pin<Box<dyn Future<Output = Result<()>>>>;

impl Task {
    pub(super) fn new(app: &'static AppNode, name: &str, f: impl AsyncFn(Shutdown) -> Result<()> + Send + Sync + 'static) -> Self {
        let f = Arc::new(f);
        let function: TaskFn = Box::new(move |shutdown| {
            let f = f.clone();
            Box::pin(async move { f(shutdown).await })
        });
        let node = TaskNode { name: app.own(name), app, on_leader: AtomicBool::new(false), function };
        Self { node: Box::leak(Box::new(node)) }
    }

    pub(super) fn node(self) -> &'static TaskNode {
        self.node
    }

    /// Only where the app is led, which is on one worker at a time. It begins when this worker leads, stands still while a rebalance
    /// decides who does, and is dropped at the `await` that it is at when another one does. Should this worker lead again, it begins anew.
    pub fn on_leader(self) -> Self {
        self.node.app.option("task", self.node.name, "on_leader()");
        self.node.on_leader.store(true, Ordering::Relaxed);
        self
    }

    /// The task's name, as declared.
    pub fn name(&self) -> &'static str {
        self.node.name
    }
}

impl TaskNode {
    pub fn is_on_leader(&self) -> bool {
        self.on_leader.load(Ordering::Relaxed)
    }

    pub fn call(&self, shutdown: Shutdown) -> TaskFuture {
        (self.function)(shutdown)
    }
}

/// Tells a task that the worker stops. It has `shutdown-timeout` from then on, and is dropped at an `await` after that.
#[derive(Clone)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    pub(crate) fn channel() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Resolves when the worker stops.
    pub async fn requested(&self) {
        // A worker that is gone has stopped.
        let _ = self.0.clone().wait_for(|requested| *requested).await;
    }

    /// Whether the worker stops.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Sleeps, but not beyond the shutdown. `false`: it was cut short.
    pub async fn sleep(&self, duration: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.requested() => false,
            () = tokio::time::sleep(duration) => true,
        }
    }
}

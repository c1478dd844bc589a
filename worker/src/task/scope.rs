//! Whose code is being polled: how a send finds its task.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Task;
use crate::status::ShardMeter;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Task>>> = const { RefCell::new(None) };
    static ON_SHARD: Cell<bool> = const { Cell::new(false) };
}

/// Where the code runs that asks.
pub(crate) enum Current {
    Task(Rc<Task>),
    /// On a shard's thread, in no task: a bare `spawn_local`.
    ShardOnly,
    Outside,
}

/// The task that is being polled on this thread.
pub(crate) fn current() -> Current {
    match CURRENT.with_borrow(Option::clone) {
        Some(task) => Current::Task(task),
        None if ON_SHARD.get() => Current::ShardOnly,
        None => Current::Outside,
    }
}

/// This thread belongs to a shard.
pub(super) fn enter_shard() {
    ON_SHARD.set(true);
}

/// A future of a task's agent: every poll of it happens in the task's name.
pub(super) struct Scoped<T> {
    pub task: Rc<Task>,
    /// The agent's place in its group.
    pub agent: usize,
    pub future: Pin<Box<dyn Future<Output = T>>>,
}

impl<T> Future for Scoped<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let before = CURRENT.replace(Some(self.task.clone()));
        let _restore = Restore { before, shard: self.task.shard.meter.clone() };
        self.task.shard.meter.enter(self.task.id, self.agent);
        self.future.as_mut().poll(cx)
    }
}

/// Puts the outer task back, also when the poll panics.
struct Restore {
    before: Option<Rc<Task>>,
    shard: Arc<ShardMeter>,
}

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
        self.shard.leave();
    }
}

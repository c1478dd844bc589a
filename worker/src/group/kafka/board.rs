//! A value that one side changes and others wait on, like tokio's `watch` – which draws lots about whom it wakes first, with a
//! runtime's own randomness, and so would make no two simulations of a seed the same. Here whoever waited first is woken first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

/// The side that looks. Its clones look at the same.
#[derive(Clone)]
pub(super) struct Board<T>(Arc<Inner<T>>);

/// The side that changes it.
pub(super) struct Chalk<T>(Arc<Inner<T>>);

/// Nobody will change it any more.
#[derive(Debug)]
pub(super) struct Gone;

struct Inner<T> {
    value: Mutex<T>,
    /// Whether the other side is there.
    kept: AtomicBool,
    changed: Notify,
}

pub(super) fn board<T>(value: T) -> (Chalk<T>, Board<T>) {
    let inner = Arc::new(Inner { value: value.into(), kept: true.into(), changed: Notify::new() });
    (Chalk(inner.clone()), Board(inner))
}

impl<T> Chalk<T> {
    pub fn read(&self) -> MutexGuard<'_, T> {
        self.0.value.lock().unwrap()
    }

    pub fn write(&self, value: T) {
        *self.0.value.lock().unwrap() = value;
        self.0.changed.notify_waiters();
    }
}

impl<T> Drop for Chalk<T> {
    fn drop(&mut self) {
        self.0.kept.store(false, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

impl<T: Clone> Board<T> {
    pub fn read(&self) -> MutexGuard<'_, T> {
        self.0.value.lock().unwrap()
    }

    /// The first value from now on that is such.
    pub async fn wait_for(&self, holds: impl Fn(&T) -> bool) -> Result<T, Gone> {
        loop {
            // Made before the look, so that no change between the two is missed.
            let changed = self.0.changed.notified();
            let kept = self.0.kept.load(Ordering::SeqCst);
            {
                let value = self.read();
                if holds(&value) {
                    return Ok(value.clone());
                }
            }
            if !kept {
                return Err(Gone);
            }
            changed.await;
        }
    }
}

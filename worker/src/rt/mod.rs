//! The runtime as a seam: where threads, blocking work, clocks and randomness come from.
//!
//! In production a shard is an OS thread with a runtime of its own. In tests ([`Rt::single`]) every part of a worker is a task of
//! the one current-thread runtime that the test has, "blocking" work runs in line, and paused time advances by itself. In a simulation
//! ([`sim`]) there are many workers on it, and clocks and randomness come from its seed. Nothing else in the crate may reach around
//! this room; clippy's `disallowed-methods` sees to that.
#![allow(clippy::disallowed_methods, reason = "this is the place that the rule sends everybody to")]

use std::future::Future;
use std::pin::Pin;
use std::thread;

use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet, LocalSet};

#[cfg(all(test, feature = "kafka"))]
pub(crate) mod sim;

pub(crate) use tokio::time::Instant;

/// Where the parts of a worker run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rt(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Threads,
    #[cfg_attr(not(test), expect(dead_code, reason = "for tests"))]
    Single,
}

/// Resolves when the part has ended; an error if it panicked.
pub(crate) type Ended = oneshot::Receiver<()>;

impl Rt {
    /// Each part on a thread of its own.
    pub fn threads() -> Self {
        Self(Kind::Threads)
    }

    /// All parts on the caller's thread. Must be used inside a [`LocalSet`].
    #[cfg(test)]
    pub fn single() -> Self {
        Self(Kind::Single)
    }

    /// Starts a part: `main` makes its future on the part's own thread, so the future need not be `Send`.
    pub fn start<F>(&self, name: &str, main: F) -> Ended
    where
        F: FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send + 'static,
    {
        let (ended, on_end) = oneshot::channel();
        match self.0 {
            Kind::Threads => {
                let run = move || {
                    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                    LocalSet::new().block_on(&runtime, main());
                    runtime.shutdown_background();
                    let _ = ended.send(());
                };
                thread::Builder::new().name(name.to_string()).spawn(run).expect("a thread");
            }
            Kind::Single => {
                let main = async move {
                    main().await;
                    let _ = ended.send(());
                };
                #[cfg(all(test, feature = "kafka"))]
                let main = sim::Jittered::new(main);
                tokio::task::spawn_local(main);
            }
        }
        on_end
    }

    /// Runs what blocks – disk, a client library – off the runtime's thread. A panic in it goes on in the caller.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.0 {
            Kind::Single => {
                #[cfg(all(test, feature = "kafka"))]
                let work = match sim::blocking(work) {
                    Ok(done) => return done.await,
                    Err(work) => work,
                };
                work()
            }
            Kind::Threads => match tokio::task::spawn_blocking(work).await {
                Ok(result) => result,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
        }
    }

    /// How many shards a worker has: one per core that this process may use.
    pub fn shards(&self) -> usize {
        match self.0 {
            Kind::Threads => thread::available_parallelism().map_or(1, usize::from),
            #[cfg(all(test, feature = "kafka"))]
            Kind::Single if sim::current().is_some() => sim::SHARDS,
            Kind::Single => 1,
        }
    }
}

/// Starts a future beside the caller, on the caller's runtime. In a simulation it belongs to the caller's process.
pub(crate) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    Spawner::here().spawn(future)
}

/// [`spawn`], as one of a set.
pub(crate) fn spawn_in<F>(set: &mut JoinSet<F::Output>, future: F)
where
    F: Future<Output: Send> + Send + 'static,
{
    #[cfg(all(test, feature = "kafka"))]
    if sim::current().is_some() {
        set.spawn_local(sim::Jittered::new(future));
        return;
    }
    set.spawn(future);
}

/// Starts futures on the runtime that it was made on, whoever calls.
#[derive(Clone, Debug)]
pub(crate) enum Spawner {
    Runtime(Handle),
    /// In a simulation, where everybody is on one runtime, and a process is what its tasks are in.
    #[cfg(all(test, feature = "kafka"))]
    Process,
}

impl Spawner {
    pub fn here() -> Self {
        #[cfg(all(test, feature = "kafka"))]
        if sim::current().is_some() {
            return Self::Process;
        }
        Self::Runtime(Handle::current())
    }

    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        match self {
            Self::Runtime(handle) => handle.spawn(future),
            #[cfg(all(test, feature = "kafka"))]
            Self::Process => tokio::task::spawn_local(sim::Jittered::new(future)),
        }
    }
}

/// Runs a future on a runtime of this thread's own, to its end.
pub(crate) fn block_on<T>(main: impl Future<Output = T>) -> T {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let result = runtime.block_on(main);
    runtime.shutdown_background();
    result
}

/// Ends the process at once. Not by `exit`, which would run the destructors of RocksDB's statics under threads that still use them,
/// and abort.
pub(crate) fn end_process(code: i32) -> ! {
    // Standard error is not buffered; what can't be written out any more is lost either way.
    let _ = std::io::Write::flush(&mut std::io::stdout());
    // SAFETY: it ends the process and touches nothing of it.
    unsafe { libc::_exit(code) }
}

/// Raises the soft limit of open files to the hard one: a store has about nine, and the usual limit is for a hundred stores.
pub(crate) fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid, writable rlimit.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0;
    if known && limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is a valid rlimit. A refusal leaves the limit as it was, which is enough for most.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    }
}

/// Monotonic time; stands still while a test has paused it.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Milliseconds of a clock that also counts while the machine or process is suspended. Only for the lease: a worker that was
/// stopped must see how long.
pub(crate) fn uptime_millis() -> u64 {
    #[cfg(all(test, feature = "kafka"))]
    if let Some(sim) = sim::current() {
        return sim.uptime();
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}

/// Milliseconds since the epoch.
pub(crate) fn wall_millis() -> i64 {
    #[cfg(all(test, feature = "kafka"))]
    if let Some(sim) = sim::current() {
        return sim.wall();
    }
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |elapsed| elapsed.as_millis() as i64)
}

/// 128 random bits, as the identity of a process.
pub(crate) fn random_id() -> String {
    #[cfg(all(test, feature = "kafka"))]
    if let Some(sim) = sim::current() {
        return sim.random_id();
    }
    uuid::Uuid::new_v4().to_string()
}

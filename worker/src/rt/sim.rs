//! A simulated cluster on one thread: one seed, one order of events.
//!
//! Every worker is a *process*: a set of tasks that can be frozen (its tasks have no turns while time goes on, as under SIGSTOP) or
//! dropped (as under SIGKILL). What lies between processes – networks, brokers – happens in *events* on the simulation's own queue,
//! outside of all of them. Time is tokio's paused clock; all randomness is of the seed, and every turn of a task may be put off by it.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::Instant;
use crate::fnv::Fnv;

/// Shards of a simulated worker: enough to have tasks on different ones.
pub(super) const SHARDS: usize = 2;

/// Where the clocks begin, in milliseconds: of uptime, and since the epoch.
const UPTIME: u64 = 1_000_000;
const WALL: i64 = 1_800_000_000_000;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Sim>>> = const { RefCell::new(None) };
}

/// Names a process; each start of a worker is another one.
pub(crate) type ProcessId = u32;

/// The simulation that this thread is in.
pub(crate) struct Sim {
    start: Instant,
    rng: RefCell<Rng>,
    events: RefCell<BinaryHeap<Reverse<Event>>>,
    numbered: Cell<u64>,
    arrived: Notify,
    /// Whose tasks have their turn.
    process: Cell<Option<ProcessId>>,
    /// How far a process's wall clock is off.
    skew: RefCell<BTreeMap<ProcessId, i64>>,
    /// The longest time that "blocking" work of a process may take, where that is more than usual.
    slow: RefCell<BTreeMap<ProcessId, Duration>>,
    trace: RefCell<Trace>,
}

struct Event {
    at: Instant,
    number: u64,
    act: Box<dyn FnOnce()>,
}

/// What happened, line by line.
pub(crate) struct Trace {
    pub lines: Vec<String>,
    keep: bool,
    pub hash: Fnv,
    pub count: u64,
}

/// The simulation that is running on this thread, if one is.
pub(crate) fn current() -> Option<Rc<Sim>> {
    CURRENT.with_borrow(Option::clone)
}

/// Runs a simulation to its end, on a runtime of its own. `keep` keeps the trace's lines.
pub(crate) fn run<T>(seed: u64, keep: bool, main: impl AsyncFnOnce(Rc<Sim>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let sim = Rc::new(Sim::new(seed, keep));
        CURRENT.set(Some(sim.clone()));
        let _gone = Gone;
        tokio::select! {
            biased;
            result = main(sim.clone()) => result,
            never = sim.clone().carry_out() => never,
        }
    })
}

struct Gone;

impl Drop for Gone {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

impl Sim {
    fn new(seed: u64, keep: bool) -> Self {
        Self {
            start: super::now(),
            rng: RefCell::new(Rng::new(seed)),
            events: RefCell::default(),
            numbered: Cell::new(0),
            arrived: Notify::new(),
            process: Cell::new(None),
            skew: RefCell::default(),
            slow: RefCell::default(),
            trace: RefCell::new(Trace { lines: Vec::new(), keep, hash: Fnv::new(), count: 0 }),
        }
    }

    /// Milliseconds since the simulation began.
    pub fn elapsed(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    pub fn uptime(&self) -> u64 {
        UPTIME + self.elapsed()
    }

    pub fn wall(&self) -> i64 {
        let skew = self.process.get().and_then(|process| self.skew.borrow().get(&process).copied()).unwrap_or(0);
        WALL + self.elapsed() as i64 + skew
    }

    pub fn random_id(&self) -> String {
        let (high, low) = (self.random(), self.random());
        uuid::Uuid::from_u64_pair(high, low).to_string()
    }

    fn random(&self) -> u64 {
        self.rng.borrow_mut().next()
    }

    /// From `range`, its end included.
    pub fn between(&self, from: u64, to: u64) -> u64 {
        self.rng.borrow_mut().between(from, to)
    }

    /// True `of` times in a thousand.
    pub fn chance(&self, of: u32) -> bool {
        self.rng.borrow_mut().chance(of)
    }

    /// The process whose tasks have their turn.
    pub fn process(&self) -> Option<ProcessId> {
        self.process.get()
    }

    pub fn skew(&self, process: ProcessId, by: i64) {
        *self.skew.borrow_mut().entry(process).or_default() += by;
    }

    /// Lets the "blocking" work of a process take up to this long.
    pub fn slow(&self, process: ProcessId, up_to: Option<Duration>) {
        match up_to {
            Some(up_to) => self.slow.borrow_mut().insert(process, up_to),
            None => self.slow.borrow_mut().remove(&process),
        };
    }

    /// Has something happen after a while, in no process.
    pub fn after(&self, millis: u64, act: impl FnOnce() + 'static) {
        let at = super::now() + Duration::from_millis(millis);
        let number = self.numbered.replace(self.numbered.get() + 1);
        self.events.borrow_mut().push(Reverse(Event { at, number, act: Box::new(act) }));
        self.arrived.notify_one();
    }

    async fn carry_out<T>(self: Rc<Self>) -> T {
        loop {
            let next = self.events.borrow().peek().map(|Reverse(event)| event.at);
            match next {
                Some(at) if at <= super::now() => {
                    let Reverse(event) = self.events.borrow_mut().pop().expect("peeked");
                    (event.act)();
                }
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = self.arrived.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => self.arrived.notified().await,
            }
        }
    }

    /// Notes something that happened.
    pub fn note(&self, what: impl FnOnce() -> String) {
        let mut trace = self.trace.borrow_mut();
        let who = self.process.get().map(|process| format!("process {process}")).unwrap_or_else(|| "world".into());
        let line = format!("{:>7} {who}: {}", self.elapsed(), what());
        trace.hash.eat(line.as_bytes());
        trace.count += 1;
        if trace.keep {
            trace.lines.push(line);
        }
    }

    pub fn trace(&self) -> std::cell::Ref<'_, Trace> {
        self.trace.borrow()
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Event {}
impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// "Blocking" work in a simulation: takes a while, and goes on when nobody waits for it any more, as on a thread of its own. Gives the
/// work back where there is no simulation.
pub(super) fn blocking<T: 'static, W: FnOnce() -> T + 'static>(work: W) -> Result<impl Future<Output = T>, W> {
    let Some(sim) = current() else { return Err(work) };
    let slow = sim.process().and_then(|process| sim.slow.borrow().get(&process).copied());
    let millis = match slow {
        Some(up_to) => sim.between(0, up_to.as_millis() as u64),
        None => sim.between(0, 2),
    };
    let work = tokio::task::spawn_local(async move {
        if millis > 0 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        work()
    });
    Ok(async {
        match work.await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    })
}

/// A future whose turns may be put off in a simulation, so that seeds differ in who comes first.
pub(super) struct Jittered<F> {
    future: Pin<Box<F>>,
    sim: Option<Rc<Sim>>,
}

impl<F> Jittered<F> {
    pub fn new(future: F) -> Self {
        Self { future: Box::pin(future), sim: current() }
    }
}

impl<F: Future> Future for Jittered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if self.sim.as_ref().is_some_and(|sim| sim.chance(100)) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.future.as_mut().poll(cx)
    }
}

/// The tasks of one process.
pub(crate) struct Process {
    pub id: ProcessId,
    tasks: Rc<Tasks>,
}

struct Tasks {
    id: ProcessId,
    /// None when it was killed.
    local: RefCell<Option<LocalSet>>,
    frozen: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Process {
    /// Starts a process with its first task.
    pub fn start(id: ProcessId, main: impl Future<Output = ()> + 'static) -> Self {
        let local = LocalSet::new();
        local.spawn_local(main);
        let tasks = Rc::new(Tasks { id, local: RefCell::new(Some(local)), frozen: Cell::new(false), waker: RefCell::new(None) });
        tokio::task::spawn_local(Turns(tasks.clone()));
        Self { id, tasks }
    }

    /// Its tasks have no turns from now on.
    pub fn freeze(&self) {
        self.tasks.frozen.set(true);
    }

    pub fn thaw(&self) {
        self.tasks.frozen.set(false);
        self.tasks.wake();
    }

    /// Ends it where it stands.
    pub fn kill(&self) {
        let local = self.tasks.local.borrow_mut().take();
        as_process(self.id, || drop(local));
        self.tasks.wake();
    }

    /// Runs something in the name of the process.
    pub fn within<T>(&self, f: impl FnOnce() -> T) -> T {
        as_process(self.id, f)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn as_process<T>(id: ProcessId, f: impl FnOnce() -> T) -> T {
    let Some(sim) = current() else { return f() };
    let before = sim.process.replace(Some(id));
    let result = f();
    sim.process.set(before);
    result
}

impl Tasks {
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// Gives the tasks of a process their turns, until it is killed.
struct Turns(Rc<Tasks>);

impl Future for Turns {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let tasks = &self.0;
        *tasks.waker.borrow_mut() = Some(cx.waker().clone());
        let mut local = tasks.local.borrow_mut();
        let Some(local) = local.as_mut() else { return Poll::Ready(()) };
        if !tasks.frozen.get() {
            // All of its tasks may have ended; the process is there until it is killed.
            let _ = as_process(tasks.id, || Pin::new(local).poll(cx));
        }
        Poll::Pending
    }
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From a range, its end included.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from + 1)
    }

    /// True `of` times in a thousand; nothing is drawn for what never happens.
    pub fn chance(&mut self, of: u32) -> bool {
        of > 0 && self.between(0, 999) < u64::from(of)
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.between(0, from.len() as u64 - 1) as usize]
    }
}

//! The app: declarations first, then a way to run.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use crate::agent::{self, Agent, AgentInputs, AgentNode, State};
use crate::cli;
use crate::contract;
use crate::control;
use crate::error::{Error, Result, TopologyError};
use crate::model::{Key, Value};
use crate::settings::Settings;
use crate::table::{Table, TableNode};
use crate::topic::{Topic, TopicNode};
use crate::topology::{self, Topology};

mod running;
mod task;
mod worker;

pub(crate) use running::{Running, StaleRow};
pub use task::{Shutdown, Task};
pub(crate) use task::{TaskFuture, TaskNode};
pub use worker::Worker;

/// A stream-processing app: topics, tables and agents, declared before it runs.
///
/// Its id is the name of its consumer group and the prefix of its internal topics. Handles that it returns are `Copy` and valid for
/// the life of the process.
pub struct App(&'static AppNode);

/// What all handles of an app share.
pub(crate) struct AppNode {
    pub id: &'static str,
    settings: Mutex<Settings>,
    declared: Mutex<Declared>,
    /// The declarations are closed.
    started: AtomicBool,
    running: RwLock<Option<Arc<Running>>>,
}

#[derive(Default)]
struct Declared {
    topics: Vec<&'static TopicNode>,
    tables: Vec<&'static TableNode>,
    agents: Vec<&'static AgentNode>,
    tasks: Vec<&'static TaskNode>,
    problems: Vec<TopologyError>,
}

impl App {
    /// An app with the default settings; flags and environment variables still apply.
    pub fn new(id: &str) -> Self {
        Self::with(id, Settings::new())
    }

    /// An app with settings of its own, which flags and environment variables override.
    pub fn with(id: &str, settings: Settings) -> Self {
        let node = AppNode {
            id: String::leak(id.to_string()),
            settings: Mutex::new(settings),
            declared: Mutex::default(),
            started: AtomicBool::new(false),
            running: RwLock::new(None),
        };
        Self(Box::leak(Box::new(node)))
    }

    /// The app's id.
    pub fn id(&self) -> &'static str {
        self.0.id
    }

    #[cfg(test)]
    pub(crate) fn node(&self) -> &'static AppNode {
        self.0
    }

    /// Settings of the app in code, in place of those it was made with. Flags and environment variables override them.
    pub fn configure(&self, settings: Settings) {
        self.0.option("app", self.0.id, "configure(..)");
        *self.0.settings.lock().unwrap() = settings;
    }

    /// A Kafka topic with keys of type `K` and values of type `V`.
    pub fn topic<K: Key, V: Value>(&self, name: &str) -> Topic<K, V> {
        let mut declared = self.0.declare("topic", name, |declared| names(declared.topics.iter().map(|topic| topic.name)));
        let node: &'static TopicNode = Box::leak(Box::new(TopicNode::new(self.0, self.0.own(name))));
        declared.topics.push(node);
        Topic::of(node)
    }

    /// A table with keys of type `K` and rows of type `V`, kept by the agents that have it among their inputs.
    pub fn table<K: Key, V: Value>(&self, name: &str) -> Table<K, V> {
        let mut declared = self.0.declare("table", name, |declared| names(declared.tables.iter().map(|table| table.name)));
        let index = declared.tables.len();
        let node: &'static TableNode = Box::leak(Box::new(TableNode::new::<K, V>(self.0, self.0.own(name), index)));
        declared.tables.push(node);
        Table::of(node)
    }

    /// Something that agents share and only read, as an input of theirs.
    pub fn state<T: Send + Sync + 'static>(&self, value: T) -> State<T> {
        State(Box::leak(Box::new(value)))
    }

    /// A function over the stream of each task: `inputs` are a topic, or a tuple of a topic and tables, further topics or state; the
    /// function gets the task's part of each. It is called once per task, and again when the partition comes back.
    ///
    /// ```
    /// # use faust::prelude::*;
    /// # let app = App::new("page-views");
    /// let views = app.topic::<String, String>("page_views"); // keyed by page
    /// let counts = app.table::<String, u64>("page_counts");
    ///
    /// app.agent("count", (views, counts), async |mut views, counts| {
    ///     while let Some(view) = views.next().await {
    ///         counts.update(view.key(), |n| *n += 1)?;
    ///     }
    ///     Ok(())
    /// });
    /// ```
    pub fn agent<I: AgentInputs<F>, F>(&self, name: &str, inputs: I, f: F) -> Agent<I::Key, I::Value, I::Reply> {
        let mut declared = self.0.declare("agent", name, |declared| names(declared.agents.iter().map(|agent| agent.name)));
        let (inputs, function) = inputs.into_agent(f);
        let node = agent::leak(self.0, name, inputs, function);
        declared.agents.push(node);
        Agent::of(node)
    }

    /// Work beside the agents, on a thread of its own: once per worker from when it has joined, or where the app is led
    /// ([`Task::on_leader`]). It may send and query, and end when it likes; an error or a panic ends the worker.
    ///
    /// ```
    /// # use faust::prelude::*;
    /// # let app = App::new("page-views");
    /// let views = app.topic::<String, String>("page_views");
    ///
    /// app.task("heartbeat", async move |shutdown| {
    ///     while shutdown.sleep(secs(10)).await {
    ///         views.send("/health", &"probe".to_string()).await?;
    ///     }
    ///     Ok(())
    /// })
    /// .on_leader();
    /// ```
    pub fn task(&self, name: &str, f: impl AsyncFn(Shutdown) -> Result<()> + Send + Sync + 'static) -> Task {
        let mut declared = self.0.declare("task", name, |declared| names(declared.tasks.iter().map(|task| task.name)));
        let task = Task::new(self.0, name, f);
        declared.tasks.push(task.node());
        task
    }

    /// Runs the command line: `worker`, `--help`, `--version`. Ends the process with the exit code, after one sentence, where something
    /// is wrong.
    pub fn main(self) -> Result<()> {
        cli::main(self.0)
    }

    /// Starts a worker inside of a program that has a tokio runtime of its own: no command line, no signal handlers, no logging.
    /// Settings come from the code, from `FAUST_*` variables, and from the file that `FAUST_CONFIG` names.
    pub async fn start(self) -> Result<Worker> {
        let configured = contract::configure(self.0.id, &self.0.settings(), cli::environment(), &[])?;
        let worker = control::start(self.0, configured).await.map_err(Error::from)?;
        Ok(Worker::new(worker))
    }
}

fn names(of: impl Iterator<Item = &'static str>) -> BTreeSet<&'static str> {
    of.collect()
}

impl AppNode {
    /// The running worker, if there is one in this process.
    pub fn running(&self) -> Option<Arc<Running>> {
        self.running.read().unwrap().clone()
    }

    /// What runs now; `None` when it has stopped.
    pub fn set_running(&self, running: Option<Arc<Running>>) {
        *self.running.write().unwrap() = running;
    }

    /// A name that lives as long as the app, which is the process.
    pub fn own(&self, name: &str) -> &'static str {
        String::leak(name.to_string())
    }

    /// Options belong before the start; one that comes later is a mistake in the program, as an overlapping route is in axum.
    pub fn option(&self, kind: &str, name: &str, option: &str) {
        if self.started.load(Ordering::Relaxed) {
            panic!("{kind} `{name}`: `{option}` comes after the app has started; options belong before `main` or `start`");
        }
    }

    fn declare(
        &self,
        kind: &str,
        name: &str,
        taken: impl FnOnce(&Declared) -> BTreeSet<&'static str>,
    ) -> std::sync::MutexGuard<'_, Declared> {
        self.option(kind, name, &format!("app.{kind}(..)"));
        let mut declared = self.declared.lock().unwrap();
        if taken(&declared).contains(name) {
            declared.problems.push(TopologyError::DuplicateName(format!(
                "{kind} `{name}` is declared twice; declare it once and pass the handle on (handles are `Copy`)"
            )));
        }
        if !legal(name) {
            declared.problems.push(TopologyError::IllegalName(format!(
                "{kind} `{name}`: a name has 1 to 200 letters, digits, `.`, `_` and `-`, because topics and folders are named by it"
            )));
        }
        declared
    }

    /// Closes the declarations.
    pub fn topology(&self) -> Result<Topology, Vec<TopologyError>> {
        self.started.store(true, Ordering::Relaxed);
        let declared = self.declared.lock().unwrap();
        let mut problems = declared.problems.clone();
        if declared.agents.is_empty() {
            problems.push(TopologyError::NoAgents(format!("app `{}` has no agent, so its worker has nothing to do", self.id)));
        }
        match topology::build(&declared.topics, &declared.agents) {
            Ok(topology) if problems.is_empty() => Ok(topology),
            Ok(_) => Err(problems),
            Err(more) => Err([problems, more].concat()),
        }
    }

    /// The settings as the code gives them.
    pub fn settings(&self) -> Settings {
        self.settings.lock().unwrap().clone()
    }

    /// The app's own tasks.
    pub fn tasks(&self) -> Vec<&'static TaskNode> {
        self.declared.lock().unwrap().tasks.clone()
    }

    pub fn table_named(&self, name: &str) -> Option<&'static TableNode> {
        self.declared.lock().unwrap().tables.iter().copied().find(|table| table.name == name)
    }
}

/// What Kafka takes as (a part of) the name of a topic.
fn legal(name: &str) -> bool {
    let fits = (1..=200).contains(&name.len()) && name != "." && name != "..";
    fits && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

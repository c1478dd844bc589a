//! Agents: what they need is declared by value, and received by argument.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;

use crate::app::AppNode;
use crate::error::Result;
use crate::model::{Key, Value};
use crate::stream::Stream;
use crate::table::{LocalTable, Table};
use crate::task::TaskContext;
use crate::topic::{Source, Topic};
use crate::topology::Declaration;

handle! {
    /// A registered agent.
    Agent<K, V, R = ()> of AgentNode
}

/// What the app remembers of an agent.
pub(crate) struct AgentNode {
    pub name: &'static str,
    pub declared: Declaration,
    pub function: AgentFn,
}

impl<K: 'static, V: 'static, R: 'static> Agent<K, V, R> {
    /// The agent's name, as declared.
    pub fn name(&self) -> &'static str {
        self.node.name
    }
}

/// A user's function with its inputs: one value for all shards, called once per task, with futures that stay on their shard.
#[doc(hidden)]
pub struct AgentFn(Arc<dyn Fn(&TaskContext) -> AgentFuture + Send + Sync>);

pub(crate) type AgentFuture = Pin<Box<dyn Future<Output = Result<()>>>>;

impl AgentFn {
    pub(crate) fn call(&self, task: &TaskContext) -> AgentFuture {
        (self.0)(task)
    }
}

/// Something an agent can have beside its stream keyed by `K`; it gets `Arg` as its argument.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't stand beside a stream keyed by `{K}`",
    label = "not partitioned by `{K}`",
    note = "a table and the stream it is written from must have the same key type, or a row may lie in another partition: use a source \
            that is keyed by the table's key",
    note = "handles are `Copy`: pass `counts`, not `&counts`"
)]
pub trait Input<K>: Copy + Send + Sync + 'static {
    type Arg: 'static;
    /// Adds this input to the agent's declaration.
    #[doc(hidden)]
    fn declare(&self, agent: &mut Declaration);
    /// The part of it that belongs to a task; once per task, when the agent's future is made.
    #[doc(hidden)]
    fn bind(&self, task: &TaskContext) -> Self::Arg;
}

impl<K: Key, V: Value> Input<K> for Topic<K, V> {
    type Arg = Stream<K, V>;
    fn declare(&self, agent: &mut Declaration) {
        agent.reads(self.node);
    }
    fn bind(&self, task: &TaskContext) -> Stream<K, V> {
        Stream::new(task.input(self.node.name))
    }
}

impl<K: 'static, TK: Key, V: Value> Input<K> for Table<TK, V, K> {
    type Arg = LocalTable<TK, V>;
    fn declare(&self, agent: &mut Declaration) {
        agent.keeps(self.node);
    }
    fn bind(&self, task: &TaskContext) -> LocalTable<TK, V> {
        LocalTable::new(self.node, task.overlay(self.node))
    }
}

/// Shared, read-only application state, made with `app.state(value)`.
pub struct State<T: 'static>(pub(crate) &'static T);

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for State<T> {}
impl<T> Deref for State<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0
    }
}

impl<K, T: Send + Sync + 'static> Input<K> for State<T> {
    type Arg = State<T>;
    fn declare(&self, _: &mut Declaration) {}
    fn bind(&self, _: &TaskContext) -> State<T> {
        *self
    }
}

/// `S`, `(S,)`, `(S, A)`, … where `S` is a [`Source`] and the rest are [`Input`]s, together with a function that takes what they give.
///
/// The function is a parameter of this trait (and not the other way round) so that the compiler knows a closure's argument types from
/// the inputs.
#[diagnostic::on_unimplemented(
    message = "`{Self}` and this function don't make an agent",
    label = "the first of these must be a source, each further one a table, a second stream or a `State`",
    note = "the function is `async fn(Stream<K, V>, <one argument per further input>) -> faust::Result<()>`"
)]
pub trait AgentInputs<F> {
    type Key: 'static;
    type Value: 'static;
    type Reply: 'static;
    #[doc(hidden)]
    fn into_agent(self, f: F) -> (Declaration, AgentFn);
}

macro_rules! inputs {
    ($($input:ident),*) => {
        impl<S: Source, $($input: Input<S::Key>,)* F> AgentInputs<F> for (S, $($input,)*)
        where
            F: AsyncFn(Stream<S::Key, S::Value, S::Reply> $(, $input::Arg)*) -> Result<()> + Send + Sync + 'static,
        {
            type Key = S::Key;
            type Value = S::Value;
            type Reply = S::Reply;

            #[allow(non_snake_case)]
            fn into_agent(self, f: F) -> (Declaration, AgentFn) {
                let (source, $($input,)*) = self;
                let mut declared = Declaration::default();
                source.declare(&mut declared);
                $($input.declare(&mut declared);)*
                let f = Arc::new(f);
                let function = AgentFn(Arc::new(move |task| {
                    let (f, stream) = (f.clone(), source.bind(task));
                    $(let $input = $input.bind(task);)*
                    Box::pin(async move { f(stream, $($input),*).await })
                }));
                (declared, function)
            }
        }
    };
}
inputs!();
inputs!(A);
inputs!(A, B);
inputs!(A, B, C);
inputs!(A, B, C, D);
inputs!(A, B, C, D, E);

// A source alone: written for each source type, so that a tuple has one candidate only and its error names the input at fault.
impl<K: Key, V: Value, F> AgentInputs<F> for Topic<K, V>
where
    F: AsyncFn(Stream<K, V>) -> Result<()> + Send + Sync + 'static,
{
    type Key = K;
    type Value = V;
    type Reply = ();
    fn into_agent(self, f: F) -> (Declaration, AgentFn) {
        (self,).into_agent(f)
    }
}

/// For the sake of the error message.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` runs one future per task: it has no concurrency of its own",
    label = "more events at a time need more partitions",
    note = "one future per task can't be run twice; give the topic more partitions"
)]
pub trait PerEvent {}

#[doc(hidden)]
impl<K, V, R> Agent<K, V, R> {
    pub fn concurrency(self, _: usize) -> Self
    where
        Self: PerEvent,
    {
        unreachable!("no type is PerEvent")
    }
}

pub(crate) fn leak(app: &'static AppNode, name: &str, declared: Declaration, function: AgentFn) -> &'static AgentNode {
    Box::leak(Box::new(AgentNode { name: app.own(name), declared, function }))
}

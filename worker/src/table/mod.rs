//! Tables: the declaration ([`Table`]) and the part of it that belongs to a task ([`LocalTable`]).

use std::any::Any;
use std::borrow::Borrow;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use crate::app::AppNode;
use crate::codec;
use crate::error::{QueryError, TableError};
use crate::model::{Key, Value};

pub(crate) mod budget;
mod index;
mod items;
mod local;
pub(crate) mod overlay;
mod rows;
mod slot_key;
#[cfg(test)]
mod tests;

pub use local::LocalTable;
use overlay::{AnyOverlay, Overlay, Place};

handle! {
    /// A table: rows of type `V` keyed by `K`, partitioned like the topics keyed by `P`.
    ///
    /// Kept in a store on the worker that owns the partition and in the changelog topic `<app-id>-<table>-changelog`. A declaration:
    /// its rows are inside the tasks, where an agent that has the table among its inputs gets a [`LocalTable`].
    Table<K, V, P = K> of TableNode
}

/// What the app remembers of a table.
pub(crate) struct TableNode {
    pub app: &'static AppNode,
    pub name: &'static str,
    pub index: usize,
    /// Of a row's bytes, over HTTP.
    pub content_type: &'static str,
    /// Makes an overlay of the table's types.
    pub overlay: fn(&'static TableNode, Place) -> Rc<dyn AnyOverlay>,
    /// `Box<dyn Fn() -> V>`: the value of a key that isn't there yet.
    default: OnceLock<Box<dyn Any + Send + Sync>>,
}

type DefaultOf<V> = Box<dyn Fn() -> V + Send + Sync>;

impl TableNode {
    pub fn new<K: Key, V: Value>(app: &'static AppNode, name: &'static str, index: usize) -> Self {
        let content_type = match &*V::type_name() {
            "String" => "text/plain; charset=utf-8",
            "Vec<u8>" => "application/octet-stream",
            _ => "application/json",
        };
        Self { app, name, index, content_type, overlay: |_, place| Rc::new(Overlay::<K, V>::new(place)), default: OnceLock::new() }
    }

    /// The topic that holds every change of the table.
    pub fn changelog(&self) -> String {
        format!("{}-{}-changelog", self.app.id, self.name)
    }
}

/// What can name a key of type `K`: `K` itself, or what it borrows as (`str` for `String`).
pub trait KeyRef<K>: Hash {
    #[doc(hidden)]
    fn is(&self, key: &K) -> bool;
    #[doc(hidden)]
    fn to_key(&self) -> K;
}

impl<Q: ?Sized + ToOwned + Hash + Eq> KeyRef<Q::Owned> for Q {
    fn is(&self, key: &Q::Owned) -> bool {
        key.borrow() == self
    }
    fn to_key(&self) -> Q::Owned {
        self.to_owned()
    }
}

impl<K: Key, V: Value, P> Table<K, V, P> {
    /// The value that [`LocalTable::update`] starts from for a key that isn't there yet; `V::default()` unless given.
    pub fn default(self, value: impl Fn() -> V + Send + Sync + 'static) -> Self {
        self.node.app.option("table", self.node.name, ".default(..)");
        let value: DefaultOf<V> = Box::new(value);
        if self.node.default.set(Box::new(value)).is_err() {
            panic!("table `{}`: `.default(..)` is given twice", self.node.name);
        }
        self
    }

    /// The table's name, as declared.
    pub fn name(&self) -> &'static str {
        self.node.name
    }

    /// Reads a row that this worker holds, from wherever the program is. A row of another worker is [`QueryError::NotHere`].
    pub fn query<Q: KeyRef<K> + ?Sized>(&self, key: &Q) -> Query<V> {
        let mut bytes = Vec::new();
        let answer = match codec::encode_row_key(&key.to_key(), &mut bytes) {
            Err(error) => Err(QueryError::Table(TableError::Encode { table: self.node.name, error })),
            Ok(_) => self.node.app.running().ok_or(QueryError::NotStarted { table: self.node.name }),
        };
        let node = self.node;
        let read = async move {
            let key = overlay::show(&bytes);
            let value = answer?.query(node, bytes).await?;
            let decoded = value.map(|bytes| codec::decode_value(Some(&bytes))).transpose();
            decoded.map_err(|error| QueryError::Table(TableError::Decode { table: node.name, key, error }))
        };
        Query(Box::pin(read))
    }
}

/// A read in preparation. Await it for the value.
#[must_use = "a query does nothing until it is awaited"]
pub struct Query<V>(Pin<Box<dyn Future<Output = Result<Option<V>, QueryError>> + Send>>);

impl<V> Future for Query<V> {
    type Output = Result<Option<V>, QueryError>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// No table outside a task has rows to read or write; these exist for the sake of the error message.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is the declaration of a table; its rows are in the tasks",
    label = "not inside a task",
    note = "make the table an input of the agent, `app.agent(name, (source, table), async |stream, table| ..)`; from elsewhere read \
            it with `table.query(&key).await`"
)]
pub trait InTask {}

#[doc(hidden)]
impl<K, V, P> Table<K, V, P> {
    pub fn get<Q: ?Sized>(&self, _: &Q) -> Result<Option<V>, TableError>
    where
        Self: InTask,
    {
        unreachable!("no type is InTask")
    }
    pub fn insert<Q: ?Sized, T>(&self, _: &Q, _: T) -> Result<(), TableError>
    where
        Self: InTask,
    {
        unreachable!("no type is InTask")
    }
    pub fn remove<Q: ?Sized>(&self, _: &Q) -> Result<(), TableError>
    where
        Self: InTask,
    {
        unreachable!("no type is InTask")
    }
    pub fn update<Q: ?Sized, T>(&self, _: &Q, _: impl FnOnce(&mut V) -> T) -> Result<T, TableError>
    where
        Self: InTask,
    {
        unreachable!("no type is InTask")
    }
}

//! The rows of one task.

use std::rc::Rc;

use super::overlay::Overlay;
use super::{DefaultOf, KeyRef, TableNode};
use crate::error::TableError;
use crate::model::{Key, Value};

/// The part of a table that belongs to a task; an agent gets it as an argument.
///
/// Every method is synchronous: between two `await`s of the agent nobody else touches its rows. A write is kept in memory until the
/// next commit, which writes it to the changelog and to the store. A key of another partition is [`TableError::WrongPartition`].
pub struct LocalTable<K, V> {
    node: &'static TableNode,
    overlay: Rc<Overlay<K, V>>,
}

impl<K, V> Clone for LocalTable<K, V> {
    fn clone(&self) -> Self {
        Self { node: self.node, overlay: self.overlay.clone() }
    }
}

impl<K: Key, V: Value> LocalTable<K, V> {
    pub(crate) fn new(node: &'static TableNode, overlay: Rc<Overlay<K, V>>) -> Self {
        Self { node, overlay }
    }

    /// A copy of the row.
    pub fn get<Q: KeyRef<K> + ?Sized>(&self, key: &Q) -> Result<Option<V>, TableError>
    where
        V: Clone,
    {
        self.with(key, |value| value.cloned())
    }

    /// Reads the row without a copy.
    pub fn with<Q: KeyRef<K> + ?Sized, T>(&self, key: &Q, f: impl FnOnce(Option<&V>) -> T) -> Result<T, TableError> {
        self.overlay.lend(key, false, |value| f(value.as_ref()))
    }

    /// Whether there is a row.
    pub fn contains<Q: KeyRef<K> + ?Sized>(&self, key: &Q) -> Result<bool, TableError> {
        self.with(key, |value| value.is_some())
    }

    /// Sets the row.
    pub fn insert<Q: KeyRef<K> + ?Sized>(&self, key: &Q, value: V) -> Result<(), TableError> {
        self.alter(key, |row| *row = Some(value))
    }

    /// Removes the row; the changelog gets a tombstone.
    pub fn remove<Q: KeyRef<K> + ?Sized>(&self, key: &Q) -> Result<(), TableError> {
        self.alter(key, |row| *row = None)
    }

    /// Changes the row in place, starting from the table's default if there is none, and returns what `f` returns.
    pub fn update<Q: KeyRef<K> + ?Sized, T>(&self, key: &Q, f: impl FnOnce(&mut V) -> T) -> Result<T, TableError>
    where
        V: Default,
    {
        let default = self.node.default.get().and_then(|default| default.downcast_ref::<DefaultOf<V>>());
        self.update_or(key, || default.map_or_else(V::default, |default| default()), f)
    }

    /// Like [`update`](Self::update), with a start value of its own.
    pub fn update_or<Q: KeyRef<K> + ?Sized, T>(
        &self,
        key: &Q,
        start: impl FnOnce() -> V,
        f: impl FnOnce(&mut V) -> T,
    ) -> Result<T, TableError> {
        self.alter(key, |row| f(row.get_or_insert_with(start)))
    }

    /// The whole truth: `None` in is "not there", `None` out is "remove".
    pub fn alter<Q: KeyRef<K> + ?Sized, T>(&self, key: &Q, f: impl FnOnce(&mut Option<V>) -> T) -> Result<T, TableError> {
        self.overlay.lend(key, true, f)
    }

    /// The rows of this task in the order of their encoded keys, as they are now: the loop may write the table and doesn't see what
    /// it wrote, as long as it doesn't ask for the next event meanwhile.
    pub fn items(&self) -> impl Iterator<Item = Result<(K, V), TableError>> + use<K, V> {
        super::items::Items::new(self.overlay.clone())
    }

    /// The keys of this task's rows; see [`items`](Self::items).
    pub fn keys(&self) -> impl Iterator<Item = Result<K, TableError>> + use<K, V> {
        self.items().map(|item| item.map(|(key, _)| key))
    }
}

//! Iteration over a task's rows: the store in pages, with what the overlay has newer laid over it.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::rc::Rc;

use super::overlay::Overlay;
use crate::error::TableError;
use crate::log::Row;
use crate::model::{Key, Value};

/// Rows of the store read at a time.
const PAGE: usize = 1_000;

type Encoded = (Vec<u8>, Vec<u8>);

pub(super) struct Items<K, V> {
    overlay: Rc<Overlay<K, V>>,
    newer: VecDeque<Row>,
    page: VecDeque<Encoded>,
    /// Where the next page of the store begins; none when it has been read to its end.
    next_page: Option<Vec<u8>>,
    failure: Option<TableError>,
}

impl<K: Key, V: Value> Items<K, V> {
    pub fn new(overlay: Rc<Overlay<K, V>>) -> Self {
        let (newer, failure) = match overlay.newer_than_store() {
            Ok(newer) => (newer.into(), None),
            Err(error) => (VecDeque::new(), Some(error)),
        };
        let next_page = failure.is_none().then(Vec::new);
        Self { overlay, newer, page: VecDeque::new(), next_page, failure }
    }

    /// The next row of overlay and store together, in key order; the overlay's version wins.
    fn next_encoded(&mut self) -> Result<Option<Encoded>, TableError> {
        loop {
            if self.page.is_empty() {
                self.read_page()?;
            }
            let order = match (self.newer.front(), self.page.front()) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(newer), Some((stored, _))) => newer.key.cmp(stored),
            };
            if order == Ordering::Greater {
                return Ok(self.page.pop_front());
            }
            if order == Ordering::Equal {
                self.page.pop_front();
            }
            if let Some(Row { key, value: Some(value) }) = self.newer.pop_front() {
                return Ok(Some((key, value)));
            }
        }
    }

    fn read_page(&mut self) -> Result<(), TableError> {
        let Some(from) = self.next_page.take() else { return Ok(()) };
        let place = self.overlay.place();
        let rows = place.store.scan(&from, PAGE);
        self.page = rows.map_err(|error| self.overlay.store_error(error))?.into();
        if self.page.len() == PAGE {
            let mut next = self.page.back().expect("a full page").0.clone();
            next.push(0);
            self.next_page = Some(next);
        }
        Ok(())
    }
}

impl<K: Key, V: Value> Iterator for Items<K, V> {
    type Item = Result<(K, V), TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failure.take() {
            return Some(Err(error));
        }
        match self.next_encoded() {
            Ok(row) => row.map(|(key, value)| self.overlay.decode(&key, &value)),
            Err(error) => {
                self.newer.clear();
                self.page.clear();
                Some(Err(error))
            }
        }
    }
}

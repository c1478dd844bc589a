//! Rows on their way into a store, wherever they lie.

use crate::log::Row;

/// Sorted by key, each key once.
pub(crate) trait Rows {
    /// Hands out every row.
    fn each(&self, take: &mut Take<'_>);
}

/// Gets a row's key, and its value or that it is a tombstone.
pub(crate) type Take<'a> = dyn FnMut(&[u8], Option<&[u8]>) + 'a;

/// None.
pub(crate) const NO_ROWS: [Row; 0] = [];

impl<R: AsRef<[Row]>> Rows for R {
    fn each(&self, take: &mut Take<'_>) {
        self.as_ref().iter().for_each(|row| take(&row.key, row.value.as_deref()));
    }
}

/// Whether they keep their promise.
pub(super) fn are_sorted(rows: &dyn Rows) -> bool {
    let (mut last, mut sorted) = (None::<Vec<u8>>, true);
    rows.each(&mut |key, _| {
        sorted &= last.as_deref().is_none_or(|last| last < key);
        last = Some(key.to_vec());
    });
    sorted
}

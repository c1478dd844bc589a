//! Under which leader's epoch the records of a partition were written.

/// Ascending: each epoch, and the offset of its first record.
#[derive(Clone, Debug)]
pub(super) struct Epochs(Vec<(i32, i64)>);

impl Default for Epochs {
    fn default() -> Self {
        Self(vec![(0, 0)])
    }
}

impl Epochs {
    pub fn last(&self) -> i32 {
        self.0.last().expect("there is always one").0
    }

    pub fn of(&self, offset: i64) -> i32 {
        self.0.iter().rfind(|(_, start)| *start <= offset).map_or(-1, |(epoch, _)| *epoch)
    }

    /// Where the largest epoch that is not larger than this one ends, in a log that ends at `end`; none for one that is yet to come.
    pub fn end_of(&self, epoch: i32, end: i64) -> Option<i64> {
        let next = self.0.iter().find(|(other, _)| *other > epoch).map(|(_, start)| *start);
        next.or((epoch == self.last()).then_some(end))
    }

    /// Another leader, whose log ends at `end`.
    #[cfg(test)]
    pub fn begin(&mut self, end: i64) {
        let epoch = self.last() + 1;
        self.0.retain(|(_, start)| *start < end);
        self.0.push((epoch, end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_where_the_next_one_begins_and_one_that_was_cut_off_before_where_it_was_read_to() {
        let mut epochs = Epochs::default();
        assert_eq!((epochs.end_of(0, 10), epochs.end_of(1, 10), epochs.of(7)), (Some(10), None, 0));
        epochs.begin(10);
        epochs.begin(15);
        assert_eq!((epochs.end_of(0, 20), epochs.end_of(1, 20), epochs.end_of(2, 20)), (Some(10), Some(15), Some(20)));
        epochs.begin(12);
        assert_eq!((epochs.last(), epochs.end_of(2, 20), epochs.end_of(1, 20), epochs.of(13)), (3, Some(12), Some(12), 3));
    }
}

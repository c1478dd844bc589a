//! How long a partition stood still: from a commit, or from the first record that it lacks, to the next commit that has more.

use super::commits::Commit;

/// A time in which records waited and nothing was committed, in milliseconds of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub from: i64,
    pub to: i64,
}

impl Gap {
    pub fn length(self) -> i64 {
        self.to - self.from
    }
}

/// The gaps of a partition, from its commits and from when each of its records was there, by offset.
pub fn gaps(commits: &[Commit], there: &[i64]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let Some(mut last) = commits.first().copied() else { return gaps };
    for &commit in commits {
        if commit.offset > last.offset {
            let from = there.get(last.offset as usize).map_or(last.at, |&there| there.max(last.at));
            gaps.push(Gap { from, to: commit.at.max(from) });
            last = commit;
        }
    }
    gaps
}

/// The longest gap, of any partition, that ended within a time.
pub fn longest(of_partitions: &[Vec<Gap>], from: i64, to: i64) -> i64 {
    let ended = of_partitions.iter().flatten().filter(|gap| (from..=to).contains(&gap.to));
    ended.map(|gap| gap.length()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(at: i64, offset: i64) -> Commit {
        Commit { at, offset }
    }

    #[test]
    fn a_gap_ends_with_a_commit_of_more_and_begins_when_there_was_more_to_commit() {
        let there = [0, 10, 20, 500, 510];
        let commits = [commit(5, 0), commit(30, 3), commit(100, 3), commit(600, 4), commit(900, 5)];
        let found = gaps(&commits, &there);
        // Nothing was there between 30 and 500: that is no gap.
        assert_eq!(found, [Gap { from: 5, to: 30 }, Gap { from: 500, to: 600 }, Gap { from: 600, to: 900 }]);
        assert_eq!(longest(&[found.clone(), vec![]], 40, 599), 0);
        assert_eq!(longest(&[found.clone(), vec![]], 40, 600), 100);
        assert_eq!(longest(&[found.clone(), vec![]], 600, 1_000), 300);
        assert_eq!(longest(&[found, vec![Gap { from: 0, to: 1_000 }]], 600, 1_000), 1_000);
        assert_eq!(gaps(&[], &there), []);
    }
}

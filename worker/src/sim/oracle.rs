//! What must be true of a cluster, whatever happens to it.
//!
//! It sees every record when it lands and every offset when it is committed, and checks there and then; the rest is checked at the end,
//! when all faults are mended and all inputs are processed.

use std::collections::{BTreeMap, BTreeSet};

use super::app::{CHANGELOG, Folded, INPUT, OUTPUT};
use super::net::End;
use crate::time::TopicPartition;

#[derive(Default)]
pub(super) struct Oracle {
    /// Key of each input, by partition and offset.
    inputs: BTreeMap<u32, Vec<String>>,
    /// The last value of each key as the changelog has it.
    rows: BTreeMap<u32, BTreeMap<String, BTreeSet<i64>>>,
    /// How often each input was folded, as the outputs show it.
    folded: BTreeMap<(u32, i64), u32>,
    committed: BTreeMap<u32, Committed>,
    runs: Vec<Run>,
    pub violations: Vec<String>,
}

/// The group's offset of an input, and who committed it.
#[derive(Clone, Copy)]
struct Committed {
    offset: i64,
    by: End,
}

/// One call of an agent: an epoch of a task.
struct Run {
    end: End,
    partition: u32,
    last: Option<i64>,
    /// What is wrong with where it began. A worker that wakes as a zombie may begin wrongly, and must send nothing then.
    wrong: Option<(&'static str, String)>,
}

impl Oracle {
    fn violated(&mut self, law: &str, what: String) {
        self.violations.push(format!("{law}: {what}"));
    }

    pub fn input(&mut self, at: &TopicPartition, offset: i64, key: &str) {
        let inputs = self.inputs.entry(at.partition).or_default();
        assert_eq!(inputs.len() as i64, offset, "inputs come in order");
        inputs.push(key.to_string());
    }

    /// An agent has its first event of a task's epoch.
    pub fn begins(&mut self, end: End, partition: u32, offset: i64) -> u64 {
        let committed = self.committed.get(&partition).copied();
        let start = committed.map_or(0, |committed| committed.offset);
        let what = || format!("{end:?} began {INPUT}[{partition}] at {offset}, committed was {start}");
        // A worker that starts over without having heard of its own last commit reads more than it must.
        let by_itself = committed.is_some_and(|committed| committed.by.process == end.process);
        let wrong = match offset {
            _ if offset > start => Some(("I1", what())),
            _ if offset < start && !by_itself => Some(("folded twice", what())),
            _ => None,
        };
        self.runs.push(Run { end, partition, last: None, wrong });
        self.runs.len() as u64 - 1
    }

    pub fn landed(&mut self, end: End, at: &TopicPartition, offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        match at.topic.as_str() {
            OUTPUT => self.output(end, at.partition, value.expect("outputs have values")),
            CHANGELOG => self.row(end, at.partition, offset, key.expect("rows have keys"), value),
            other => panic!("nobody writes to {other}"),
        }
    }

    fn output(&mut self, end: End, partition: u32, value: &[u8]) {
        let Folded { run, offset } = Folded::parse(value);
        let Some(of) = self.runs.get_mut(run as usize) else { return self.violated("outputs", format!("{run} never began")) };
        let last = of.last.replace(offset);
        let (by, of, wrong) = (of.end, of.partition, of.wrong.take());
        if let Some((law, what)) = wrong {
            self.violated(law, what);
        }
        if by.process != end.process || of != partition {
            self.violated("outputs", format!("{end:?} sends for {of} of {by:?} to {partition}"));
        }
        if last.is_some_and(|last| last >= offset) {
            self.violated("order", format!("run {run} of {INPUT}[{partition}] is at {offset} after {last:?}"));
        }
        *self.folded.entry((partition, offset)).or_default() += 1;
    }

    fn row(&mut self, end: End, partition: u32, at: i64, key: &[u8], value: Option<&[u8]>) {
        let key = String::from_utf8(key.to_vec()).expect("keys are texts");
        let offsets: BTreeSet<i64> = match value {
            Some(value) => serde_json::from_slice(value).expect("rows are sets of offsets"),
            None => BTreeSet::new(),
        };
        // What is committed is in the changelog for good, or a kill now would lose it.
        let committed = self.committed.get(&partition).map_or(0, |committed| committed.offset);
        let lost: Vec<i64> =
            self.of_key(partition, &key).filter(|offset| *offset < committed && !offsets.contains(offset)).collect();
        if !lost.is_empty() {
            let what =
                format!("{end:?} overwrites {key} at {CHANGELOG}[{partition}]@{at} without {lost:?}; committed is {committed}");
            self.violated("lost update", what);
        }
        if let Some(other) = offsets.iter().find(|offset| !self.of_key(partition, &key).any(|own| own == **offset)) {
            self.violated("rows", format!("{key} in {CHANGELOG}[{partition}] has {other}, which is another key's"));
        }
        self.rows.entry(partition).or_default().insert(key, offsets);
    }

    fn of_key<'a>(&'a self, partition: u32, key: &'a str) -> impl Iterator<Item = i64> + 'a {
        let inputs = self.inputs.get(&partition).map_or(&[][..], Vec::as_slice);
        (0..).zip(inputs).filter(move |(_, own)| *own == key).map(|(offset, _)| offset)
    }

    /// The group has taken an offset (invariant I1): everything before it is in the changelog, and its outputs are sent.
    pub fn committed(&mut self, end: End, at: &TopicPartition, offset: i64) {
        let partition = at.partition;
        let before = self.committed.get(&partition).copied();
        if let Some(before) = before
            && offset < before.offset
            && before.by.process != end.process
        {
            self.violated("I1", format!("{end:?} commits {at} at {offset}, {:?} had committed {}", before.by, before.offset));
        }
        for done in before.map_or(0, |before| before.offset.min(offset))..offset {
            let Some(key) = self.inputs.get(&partition).and_then(|inputs| inputs.get(done as usize)) else {
                return self.violated("I1", format!("{at} is committed at {offset}, and there is no {done}"));
            };
            let is_kept = self.rows.get(&partition).and_then(|rows| rows.get(key)).is_some_and(|offsets| offsets.contains(&done));
            if !is_kept {
                self.violated(
                    "I1",
                    format!("{at} is committed by {end:?} at {offset}, and {done} of key {key} isn't in the changelog"),
                );
            }
            if !self.folded.contains_key(&(partition, done)) {
                self.violated("I1", format!("{at} is committed by {end:?} at {offset}, and the output of {done} hasn't landed"));
            }
        }
        self.committed.insert(partition, Committed { offset, by: end });
    }

    /// What isn't done yet; empty when all is.
    pub fn undone(&self) -> String {
        let at = |partition| self.committed.get(partition).map_or(0, |committed| committed.offset);
        let undone = self.inputs.iter().filter(|(partition, inputs)| at(partition) < inputs.len() as i64);
        let undone: Vec<_> =
            undone.map(|(partition, inputs)| format!("{INPUT}[{partition}] at {} of {}", at(partition), inputs.len())).collect();
        undone.join(", ")
    }

    /// When all is done: each row has each input of its key, once and no other.
    pub fn closing(&mut self) {
        for (partition, inputs) in self.inputs.clone() {
            for key in inputs.iter().collect::<BTreeSet<_>>() {
                let wanted: BTreeSet<i64> = self.of_key(partition, key).collect();
                let found = self.rows.get(&partition).and_then(|rows| rows.get(key)).cloned().unwrap_or_default();
                if found != wanted {
                    let missing: Vec<_> = wanted.difference(&found).collect();
                    self.violated("final", format!("{key} in {CHANGELOG}[{partition}] lacks {missing:?}"));
                }
            }
        }
    }

    /// The rows as the changelog has them at its end, as bytes.
    pub fn rows(&self, partition: u32) -> BTreeMap<Vec<u8>, BTreeSet<i64>> {
        let rows = self.rows.get(&partition).into_iter().flatten();
        rows.map(|(key, offsets)| (key.clone().into_bytes(), offsets.clone())).collect()
    }

    /// Inputs that were folded more than once, counted as often.
    pub fn twice(&self) -> u64 {
        self.folded.values().map(|times| u64::from(times - 1)).sum()
    }

    pub fn count(&self) -> u64 {
        self.inputs.values().map(|inputs| inputs.len() as u64).sum()
    }
}

//! What must have come out, whatever happened: every record is in its key's row, in hardly any twice, and everybody tells the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;

use serde::Deserialize;

use super::commits::Commit;
use crate::offsets::Window;
use crate::records::Record;

/// A row of the app's table.
#[derive(Debug, Default, Deserialize, PartialEq)]
struct Folded {
    /// Of the key's records, in order.
    offsets: Vec<i64>,
    /// Of those that came again, once for each time.
    again: Vec<i64>,
}

/// What the app tells of each record.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
struct Told {
    life: u64,
    partition: i32,
    offset: i64,
    folded: usize,
    again: usize,
}

/// What was seen when all was committed.
pub struct Evidence<'a> {
    pub inputs: &'a [Record],
    pub outputs: &'a [Record],
    /// The rows as the live owners have them.
    pub table: &'a BTreeMap<String, String>,
    /// The rows as the changelog's last values have them.
    pub changelog: &'a BTreeMap<String, String>,
    pub commits: &'a [Vec<Commit>],
    /// What may be folded again once, of each fault.
    pub windows: &'a [Window],
}

/// What is wrong with rows: by key, partition and offset.
#[derive(Default)]
struct Wrong<'a> {
    unreadable: Vec<(&'a str, &'a String)>,
    lost: Vec<(&'a str, i32, i64)>,
    invented: Vec<(&'a str, i32, i64)>,
    again: Vec<(&'a str, i32, i64)>,
}

#[derive(Debug, Default, PartialEq)]
pub struct Verdict {
    /// What must not be, in sentences.
    pub violations: Vec<String>,
    /// How many records were folded again because of each fault, by the windows' order.
    pub again: Vec<u64>,
}

impl Evidence<'_> {
    pub fn judge(&self) -> Verdict {
        let mut verdict = Verdict { again: vec![0; self.windows.len()], ..Verdict::default() };
        let mut inputs: BTreeMap<&str, (i32, Vec<i64>)> = BTreeMap::new();
        for input in self.inputs {
            inputs.entry(key(input)).or_insert_with(|| (input.partition, Vec::new())).1.push(input.offset);
        }
        let mut wrong = Wrong::default();
        for (key, (partition, offsets)) in &inputs {
            let row = self.table.get(*key).map_or(Some(Folded::default()), |row| serde_json::from_str(row).ok());
            match row {
                Some(row) => self.judge_row((*key, *partition), offsets, &row, &mut verdict.again, &mut wrong),
                None => wrong.unreadable.push((*key, &self.table[*key])),
            }
        }
        verdict.violate("unreadable rows", wrong.unreadable);
        verdict.violate("lost records (key, partition, offset)", wrong.lost);
        verdict.violate("records folded that are none of the key's (key, partition, offset)", wrong.invented);
        verdict.violate("records folded again that no fault explains (key, partition, offset)", wrong.again);
        let invented = self.changelog.keys().filter(|key| !inputs.contains_key(key.as_str()));
        verdict.violate("rows of keys that nobody sent", invented);
        self.judge_changelog(&mut verdict);
        self.judge_outputs(&mut verdict);
        self.judge_commits(&mut verdict);
        verdict
    }

    fn judge_row<'a>(
        &self,
        (key, partition): (&'a str, i32),
        sent: &[i64],
        row: &Folded,
        again: &mut [u64],
        wrong: &mut Wrong<'a>,
    ) {
        let at = |offset: &i64| (key, partition, *offset);
        let (sent, folded) = (BTreeSet::from_iter(sent), BTreeSet::from_iter(&row.offsets));
        wrong.lost.extend(sent.difference(&folded).map(|offset| at(offset)));
        wrong.invented.extend(folded.difference(&sent).map(|offset| at(offset)));
        let mut times: BTreeMap<i64, usize> = BTreeMap::new();
        for offset in &row.again {
            let covers = |window: &Window| window.0.get(&partition).is_some_and(|range| range.contains(offset));
            let time = times.entry(*offset).or_default();
            let mut causes = self.windows.iter().enumerate().filter(|(_, window)| covers(window));
            match causes.nth(*time) {
                Some((cause, _)) => again[cause] += 1,
                None => wrong.again.push(at(offset)),
            }
            *time += 1;
        }
    }

    /// A zombie's write over its successor's would stay in the changelog.
    fn judge_changelog(&self, verdict: &mut Verdict) {
        let keys: BTreeSet<&String> = self.table.keys().chain(self.changelog.keys()).collect();
        let different = keys.into_iter().filter(|key| self.table.get(*key) != self.changelog.get(*key));
        let pairs: Vec<_> = different.map(|key| (key, self.table.get(key), self.changelog.get(key))).collect();
        verdict.violate("rows that differ between owner and changelog (key, owner, changelog)", pairs);
    }

    /// A producer that had to give up a record may have sent those behind it a second time, byte by byte: that is not the agent's doing.
    fn judge_outputs(&self, verdict: &mut Verdict) {
        let mut untold: BTreeSet<(i32, i64)> = self.inputs.iter().map(|input| (input.partition, input.offset)).collect();
        let (mut unreadable, mut back, mut shrunk) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen: HashMap<(u64, i64), Told> = HashMap::new();
        let mut last: HashMap<u64, i64> = HashMap::new();
        let mut sizes: HashMap<(u64, &str), usize> = HashMap::new();
        for output in self.outputs {
            let Some(told) = output.value.as_deref().and_then(|value| serde_json::from_slice::<Told>(value).ok()) else {
                unreadable.push(output);
                continue;
            };
            untold.remove(&(told.partition, told.offset));
            if seen.get(&(told.life, told.offset)) == Some(&told) {
                continue;
            }
            if last.insert(told.life, told.offset).is_some_and(|last| last >= told.offset) {
                back.push((key(output), told));
            }
            if sizes.insert((told.life, key(output)), told.folded).is_some_and(|size| size > told.folded) {
                shrunk.push((key(output), told));
            }
            seen.insert((told.life, told.offset), told);
        }
        verdict.violate("unreadable outputs", unreadable);
        verdict.violate("offsets that go back within an epoch", back);
        verdict.violate("rows that shrink within an epoch", shrunk);
        verdict.violate("records without an output (partition, offset)", untold);
    }

    fn judge_commits(&self, verdict: &mut Verdict) {
        for (partition, commits) in self.commits.iter().enumerate() {
            let back = commits.windows(2).filter(|pair| pair[1].offset < pair[0].offset).map(|pair| (partition, pair));
            verdict.violate("commits that go back (partition, from and to)", back);
        }
    }
}

impl Verdict {
    /// Nothing, where there is nothing of the kind.
    fn violate<T: Debug>(&mut self, what: &str, which: impl IntoIterator<Item = T>) {
        let which: Vec<String> = which.into_iter().map(|one| format!("{one:?}")).collect();
        if !which.is_empty() {
            self.violations.push(format!("{} {what}: {}", which.len(), which[..which.len().min(5)].join(", ")));
        }
    }
}

fn key(record: &Record) -> &str {
    std::str::from_utf8(record.key.as_deref().expect("sent with a key")).expect("sent as text")
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rows = BTreeMap<String, String>;

    fn record(key: &str, offset: i64, value: String) -> Record {
        Record { partition: 0, offset, timestamp: 0, key: Some(key.into()), value: Some(value.into_bytes()) }
    }

    /// Two keys by turns, ten records, nothing amiss, and what a mishap makes of it.
    fn judged(mishap: impl FnOnce(&mut Vec<Record>, &mut Rows, &mut Rows)) -> Verdict {
        let key = |offset: i64| if offset % 2 == 0 { "a" } else { "b" };
        let inputs: Vec<Record> = (0..10).map(|offset| record(key(offset), offset, String::new())).collect();
        let told = |offset| format!(r#"{{"life":7,"partition":0,"offset":{offset},"folded":{},"again":0}}"#, offset / 2 + 1);
        let mut outputs: Vec<Record> = (0..10).map(|offset| record(key(offset), offset, told(offset))).collect();
        let row = |of: &str| format!(r#"{{"offsets":[{of}],"again":[]}}"#);
        let mut table = BTreeMap::from([("a".to_string(), row("0,2,4,6,8")), ("b".to_string(), row("1,3,5,7,9"))]);
        let mut changelog = table.clone();
        mishap(&mut outputs, &mut table, &mut changelog);
        let windows = [Window([(0, 2..4)].into()), Window([(0, 3..5)].into()), Window([(1, 0..9)].into())];
        let commits = [vec![Commit { at: 0, offset: 0 }, Commit { at: 1, offset: 10 }]];
        let (table, changelog) = (&table, &changelog);
        Evidence { inputs: &inputs, outputs: &outputs, table, changelog, commits: &commits, windows: &windows }.judge()
    }

    fn rows(table: &mut Rows, changelog: &mut Rows, key: &str, row: &str) {
        for rows in [table, changelog] {
            rows.insert(key.into(), row.into());
        }
    }

    #[test]
    fn what_may_be_is_no_violation_and_is_counted_where_it_belongs() {
        assert_eq!(judged(|_, _, _| ()), Verdict { violations: vec![], again: vec![0, 0, 0] });
        let sent_twice = judged(|outputs, _, _| outputs.push(outputs[8].clone()));
        assert_eq!(sent_twice.violations, [""; 0]);
        let twice = judged(|_, table, changelog| rows(table, changelog, "b", r#"{"offsets":[1,3,5,7,9],"again":[3,3]}"#));
        assert_eq!(twice, Verdict { violations: vec![], again: vec![1, 1, 0] });
    }

    #[test]
    fn what_must_not_be_is_told() {
        let told = |mishap: fn(&mut Vec<Record>, &mut Rows, &mut Rows), words: &str| {
            let violations = judged(mishap).violations;
            assert!(violations.len() == 1 && violations[0].contains(words), "{words}: {violations:?}");
        };
        told(|_, table, log| rows(table, log, "a", r#"{"offsets":[0,2,4,8],"again":[]}"#), r#"1 lost records (key, partition"#);
        told(|_, table, log| rows(table, log, "a", r#"{"offsets":[0,2,3,4,6,8],"again":[]}"#), "none of the key's");
        told(|_, table, log| rows(table, log, "b", r#"{"offsets":[1,3,5,7,9],"again":[3,3,3]}"#), r#"no fault explains"#);
        told(|_, table, log| rows(table, log, "b", r#"{"offsets":[1,3,5,7,9],"again":[7]}"#), r#"("b", 0, 7)"#);
        told(|_, table, log| rows(table, log, "a", "[]"), "unreadable rows");
        told(|_, table, log| rows(table, log, "c", "{}"), "nobody sent");
        told(|_, _, changelog| drop(changelog.remove("a")), "owner and changelog");
        told(|_, _, changelog| drop(changelog.insert("a".into(), r#"{"offsets":[0],"again":[]}"#.into())), "owner and changelog");
        told(|outputs, _, _| drop(outputs.remove(4)), "1 records without an output (partition, offset): (0, 4)");
        told(
            |outputs, _, _| outputs.push(record("a", 10, r#"{"life":7,"partition":0,"offset":8,"folded":5,"again":1}"#.into())),
            "go back within an epoch",
        );
        told(|outputs, _, _| outputs.push(record("a", 10, "?".into())), "unreadable outputs");
    }

    #[test]
    fn a_commit_that_goes_back_is_told() {
        let commits = [vec![Commit { at: 0, offset: 5 }, Commit { at: 1, offset: 4 }]];
        let empty = BTreeMap::new();
        let evidence = Evidence { inputs: &[], outputs: &[], table: &empty, changelog: &empty, commits: &commits, windows: &[] };
        assert!(evidence.judge().violations[0].contains("commits that go back"));
    }
}

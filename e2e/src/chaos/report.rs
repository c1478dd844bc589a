//! What came out, as tables.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::SESSION;
use super::plan::{Round, Setting};

/// One fault and how it was borne.
#[derive(Clone, Debug)]
pub struct Measured {
    pub what: &'static str,
    pub setting: Setting,
    /// The longest time without a commit on any partition, in milliseconds.
    pub gap: i64,
    /// Records that workers read from the changelog, and how many a second at the most.
    pub restored: u64,
    pub restore_rate: u64,
    /// Records folded again because of it, and how many that may be.
    pub again: u64,
    pub bound: u64,
}

/// A round that is over.
#[derive(Debug)]
pub struct Played {
    pub round: Round,
    pub records: usize,
    pub measured: Vec<Measured>,
    pub violations: Vec<String>,
}

/// All rounds of a run.
#[derive(Debug, Default)]
pub struct Report {
    played: Vec<Played>,
}

impl Report {
    pub fn add(&mut self, played: Played) {
        self.played.push(played);
    }

    /// With the round that each belongs to.
    pub fn violations(&self) -> Vec<String> {
        let of = |played: &Played| {
            let round = played.round.to_string();
            played.violations.iter().map(move |violation| format!("{round}\n    {violation}")).collect::<Vec<_>>()
        };
        self.played.iter().flat_map(of).collect()
    }

    fn measured(&self) -> impl Iterator<Item = &Measured> {
        self.played.iter().flat_map(|played| &played.measured)
    }

    /// p50 and maximum of the gaps of what happened under commits every 100 ms with a standby.
    fn with_standby(&self, what: &str) -> Option<(i64, i64)> {
        let short = |setting: &Setting| setting.standbys > 0 && setting.commit_interval < Duration::from_secs(1);
        let of = self.measured().filter(|measured| measured.what == what && short(&measured.setting));
        middle_and_max(of.map(|measured| measured.gap).collect())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records: usize = self.played.iter().map(|played| played.records).sum();
        let faults = self.measured().count();
        let violations = self.violations();
        writeln!(f, "{} rounds, {faults} faults, {records} records, {} violations\n", self.played.len(), violations.len())?;
        let mut intervals: Vec<Duration> = self.measured().map(|measured| measured.setting.commit_interval).collect();
        intervals.sort();
        intervals.dedup();
        for interval in intervals {
            writeln!(f, "Commit every {interval:?}. A gap is the longest time without a commit on any partition.\n")?;
            writeln!(
                f,
                "| fault | members | standbys | n | gap p50 | gap max | replayed p50 | max | per second | folded again | at most |"
            )?;
            writeln!(f, "|---|---|---|---|---|---|---|---|---|---|---|")?;
            let mut rows: BTreeMap<_, Vec<&Measured>> = BTreeMap::new();
            for measured in self.measured().filter(|measured| measured.setting.commit_interval == interval) {
                rows.entry((measured.what, measured.setting.members, measured.setting.standbys)).or_default().push(measured);
            }
            for ((what, members, standbys), row) in rows {
                let (gap, longest) = middle_and_max(row.iter().map(|row| row.gap).collect()).expect("a row has some");
                let (replayed, most) = middle_and_max(row.iter().map(|row| row.restored).collect()).expect("a row has some");
                // One that is over within some milliseconds isn't seen.
                let rate = row.iter().map(|row| row.restore_rate).max().filter(|rate| *rate > 0);
                let rate = rate.map_or("–".to_string(), |rate| rate.to_string());
                let (again, bound) = row.iter().fold((0, 0), |(again, bound), row| (again + row.again, bound + row.bound));
                writeln!(
                    f,
                    "| {what} | {members} | {standbys} | {} | {:.2} s | {:.2} s | {replayed} | {most} | {rate} | {again} | {bound} |",
                    row.len(),
                    seconds(gap),
                    seconds(longest)
                )?;
            }
            writeln!(f)?;
        }
        let session = SESSION.as_millis() as i64;
        for (what, goal) in [("planned restart", 1_000), ("kill -9, others take over", session + 1_000)] {
            if let Some((middle, max)) = self.with_standby(what) {
                let (middle, max, goal) = (seconds(middle), seconds(max), seconds(goal));
                writeln!(
                    f,
                    "With a standby, commit every 100 ms, {what}: p50 {middle:.2} s, max {max:.2} s; the goal is {goal:.0} s."
                )?;
            }
        }
        for violation in violations {
            writeln!(f, "VIOLATION in {violation}")?;
        }
        Ok(())
    }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1e3
}

fn middle_and_max<T: Ord + Copy>(mut values: Vec<T>) -> Option<(T, T)> {
    values.sort_unstable();
    Some((*values.get(values.len() / 2)?, *values.last()?))
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Fault, Members};
    use super::*;

    #[test]
    fn a_report_has_each_fault_the_goals_and_what_went_wrong_with_its_round() {
        let setting = Setting { commit_interval: Duration::from_millis(100), standbys: 1, members: Members::Static };
        let measured =
            |gap| Measured { what: "planned restart", setting, gap, restored: 7, restore_rate: 900, again: 1, bound: 20 };
        let mut report = Report::default();
        report.add(Played {
            round: Round::of(255, setting, &[Fault::Roll]),
            records: 1_000,
            measured: [400, 700, 1_200].map(measured).into(),
            violations: vec!["3 lost records".into()],
        });
        let text = report.to_string();
        for line in [
            "1 rounds, 3 faults, 1000 records, 1 violations",
            "| planned restart | static | 1 | 3 | 0.70 s | 1.20 s | 7 | 7 | 900 | 3 | 60 |",
            "planned restart: p50 0.70 s, max 1.20 s; the goal is 1 s.",
            "VIOLATION in round 1, commit every 100ms, 1 standbys, static members: [Roll]",
            "    3 lost records",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }
}

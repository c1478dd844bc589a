//! Numbers that move all the time, in steps that move seldom: a status that followed them would be written all the time.

use std::time::Duration;

use faust_crds::Restore;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::model::WorkerRestore;

/// So long a lag stays in another band before that is shown.
const STAYS: SignedDuration = SignedDuration::from_secs(30);
/// So long what is shown of a restore stays.
const RESTORE_EVERY: SignedDuration = SignedDuration::from_secs(10);

/// What is remembered of one application between two rounds. Losing it costs a delay, nothing else.
#[derive(Clone, Debug, Default)]
pub struct Bands {
    /// A band that the lag moved to, and when.
    coming: Option<(String, Timestamp)>,
    restore_shown: Option<Timestamp>,
}

impl Bands {
    /// The band to show for a lag, when `shown` is what is shown now.
    pub fn lag(&mut self, lag: Option<u64>, shown: &str, now: Timestamp) -> String {
        let band = lag.map_or_else(|| "unknown".into(), band);
        if band == shown || shown.is_empty() || (shown == "unknown" && lag.is_some()) {
            self.coming = None;
            return band;
        }
        match &self.coming {
            Some((coming, since)) if *coming == band => {
                if now.duration_since(*since) >= STAYS {
                    self.coming = None;
                    return band;
                }
            }
            _ => self.coming = Some((band, now)),
        }
        shown.to_owned()
    }

    /// What to show of the tables that are being restored; None when none is.
    pub fn restore<'a>(
        &mut self,
        restoring: impl Iterator<Item = &'a WorkerRestore>,
        shown: Option<&Restore>,
        now: Timestamp,
    ) -> Option<Restore> {
        let restoring: Vec<_> = restoring.collect();
        let percent = percent(restoring.iter().copied())?;
        if let (Some(shown), Some(at)) = (shown, self.restore_shown)
            && now.duration_since(at) < RESTORE_EVERY
        {
            return Some(shown.clone());
        }
        let eta = restoring.iter().filter_map(|restore| restore.eta_seconds).max();
        let new = Restore {
            partitions: restoring.iter().map(|restore| restore.partitions as i32).sum(),
            percent,
            done_at: eta.map(|eta| done_at(eta, shown.and_then(|shown| shown.done_at.as_ref()), now)),
        };
        if Some(&new) != shown {
            self.restore_shown = Some(now);
        }
        Some(new)
    }
}

/// The part that is restored, in steps of 5; None when nothing is being restored.
pub fn percent<'a>(restoring: impl Iterator<Item = &'a WorkerRestore>) -> Option<i32> {
    let sum = |(all, left): (u64, u64), restore: &WorkerRestore| {
        (all.saturating_add(restore.records), left.saturating_add(restore.remaining.min(restore.records)))
    };
    let mut restoring = restoring.peekable();
    restoring.peek()?;
    let (all, left) = restoring.fold((0, 0), sum);
    let done = if all == 0 { 0 } else { u128::from(all - left) * 100 / u128::from(all) };
    Some(done as i32 / 5 * 5)
}

/// The time shown stays until the estimate moves by more than a fifth of what remains.
fn done_at(eta: u64, shown: Option<&Time>, now: Timestamp) -> Time {
    let left = Duration::from_secs(eta.min(10 * 365 * 24 * 3600));
    let new = now.checked_add(left).unwrap_or(now);
    match shown {
        Some(shown) if shown.0.duration_since(new).unsigned_abs() <= left / 5 => shown.clone(),
        _ => Time(new),
    }
}

fn band(lag: u64) -> String {
    let edges =
        [(1_000, "<1k"), (10_000, "<10k"), (100_000, "<100k"), (1_000_000, "<1M"), (10_000_000, "<10M"), (100_000_000, "<100M")];
    match edges.iter().find(|(edge, _)| lag < *edge) {
        _ if lag == 0 => "0".into(),
        Some((_, text)) => (*text).into(),
        None => "100M or more".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(1_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn a_lag_that_comes_and_goes_is_not_shown_and_one_that_stays_is() {
        let mut bands = Bands::default();
        let mut shown = String::new();
        for second in 0..300 {
            shown = bands.lag(Some(if second % 7 == 3 { 400 } else { 0 }), &shown, at(second));
            assert_eq!(shown, "0");
        }
        let seen: Vec<_> = (300..335).map(|second| bands.lag(Some(1_500), "0", at(second))).collect();
        assert_eq!(seen.iter().position(|band| band == "<10k"), Some(30));
    }

    #[test]
    fn a_steady_restore_is_written_once_in_ten_seconds_and_its_end_seldom() {
        let mut bands = Bands::default();
        let (mut shown, mut writes, mut ends) = (None, 0, 0);
        for second in 0..100 {
            let left = 100 - second as u64;
            let wobble = [0, 3, 1, 4][second % 4];
            let told = WorkerRestore { partitions: 2, records: 1_000, remaining: left * 10, eta_seconds: Some(left + wobble) };
            let new = bands.restore([&told].into_iter(), shown.as_ref(), at(second as i64));
            writes += i32::from(new != shown);
            ends += i32::from(new.as_ref().map(|new| &new.done_at) != shown.as_ref().map(|shown| &shown.done_at));
            assert!(new.as_ref().is_some_and(|new| new.percent % 5 == 0));
            shown = new;
        }
        assert!(writes <= 10 && ends <= 2, "{writes} writes, {ends} ends");
        assert_eq!(bands.restore([].into_iter(), shown.as_ref(), at(101)), None);
    }
}

//! Counts what became of a batch of records: how many are still out, the first failure, the last offset.

use std::future::poll_fn;
use std::sync::Mutex;
use std::task::{Poll, Waker};

/// The delivery reports of one flush, or of what a task sent since the last one. Told on the log's threads, awaited on a shard.
#[derive(Default)]
pub(crate) struct Deliveries(Mutex<State>);

#[derive(Default)]
struct State {
    outstanding: u64,
    last_offset: Option<i64>,
    failure: Option<String>,
    /// A commit waits, and whoever gives the task up.
    wakers: Vec<Waker>,
}

impl Deliveries {
    /// `n` records are about to be queued. Only the log says so, and before it queues them, or a report could come first.
    pub(crate) fn expect(&self, n: u64) {
        self.0.lock().unwrap().outstanding += n;
    }

    /// What became of `n` of the expected records: the highest offset at which one landed, or why one did not. Neither, if they
    /// were not queued after all.
    pub(crate) fn report(&self, n: u64, last_offset: Option<i64>, failure: Option<String>) {
        let mut state = self.0.lock().unwrap();
        state.outstanding -= n;
        state.last_offset = state.last_offset.max(last_offset);
        if state.failure.is_none() {
            state.failure = failure;
        }
        let wakers = if state.outstanding == 0 { std::mem::take(&mut state.wakers) } else { Vec::new() };
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits until nothing is out: the highest offset reached, if any record was sent, or the first failure.
    pub async fn settled(&self) -> Result<Option<i64>, String> {
        poll_fn(|cx| {
            let mut state = self.0.lock().unwrap();
            if state.outstanding > 0 {
                if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    state.wakers.push(cx.waker().clone());
                }
                return Poll::Pending;
            }
            Poll::Ready(match &state.failure {
                Some(why) => Err(why.clone()),
                None => Ok(state.last_offset),
            })
        })
        .await
    }

    /// Records queued and not yet reported.
    pub fn outstanding(&self) -> u64 {
        self.0.lock().unwrap().outstanding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flush_is_settled_when_every_record_is_reported_and_fails_with_the_first_failure() {
        let deliveries = Deliveries::default();
        assert_eq!(deliveries.settled().await, Ok(None));
        deliveries.expect(4);
        deliveries.report(2, Some(7), None);
        deliveries.report(1, Some(6), None);
        deliveries.report(1, None, None);
        assert_eq!(deliveries.settled().await, Ok(Some(7)));
        deliveries.expect(2);
        deliveries.report(1, None, Some("timed out".to_string()));
        deliveries.report(1, None, Some("second".to_string()));
        assert_eq!(deliveries.settled().await, Err("timed out".to_string()));
    }
}

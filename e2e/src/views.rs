//! Page views: made up always in the same way, and produced as fast as they go or at a steady pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use faust_testbed::Broker;

use crate::pace::Pace;
use crate::random::Random;
use crate::records::Producer;

/// Views without end. A few pages get most of them: the n-th is viewed 1/n as often as the first.
pub struct Views {
    pages: Vec<String>,
    /// Up to each page, how much of all views.
    shares: Vec<f64>,
    random: Random,
}

impl Views {
    pub fn of_pages(count: usize) -> Self {
        let mut sum = 0.0;
        let shares = (1..=count).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self { shares: shares.collect(), pages: (1..=count).map(page).collect(), random: Random::seeded(0) }
    }

    /// A page and the record's value.
    pub fn view(&mut self) -> (&str, String) {
        let user = format!(r#"{{"user":"user-{}"}}"#, self.random.next() % 1_000);
        let at = self.random.next() as f64 / u64::MAX as f64 * self.shares[self.shares.len() - 1];
        let rank = self.shares.partition_point(|share| *share < at).min(self.pages.len() - 1);
        (&self.pages[rank], user)
    }

    /// Produces so many, as fast as it goes.
    pub fn produce(&mut self, broker: &Broker, topic: &str, count: usize) {
        self.produce_to((Producer::to(broker), topic.to_string()), count);
    }

    /// The same into any sink.
    pub fn produce_to(&mut self, mut sink: impl Sink, count: usize) {
        for _ in 0..count {
            let (page, view) = self.view();
            sink.send(page, &view);
        }
        sink.finish();
    }

    /// Produces at a steady pace until told to finish.
    pub fn flow(self, broker: &Broker, topic: &str, per_second: u32) -> Flow {
        self.flow_to((Producer::to(broker), topic.to_string()), per_second)
    }

    /// The same into any sink.
    pub fn flow_to(mut self, mut sink: impl Sink + Send + 'static, per_second: u32) -> Flow {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let mut pace = Pace::new(per_second);
        #[expect(clippy::disallowed_methods, reason = "the outside world has threads of its own")]
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let (page, view) = self.view();
                sink.send(page, &view);
                pace.keep(|| sink.pause());
            }
            sink.finish();
            self
        });
        Flow { stop, thread: Some(thread) }
    }
}

/// Where views go.
pub trait Sink {
    fn send(&mut self, page: &str, view: &str);
    /// Nothing more comes for some milliseconds.
    fn pause(&mut self) {}
    /// Waits until everything is delivered.
    fn finish(&mut self);
}

/// A producer and the topic.
impl Sink for (Producer, String) {
    fn send(&mut self, page: &str, view: &str) {
        self.0.send(&self.1, page, view);
    }

    fn finish(&mut self) {
        self.0.flush();
    }
}

/// Views that are being produced.
pub struct Flow {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Views>>,
}

impl Flow {
    /// Stops, and waits until all are delivered.
    pub fn finish(mut self) -> Views {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("finished once").join().expect("the producer's thread")
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The page of a rank, with what keys can be among them: empty, long, not in ASCII.
fn page(rank: usize) -> String {
    match rank {
        10 => String::new(),
        200 => format!("/long/{}", "x".repeat(10_000)),
        _ if rank.is_multiple_of(7) => format!("/größe/ページ/{rank}"),
        _ => format!("/page/{rank}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn views_are_the_same_every_time_and_the_first_page_gets_most() {
        let count = || {
            let (mut views, mut counts) = (Views::of_pages(1_000), BTreeMap::<String, u64>::new());
            for _ in 0..20_000 {
                *counts.entry(views.view().0.to_string()).or_default() += 1;
            }
            counts
        };
        let counts = count();
        assert_eq!(counts, count());
        assert_eq!(counts.values().max(), Some(&counts["/page/1"]));
        assert!(counts.contains_key("") && counts.keys().any(|page| page.len() > 10_000) && counts.len() > 900);
    }
}

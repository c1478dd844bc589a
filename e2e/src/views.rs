//! Page views: made up always in the same way, and produced as fast as they go or at a steady pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use faust_testbed::Broker;

use crate::records::Producer;

/// Views without end. A few pages get most of them: the n-th is viewed 1/n as often as the first.
pub struct Views {
    pages: Vec<String>,
    /// Up to each page, how much of all views.
    shares: Vec<f64>,
    random: u64,
}

impl Views {
    pub fn of_pages(count: usize) -> Self {
        let mut sum = 0.0;
        let shares = (1..=count).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self { shares: shares.collect(), pages: (1..=count).map(page).collect(), random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// A page and the record's value.
    pub fn view(&mut self) -> (&str, String) {
        let user = format!(r#"{{"user":"user-{}"}}"#, self.random() % 1_000);
        let at = self.random() as f64 / u64::MAX as f64 * self.shares[self.shares.len() - 1];
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

    /// xorshift64*.
    fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
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

/// So many a second, and not all of them at its beginning.
struct Pace {
    begun: Instant,
    per_second: u32,
    done: u32,
}

#[expect(clippy::disallowed_methods, reason = "a pace is about real time")]
impl Pace {
    fn new(per_second: u32) -> Self {
        Self { begun: Instant::now(), per_second, done: 0 }
    }

    fn keep(&mut self, pausing: impl FnOnce()) {
        self.done += 1;
        let due = Duration::from_secs(1) * self.done / self.per_second;
        let early = due.saturating_sub(self.begun.elapsed());
        if early > Duration::from_millis(5) {
            pausing();
            std::thread::sleep(early);
        }
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

//! Records without end for every partition, at a steady pace.
#![allow(clippy::disallowed_methods, reason = "the outside world has threads of its own")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use faust_testbed::Broker;

use crate::pace::Pace;
use crate::random::Random;
use crate::records::Producer;

/// So few that every key is folded again and again, so many that a commit doesn't write all.
const KEYS: usize = 3_000;
/// Each partition gets some every few milliseconds, so that a gap is a gap of the workers.
pub const PER_SECOND: u32 = 1_000;

/// Records that are being produced.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    pub fn start(broker: &Broker, topic: &str, seed: u64) -> Load {
        let (producer, topic) = (Producer::to(broker), topic.to_string());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut random, mut pace) = (Random::seeded(seed), Pace::new(PER_SECOND));
            let mut id = 0;
            while !stopped.load(Ordering::Relaxed) {
                id += 1;
                producer.send(&topic, &format!("key-{}", random.below(KEYS)), &format!(r#"{{"id":{id}}}"#));
                pace.keep(|| ());
            }
            producer.flush();
        });
        Load { stop, thread: Some(thread) }
    }

    /// Stops, and waits until all are delivered.
    pub fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("finished once").join().expect("the producer's thread");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

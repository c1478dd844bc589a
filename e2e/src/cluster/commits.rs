//! How long a partition goes without a commit while records flow: the time that nobody looked after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use faust_testbed::Cluster;

use crate::offsets::Offsets;
use crate::page_views::{GROUP, VIEWS};

/// The committed offsets of the example's group, looked at again and again.
pub struct Commits {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Duration>>>,
}

const EVERY: Duration = Duration::from_millis(200);

impl Commits {
    /// From now on; records have to come to all partitions all the time.
    pub fn watch(cluster: &Cluster, partitions: i32) -> Self {
        let bootstrap = cluster.kafka().bootstrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        #[expect(clippy::disallowed_methods, reason = "it looks while the test acts; there is no runtime")]
        let thread = std::thread::spawn(move || gaps(&Offsets::at(&bootstrap, GROUP, VIEWS, partitions), &stopped));
        Self { stop, thread: Some(thread) }
    }

    /// The longest time without a commit, of each partition.
    pub fn longest_gaps(mut self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("asked once").join().expect("the thread that looks at commits")
    }
}

impl Drop for Commits {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "a gap is about real time")]
fn gaps(offsets: &Offsets, stop: &AtomicBool) -> Vec<Duration> {
    let mut last = offsets.committed();
    let mut since = vec![Instant::now(); last.len()];
    let mut longest = vec![Duration::ZERO; last.len()];
    loop {
        let ends = stop.load(Ordering::Relaxed);
        let committed = offsets.committed();
        let now = Instant::now();
        for partition in 0..committed.len() {
            longest[partition] = longest[partition].max(now - since[partition]);
            if committed[partition] != last[partition] {
                since[partition] = now;
            }
        }
        last = committed;
        if ends {
            return longest;
        }
        std::thread::sleep(EVERY);
    }
}

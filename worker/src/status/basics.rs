//! What the meters are made of: numbers, and sentences.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::rt::{self, Instant};

/// A number that only rises. One thread adds at a time, so that adding is a load and a store and no locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.store(self.get() + n, Ordering::Relaxed);
    }
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that is set. −1 where it isn't known.
#[derive(Debug)]
pub(crate) struct Gauge(AtomicI64);

impl Default for Gauge {
    fn default() -> Self {
        Self(AtomicI64::new(-1))
    }
}

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What something waits for, in one sentence: logged when it changes, and again every 30 s while it lasts or keeps coming back.
#[derive(Default)]
pub(super) struct Notice(pub(super) Mutex<Said>);

#[derive(Default)]
pub(super) struct Said {
    now: Option<String>,
    pub(super) since: Option<Instant>,
    logged: Option<(String, Instant)>,
}

impl Notice {
    const REMIND: Duration = Duration::from_secs(30);

    pub(super) fn say(&self, who: &dyn std::fmt::Display, sentence: String) {
        let mut said = self.0.lock().unwrap();
        let news = said.logged.as_ref().is_none_or(|(last, when)| *last != sentence || when.elapsed() >= Self::REMIND);
        if news {
            tracing::warn!("{who}: {sentence}");
            said.logged = Some((sentence.clone(), rt::now()));
        }
        said.since.get_or_insert_with(rt::now);
        said.now = Some(sentence);
    }

    /// Without a word in the log.
    pub(super) fn put(&self, sentence: String) {
        self.0.lock().unwrap().now = Some(sentence);
    }

    /// Says again what still lasts.
    pub(super) fn remind(&self, who: &dyn std::fmt::Display) {
        if let Some(sentence) = self.get() {
            self.say(who, sentence);
        }
    }

    pub(super) fn clear(&self) {
        let mut said = self.0.lock().unwrap();
        (said.now, said.since) = (None, None);
    }

    /// What has been said without a break for at least so long.
    pub(super) fn lasting(&self, patience: Duration) -> Option<String> {
        let said = self.0.lock().unwrap();
        said.now.clone().filter(|_| said.since.is_some_and(|since| since.elapsed() >= patience))
    }

    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().unwrap().now.clone()
    }
}

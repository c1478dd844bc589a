//! A seed's cluster, and what is to happen to it and when.

use std::fmt;

use crate::rt::sim::Rng;

/// How a cluster is made.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub workers: usize,
    pub partitions: u32,
    pub standbys: u32,
    /// Whether the workers are static members.
    pub statics: bool,
    /// Whether agents leave rows alone that have the input already.
    pub careful: bool,
    pub keys: u64,
    pub inputs: u64,
    /// Milliseconds, all of them.
    pub span: u64,
    pub latency: u64,
    pub session: u64,
    pub message_timeout: u64,
    pub rebalance: u64,
    pub commit: u64,
    pub revoke: u64,
    pub flush_records: u64,
    pub flush_interval: u64,
    pub cache_bytes: u64,
}

impl Config {
    pub fn of(seed: u64) -> Self {
        let rng = &mut Rng::new(seed ^ 0xc0f1);
        let session = rng.between(3_000, 6_000) / 3 * 3;
        Self {
            workers: rng.between(1, 4) as usize,
            partitions: rng.between(1, 5) as u32,
            standbys: *rng.pick(&[0, 1, 2]),
            statics: rng.chance(600),
            careful: rng.chance(500),
            keys: rng.between(1, 12),
            inputs: rng.between(20, 160),
            span: rng.between(5_000, 40_000),
            // The slowest makes everything happen while something else is on its way.
            latency: *rng.pick(&[1, 3, 20, 200]),
            session,
            message_timeout: session / 3,
            rebalance: rng.between(6_000, 10_000),
            commit: *rng.pick(&[20, 100, 500, 1_000]),
            revoke: *rng.pick(&[100, 1_000, 5_000]),
            flush_records: *rng.pick(&[1, 10, 100_000]),
            flush_interval: *rng.pick(&[1_000, 30_000]),
            // In the smallest one there is room for a row or two.
            cache_bytes: *rng.pick(&[1 << 10, 1 << 26]),
        }
    }
}

/// Something that happens to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub at: u64,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `kill -9`, and a new start; with the disk as the kill left it, or an empty one.
    Kill { worker: usize, down: u64, loses_disk: bool },
    /// SIGSTOP, and SIGCONT.
    Freeze { worker: usize, millis: u64 },
    /// SIGTERM, and a new start.
    Stop { worker: usize, down: u64 },
    /// Everything given away, then SIGTERM, and a new start.
    Drain { worker: usize, down: u64 },
    /// It reaches nobody.
    Cut { worker: usize, millis: u64 },
    /// It reaches all but the coordinator.
    CutCoordinator { worker: usize, millis: u64 },
    /// It reaches the coordinator and no other broker.
    CutBrokers { worker: usize, millis: u64 },
    /// A partition (of the inputs, outputs, changelog) takes and gives nothing.
    Leaderless { topic: usize, partition: u32, millis: u64 },
    /// Requests fail, so many in a thousand.
    Errors { of: u32, millis: u64 },
    /// Answers get lost, so many in a thousand.
    Lost { of: u32, millis: u64 },
    /// The network takes up to so long.
    Far { latency: u64, millis: u64 },
    /// Its disk takes up to so long.
    Slow { worker: usize, up_to: u64, millis: u64 },
    /// There is no room on its disk.
    Full { worker: usize, millis: u64 },
    /// The coordinator's broker dies, or gives the group away.
    Move { away: u64, dies: bool },
    /// Its wall clock jumps.
    Skew { worker: usize, by: i64 },
}

impl Kind {
    /// As it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill { loses_disk: false, .. } => "kill",
            Self::Kill { loses_disk: true, .. } => "kill and lose the disk",
            Self::Freeze { .. } => "freeze",
            Self::Stop { .. } => "stop and start",
            Self::Drain { .. } => "drain",
            Self::Cut { .. } => "cut off",
            Self::CutCoordinator { .. } => "cut off from the coordinator",
            Self::CutBrokers { .. } => "cut off from other brokers",
            Self::Leaderless { .. } => "no leader",
            Self::Errors { .. } => "broker errors",
            Self::Lost { .. } => "lost answers",
            Self::Far { .. } => "slow network",
            Self::Slow { .. } => "slow disk",
            Self::Full { .. } => "full disk",
            Self::Move { .. } => "coordinator moves",
            Self::Skew { .. } => "clock jumps",
        }
    }

    /// Whether it is asked of a worker, which has its time for it, and not done to it.
    pub fn is_planned(self) -> bool {
        matches!(self, Self::Stop { .. } | Self::Drain { .. })
    }
}

/// The faults of a seed, in the order of their times. One seed in five has only planned ones.
pub(super) fn plan(seed: u64, config: &Config) -> Vec<Fault> {
    let rng = &mut Rng::new(seed ^ 0xfa17);
    let planned_only = rng.chance(200);
    let count = rng.between(0, 12);
    let (mut at, mut faults) = (0, Vec::new());
    for _ in 0..count {
        // Many come soon after another one, while that has its effects.
        at = match rng.chance(400) {
            true => at + rng.between(0, 2_000),
            false => rng.between(500, config.span),
        };
        faults.push(Fault { at: at.min(config.span), kind: kind(rng, config, planned_only) });
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

fn kind(rng: &mut Rng, config: &Config, planned_only: bool) -> Kind {
    let worker = rng.between(0, config.workers as u64 - 1) as usize;
    let down = match rng.chance(500) {
        // Back within its session, or not.
        true => rng.between(10, config.session / 2),
        false => rng.between(config.session, 3 * config.session),
    };
    let millis = rng.between(50, 2 * config.session);
    if planned_only {
        return if rng.chance(700) { Kind::Stop { worker, down } } else { Kind::Drain { worker, down } };
    }
    match rng.between(0, 99) {
        0..20 => Kind::Kill { worker, down, loses_disk: rng.chance(300) },
        20..38 => Kind::Freeze { worker, millis: rng.between(100, 3 * config.session) },
        38..46 => Kind::Stop { worker, down },
        46..50 => Kind::Drain { worker, down },
        50..56 => Kind::Cut { worker, millis },
        56..61 => Kind::CutCoordinator { worker, millis },
        61..64 => Kind::CutBrokers { worker, millis },
        64..70 => {
            let partition = rng.between(0, u64::from(config.partitions) - 1) as u32;
            Kind::Leaderless { topic: rng.between(0, 2) as usize, partition, millis }
        }
        70..75 => Kind::Errors { of: rng.between(10, 400) as u32, millis },
        75..80 => Kind::Lost { of: rng.between(10, 300) as u32, millis },
        80..84 => Kind::Far { latency: rng.between(50, 1_500), millis },
        84..88 => Kind::Slow { worker, up_to: rng.between(50, 3_000), millis },
        88..91 => Kind::Full { worker, millis },
        91..97 => Kind::Move { away: rng.between(0, 3_000), dies: rng.chance(500) },
        _ => Kind::Skew { worker, by: rng.between(0, 7_200_000) as i64 - 3_600_000 },
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7} {:?}", self.at, self.kind)
    }
}

/// Fewer faults that still fail: each is left out whose absence changes nothing about that.
pub(super) fn shrink(mut faults: Vec<Fault>, fails: impl Fn(&[Fault]) -> bool) -> Vec<Fault> {
    loop {
        let shorter = (0..faults.len()).find_map(|left_out| {
            let mut fewer = faults.clone();
            fewer.remove(left_out);
            fails(&fewer).then_some(fewer)
        });
        match shorter {
            Some(fewer) => faults = fewer,
            None => return faults,
        }
    }
}

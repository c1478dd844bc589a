//! What happens in a round, all of it from its seed.

use std::fmt;
use std::time::Duration;

use crate::random::Random;

/// How the workers of a round are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting {
    pub commit_interval: Duration,
    pub standbys: u32,
    pub members: Members,
}

/// Whether the workers keep their names in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Members {
    /// As pods of a StatefulSet do.
    Static,
    Dynamic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill −9; the worker comes back when others have taken over.
    Kill,
    /// kill −9; it is started again at once.
    KillAndStart,
    /// SIGSTOP until others have taken over, then SIGCONT.
    Sleep,
    /// SIGTERM and a new start, of every worker in turn.
    Roll,
    /// Stopped, its folder deleted, started.
    LoseState,
    /// Nothing gets through between a worker and the group's coordinator until others have taken over.
    Cut,
    /// kill −9 of a broker, started again when the workers have got over it.
    KillBroker,
    /// SIGSTOP of a broker, then SIGCONT.
    StopBroker,
    /// Every partition of the source and of the changelog gets another leader.
    MoveLeaders,
    /// Every partition of Kafka's own topic of groups gets another leader.
    MoveCoordinator,
    /// Two more workers, then three fewer, then one more.
    Scale,
}

impl Fault {
    pub const ALL: [Fault; 11] = [
        Fault::Kill,
        Fault::KillAndStart,
        Fault::Sleep,
        Fault::Roll,
        Fault::LoseState,
        Fault::Cut,
        Fault::KillBroker,
        Fault::StopBroker,
        Fault::MoveLeaders,
        Fault::MoveCoordinator,
        Fault::Scale,
    ];
}

/// A fault and what is chosen in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    pub fault: Fault,
    /// Which worker or broker, of however many there are.
    pub whom: usize,
    /// How long nothing happens before it.
    pub pause: Duration,
}

/// A setting and the acts under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Which one of the run it is, from 1 on. The run's seed leads to it; its own can't be given from outside.
    pub number: usize,
    pub seed: u64,
    pub setting: Setting,
    pub acts: Vec<Act>,
}

impl Round {
    /// The only one of a run: each of these faults once, in an order of the seed's.
    pub fn of(seed: u64, setting: Setting, faults: &[Fault]) -> Self {
        let mut random = Random::seeded(seed);
        let mut faults = faults.to_vec();
        random.shuffle(&mut faults);
        let act = |fault| Act { fault, whom: random.below(60), pause: Duration::from_millis(random.next() % 1_500) };
        Self { number: 1, seed, setting, acts: faults.into_iter().map(act).collect() }
    }

    /// Rounds without end over all settings, in an order of the seed's.
    pub fn all(seed: u64) -> impl Iterator<Item = Round> {
        let mut random = Random::seeded(seed);
        let mut settings = Setting::all();
        random.shuffle(&mut settings);
        let numbered = (1..).zip(settings.into_iter().cycle());
        numbered.map(move |(number, setting)| Round { number, ..Round::of(random.next(), setting, &Fault::ALL) })
    }
}

impl Setting {
    fn all() -> Vec<Setting> {
        let mut all = Vec::new();
        for commit_interval in [Duration::from_millis(100), Duration::from_secs(5)] {
            for standbys in 0..=2 {
                all.extend([Members::Static, Members::Dynamic].map(|members| Setting { commit_interval, standbys, members }));
            }
        }
        all
    }
}

impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Static => "static",
            Self::Dynamic => "dynamic",
        })
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commit_interval, standbys, members } = self;
        write!(f, "commit every {commit_interval:?}, {standbys} standbys, {members} members")
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "round {}, {}: {:?}", self.number, self.setting, self.acts.iter().map(|act| act.fault).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_is_a_plan_and_twelve_rounds_have_every_setting_and_fault() {
        let rounds = |seed| Round::all(seed).take(24).collect::<Vec<_>>();
        assert_eq!(rounds(1), rounds(1));
        assert_ne!(rounds(1), rounds(2));
        let settings: BTreeSet<Setting> = rounds(1)[..12].iter().map(|round| round.setting).collect();
        assert_eq!(settings.len(), 12);
        let orders: BTreeSet<Vec<Fault>> = rounds(1).iter().map(|round| round.acts.iter().map(|act| act.fault).collect()).collect();
        assert!(orders.len() > 20, "{orders:?}");
        assert!(orders.iter().all(|order| order.iter().collect::<BTreeSet<_>>().len() == Fault::ALL.len()));
    }
}

//! A member with whoever talks to it.

use crate::group::protocol::*;
use crate::group::userdata::Heard;
use crate::topology::CoPartitioned;

pub const SESSION: u64 = 3_000;
pub const HEARTBEAT: u64 = SESSION / 10;
pub const HEARTBEAT_WHILE_MORE_COMES: u64 = 100;
pub const RECOVERY_LAG: Lag = Lag(8);

type Copies = Option<Vec<(TaskId, Lag)>>;

pub fn task(partition: u32) -> TaskId {
    TaskId { group: 0, partition }
}

pub fn tasks(partitions: impl IntoIterator<Item = u32>) -> Vec<TaskId> {
    partitions.into_iter().map(task).collect()
}

pub fn groups() -> Groups {
    vec![CoPartitioned { topics: vec!["views".into()], partitions: 4, stateful: true, standbys: 1 }]
}

/// It checks on every step what must hold whatever happens.
pub struct Talk {
    pub member: Protocol,
    pub now: u64,
    pub connecting: bool,
    pub join: Option<Subscription>,
    /// What the last JoinGroup said.
    pub said: Subscription,
    /// What the leader has heard of the member; none if it tells.
    pub heard: Option<Heard>,
    pub sync: Option<Sender>,
    pub heartbeat: Option<Sender>,
    /// The newest assignment since the membership was last lost.
    pub assigned: Option<(i32, Vec<TaskId>)>,
    /// What a worker that does as it is told has in hand.
    pub hand: Vec<TaskId>,
    pub seq: u64,
    pub leased: bool,
    pub events: Vec<GroupEvent>,
    /// Told to leave.
    pub draining: bool,
    pub leaving: bool,
    /// A farewell is out.
    pub farewell: bool,
    pub ending: bool,
    /// The leader is of a version that knows no copies.
    pub old_leader: bool,
    /// What the leader has it keep up to date, and warm up.
    pub keeps: [Vec<TaskId>; 2],
    /// Nonce and copies of the last JoinGroup, as long as nothing has come of it.
    pub round: Option<(u64, Copies)>,
    pub ended: bool,
}

impl Talk {
    pub fn new() -> Self {
        Self::of(None)
    }

    pub fn of(instance: Option<&str>) -> Self {
        let identity = Identity {
            group_id: "g".into(),
            groups: groups(),
            session: SESSION,
            instance: instance.map(str::to_string),
            process: "p".into(),
            nonce: 1_000,
            endpoint: String::new(),
            zone: String::new(),
            node: String::new(),
            policy: Policy { recovery_lag: RECOVERY_LAG, max_warmups: 2 },
        };
        let mut talk = Self {
            member: Protocol::new(identity),
            now: 1_000,
            connecting: false,
            join: None,
            said: Subscription::default(),
            heard: None,
            sync: None,
            heartbeat: None,
            assigned: None,
            hand: Vec::new(),
            seq: 0,
            leased: false,
            events: Vec::new(),
            draining: false,
            leaving: false,
            farewell: false,
            ending: false,
            old_leader: false,
            keeps: Default::default(),
            round: None,
            ended: false,
        };
        talk.say(Input::Tick);
        talk
    }

    pub fn say(&mut self, input: Input) {
        self.draining |= matches!(input, Input::Drain { how: Drain::Leave });
        self.ending |= matches!(input, Input::End);
        self.leaving |= self.ending;
        let actions = self.member.step(self.now, input);
        assert!(!self.ended || actions.is_empty(), "it has ended, but wants {actions:?}");
        for action in actions {
            self.act(action);
        }
        let waits = self.member.link == Link::Up && self.member.step != Step::Leave && self.member.heartbeat.unanswered;
        assert!(!waits || self.ended || self.heartbeat.is_some(), "it waits for the answer to a heartbeat that nobody has got");
        assert!(self.member.deadline().is_none_or(|due| !self.ended && due > self.now), "a deadline that is past is a busy loop");
    }

    pub fn act(&mut self, action: Action) {
        let ends = matches!(action, Action::Leave { .. } | Action::EndLease | Action::Emit { event: GroupEvent::Left, .. });
        let again =
            matches!(action, Action::Connect | Action::Emit { event: GroupEvent::Away { .. } | GroupEvent::Failed { .. }, .. });
        assert!(!self.leaving || ends || again && !self.ending, "it leaves, but wants {action:?}");
        match action {
            Action::Connect => {
                (self.connecting, self.join, self.sync, self.heartbeat, self.farewell) = (true, None, None, None, false);
            }
            Action::Join { subscription, .. } => {
                assert!(self.join.is_none(), "a second JoinGroup is out");
                assert_eq!(subscription.active, self.hand, "it claims what is in its hands");
                assert_eq!(subscription.generation, self.assigned.as_ref().map_or(-1, |(generation, _)| *generation));
                if let Some((nonce, copies)) = &self.round {
                    assert!(
                        *nonce != subscription.nonce || *copies == subscription.copies,
                        "it says another thing in the same breath"
                    );
                }
                self.round = Some((subscription.nonce, subscription.copies.clone()));
                self.said = subscription.clone();
                self.join = Some(subscription);
            }
            Action::Sync { by, .. } => self.sync = Some(by),
            Action::Heartbeat { by } => {
                assert!(self.heartbeat.is_none(), "a second heartbeat is out");
                assert!(self.assigned.is_some(), "a heartbeat before the sync");
                self.heartbeat = Some(by);
            }
            Action::Leave { .. } => {
                assert!(self.leaving || self.draining && self.hand.is_empty(), "it leaves with {:?} in hand", self.hand);
                assert!(!self.farewell, "a second farewell is out");
                (self.leaving, self.farewell) = (true, true);
            }
            Action::Renew { .. } => self.leased = true,
            Action::EndLease => self.leased = false,
            Action::Emit { seq, event } => self.hear(seq, event),
        }
    }

    pub fn hear(&mut self, seq: u64, event: GroupEvent) {
        match &event {
            GroupEvent::Assigned { generation, tasks, standbys } => {
                assert!(standbys.iter().all(|task| !tasks.contains(task)), "a standby beside itself");
                assert!(
                    self.assigned.as_ref().is_none_or(|(newest, _)| newest <= generation),
                    "an older generation after a newer one"
                );
                assert!(self.leased);
                let taken_up = tasks.iter().any(|task| !self.hand.contains(task));
                assert!(!(self.draining && taken_up), "it drains and takes up {tasks:?}");
                self.assigned = Some((*generation, tasks.clone()));
                self.hand.extend(tasks.iter().filter(|task| !self.hand.contains(task)).copied().collect::<Vec<_>>());
                self.hand.sort();
            }
            GroupEvent::Lost { .. } => {
                assert!(!self.leased, "the lease ends before anybody hears of the loss");
                (self.assigned, self.hand) = (None, Vec::new());
            }
            GroupEvent::Left | GroupEvent::Failed { .. } => {
                assert!(!self.leased || self.assigned.is_none());
                self.ended = true;
            }
            GroupEvent::Idle { .. } | GroupEvent::Away { .. } => {}
        }
        self.seq = seq;
        self.events.push(event);
    }

    /// Time passes up to the next deadline and beyond, as often as it fits.
    pub fn wait(&mut self, millis: u64) {
        let until = self.now + millis;
        while let Some(due) = self.member.deadline().filter(|due| *due <= until) {
            self.now = due;
            self.say(Input::Tick);
        }
        self.now = until;
        self.say(Input::Tick);
    }

    pub fn connected(&mut self) {
        if std::mem::take(&mut self.connecting) {
            self.say(Input::Connected);
        }
    }

    pub fn disconnected(&mut self) {
        (self.join, self.sync, self.heartbeat, self.connecting, self.farewell) = (None, None, None, false, false);
        self.say(Input::Disconnected { reason: "it's gone".into() });
    }

    pub fn joined(&mut self, generation: i32) {
        if self.join.take().is_some() {
            let joined = Joined { member: "m".into(), generation, leader: "l".into(), peers: vec![], skip_assignment: false };
            self.say(Input::Joined { answer: Ok(joined) });
        }
    }

    pub fn join_refused(&mut self, code: i16) {
        if self.join.take().is_some() {
            let rejected = Rejected { member: "m".into(), verdict: Verdict::of(code) };
            self.say(Input::Joined { answer: Err(rejected) });
        }
    }

    pub fn synced(&mut self, active: Vec<TaskId>, more: bool) {
        let heard = self.heard.or(Some(self.said.heard()));
        self.synced_by(active, more, heard, TopologyHash::of(&groups()));
    }

    /// By a leader that has heard this, if it tells, and runs the app with this topology.
    pub fn synced_by(&mut self, active: Vec<TaskId>, more: bool, heard: Option<Heard>, topology: TopologyHash) {
        if let Some(by) = self.sync.take() {
            let [standby, warmups] =
                self.keeps.clone().map(|kept| kept.into_iter().filter(|task| !active.contains(task)).collect());
            let recovery_lag = if self.old_leader { Lag::UNKNOWN } else { RECOVERY_LAG };
            let assignment = Assignment { active, standby, warmups, recovery_lag, leader: "l".into(), more, topology, heard };
            self.round = None;
            self.say(Input::Synced { sent: self.now - 1, by, answer: Ok(assignment) });
        }
    }

    pub fn sync_refused(&mut self, code: i16) {
        if let Some(by) = self.sync.take() {
            self.say(Input::Synced { sent: self.now - 1, by, answer: Err(Verdict::of(code)) });
        }
    }

    pub fn beaten(&mut self, code: i16) {
        if let Some(by) = self.heartbeat.take() {
            self.say(Input::Heartbeat { sent: self.now - 1, by, verdict: Verdict::of(code) });
        }
    }

    pub fn left(&mut self, code: i16) {
        if std::mem::take(&mut self.farewell) {
            self.say(Input::LeaveAnswered { verdict: Verdict::of(code) });
        }
    }

    /// The worker lets go of all it has no more.
    pub fn released(&mut self) {
        self.hand = self.assigned.clone().map_or(Vec::new(), |(_, tasks)| tasks);
        self.say(Input::Released { seq: self.seq });
    }

    /// A static member that comes back in generation 7, given what its predecessor had while nobody else hears of it.
    pub fn back(active: Vec<TaskId>, more: bool, heard: Heard) -> Self {
        let mut talk = Self::of(Some("shop-0"));
        talk.connected();
        talk.joined(7);
        talk.heard = Some(heard);
        talk.synced(active, more);
        talk.heard = None;
        talk
    }

    /// Joined in generation 1 with these tasks.
    pub fn stable(active: Vec<TaskId>) -> Self {
        let mut talk = Self::new();
        talk.connected();
        talk.joined(1);
        talk.synced(active, false);
        talk.events.clear();
        talk
    }
}

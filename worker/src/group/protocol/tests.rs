use proptest::prelude::*;

use super::*;
use crate::group::userdata::Heard;
use crate::time::TopicPartition;
use crate::topology::CoPartitioned;

const SESSION: u64 = 3_000;

fn task(partition: u32) -> TaskId {
    TaskId { group: 0, partition }
}

fn tasks(partitions: impl IntoIterator<Item = u32>) -> Vec<TaskId> {
    partitions.into_iter().map(task).collect()
}

fn groups() -> Groups {
    vec![CoPartitioned { topics: vec!["views".into()], partitions: 4, stateful: false, standbys: 0 }]
}

/// A member with whoever talks to it: it checks on every step what must hold whatever happens.
struct Talk {
    member: Protocol,
    now: u64,
    connecting: bool,
    join: Option<Subscription>,
    /// What the last JoinGroup said.
    said: Subscription,
    /// What the leader has heard of the member; none if it tells.
    heard: Option<Heard>,
    sync: Option<Sender>,
    heartbeat: Option<Sender>,
    /// The newest assignment since the membership was last lost.
    assigned: Option<(i32, Vec<TaskId>)>,
    /// What a worker that does as it is told has in hand.
    hand: Vec<TaskId>,
    seq: u64,
    leased: bool,
    events: Vec<GroupEvent>,
    draining: bool,
    leaving: bool,
    /// A farewell is out.
    farewell: bool,
    ending: bool,
    ended: bool,
}

impl Talk {
    fn new() -> Self {
        Self::of(None)
    }

    fn of(instance: Option<&str>) -> Self {
        let identity = Identity {
            group_id: "g".into(),
            groups: groups(),
            session: SESSION,
            instance: instance.map(str::to_string),
            process: "p".into(),
            nonce: 1_000,
            endpoint: String::new(),
            zone: String::new(),
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
            ended: false,
        };
        talk.say(Input::Tick);
        talk
    }

    fn say(&mut self, input: Input) {
        self.draining |= matches!(input, Input::Drain);
        self.ending |= matches!(input, Input::End);
        self.leaving |= self.ending;
        let actions = self.member.step(self.now, input);
        assert!(!self.ended || actions.is_empty(), "it has ended, but wants {actions:?}");
        for action in actions {
            self.act(action);
        }
        assert!(self.member.deadline().is_none_or(|due| !self.ended && due > self.now), "a deadline that is past is a busy loop");
    }

    fn act(&mut self, action: Action) {
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

    fn hear(&mut self, seq: u64, event: GroupEvent) {
        match &event {
            GroupEvent::Assigned { generation, tasks, .. } => {
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
    fn wait(&mut self, millis: u64) {
        let until = self.now + millis;
        while let Some(due) = self.member.deadline().filter(|due| *due <= until) {
            self.now = due;
            self.say(Input::Tick);
        }
        self.now = until;
        self.say(Input::Tick);
    }

    fn connected(&mut self) {
        if std::mem::take(&mut self.connecting) {
            self.say(Input::Connected);
        }
    }

    fn disconnected(&mut self) {
        (self.join, self.sync, self.heartbeat, self.connecting, self.farewell) = (None, None, None, false, false);
        self.say(Input::Disconnected { reason: "it's gone".into() });
    }

    fn joined(&mut self, generation: i32) {
        if self.join.take().is_some() {
            let joined = Joined { member: "m".into(), generation, leader: "l".into(), peers: vec![], skip_assignment: false };
            self.say(Input::Joined { sent: self.now - 1, answer: Ok(joined) });
        }
    }

    fn join_refused(&mut self, code: i16) {
        if self.join.take().is_some() {
            let rejected = Rejected { member: "m".into(), verdict: Verdict::of(code) };
            self.say(Input::Joined { sent: self.now - 1, answer: Err(rejected) });
        }
    }

    fn synced(&mut self, active: Vec<TaskId>, more: bool) {
        let heard = self.heard.or(Some(self.said.heard()));
        self.synced_by(active, more, heard, TopologyHash::of(&groups()));
    }

    /// By a leader that has heard this, if it tells, and runs the app with this topology.
    fn synced_by(&mut self, active: Vec<TaskId>, more: bool, heard: Option<Heard>, topology: TopologyHash) {
        if let Some(by) = self.sync.take() {
            let assignment = Assignment { active, standby: vec![], leader: "l".into(), more, topology, heard };
            self.say(Input::Synced { sent: self.now - 1, by, answer: Ok(assignment) });
        }
    }

    fn sync_refused(&mut self, code: i16) {
        if let Some(by) = self.sync.take() {
            self.say(Input::Synced { sent: self.now - 1, by, answer: Err(Verdict::of(code)) });
        }
    }

    fn beaten(&mut self, code: i16) {
        if let Some(by) = self.heartbeat.take() {
            self.say(Input::Heartbeat { sent: self.now - 1, by, verdict: Verdict::of(code) });
        }
    }

    fn left(&mut self, code: i16) {
        if std::mem::take(&mut self.farewell) {
            self.say(Input::LeaveAnswered { verdict: Verdict::of(code) });
        }
    }

    /// The worker lets go of all it has no more.
    fn released(&mut self) {
        self.hand = self.assigned.clone().map_or(Vec::new(), |(_, tasks)| tasks);
        self.say(Input::Released { seq: self.seq });
    }

    /// A static member that comes back in generation 7, given what its predecessor had while nobody else hears of it.
    fn back(active: Vec<TaskId>, more: bool, heard: Heard) -> Self {
        let mut talk = Self::of(Some("shop-0"));
        talk.connected();
        talk.joined(7);
        talk.heard = Some(heard);
        talk.synced(active, more);
        talk.heard = None;
        talk
    }

    /// Joined in generation 1 with these tasks.
    fn stable(active: Vec<TaskId>) -> Self {
        let mut talk = Self::new();
        talk.connected();
        talk.joined(1);
        talk.synced(active, false);
        talk.events.clear();
        talk
    }
}

#[test]
fn what_is_taken_away_stays_claimed_until_it_is_released_and_then_the_member_joins_again() {
    let mut talk = Talk::stable(tasks(0..4));
    talk.wait(1_000);
    talk.beaten(27);
    assert_eq!(talk.join.as_ref().unwrap().active, tasks(0..4), "it keeps everything while it joins");
    let nonce = talk.join.as_ref().unwrap().nonce;
    talk.joined(2);
    talk.synced(tasks(0..2), true);
    assert_eq!(talk.events, [GroupEvent::Assigned { generation: 2, tasks: tasks(0..2), standbys: vec![] }]);
    assert!(talk.join.is_none(), "not before the worker has let go");
    talk.released();
    let said = talk.join.as_ref().unwrap();
    assert_eq!((said.active.as_slice(), said.generation), (&tasks(0..2)[..], 2));
    assert_ne!(said.nonce, nonce, "the broker must see that a rebalance is wanted");
}

#[test]
fn what_is_released_while_a_join_is_out_is_followed_by_another_join() {
    let mut talk = Talk::stable(tasks(0..4));
    talk.wait(1_000);
    talk.beaten(27);
    talk.joined(2);
    talk.synced(tasks(0..2), true);
    talk.wait(250);
    talk.beaten(27);
    assert_eq!(talk.join.as_ref().unwrap().active, tasks(0..4));
    talk.released();
    talk.joined(3);
    talk.synced(tasks(0..2), true);
    assert_eq!(talk.join.as_ref().unwrap().active, tasks(0..2), "others wait for what the leader still took for ours");
}

#[test]
fn a_release_for_an_older_assignment_releases_nothing_of_a_newer_one() {
    let mut talk = Talk::stable(tasks(0..4));
    talk.wait(1_000);
    talk.beaten(27);
    talk.joined(2);
    talk.synced(tasks(0..3), true);
    let heard = talk.seq;
    talk.wait(250);
    talk.beaten(27);
    talk.joined(3);
    talk.synced(tasks(0..2), true);
    talk.say(Input::Released { seq: heard });
    assert!(talk.join.is_none(), "task 2 is still in use");
}

/// The broker raises the generation when it ends the join phase; whatever it answers before our JoinGroup's answer is read carries
/// the old one.
#[test]
fn a_generation_that_moved_on_while_the_join_is_out_is_no_loss() {
    let mut talk = Talk::stable(tasks(0..4));
    talk.wait(1_000);
    talk.beaten(27);
    let by = Sender { member: "m".into(), generation: 1 };
    talk.wait(1_000);
    for code in [22, 27] {
        talk.say(Input::CommitRefused { by: by.clone(), verdict: Verdict::of(code) });
        talk.beaten(code);
    }
    talk.joined(2);
    talk.say(Input::CommitRefused { by: by.clone(), verdict: Verdict::of(22) });
    talk.synced(tasks(0..4), false);
    talk.say(Input::CommitRefused { by, verdict: Verdict::of(22) });
    assert_eq!(talk.events, [GroupEvent::Assigned { generation: 2, tasks: tasks(0..4), standbys: vec![] }]);
}

/// A slow member may hold a rebalance up for as long as the rebalance timeout; the others go on working meanwhile.
#[test]
fn heartbeats_keep_the_session_while_the_join_is_held_back() {
    let mut talk = Talk::stable(tasks(0..4));
    for _ in 0..60 {
        talk.wait(1_000);
        talk.beaten(27);
        assert!(talk.now - talk.member.renewed <= 1 && talk.join.is_some());
        assert!(talk.member.view().joined, "what it has it goes on with");
    }
    assert!(talk.events.is_empty());
}

#[test]
fn a_generation_that_moved_on_without_us_is_a_loss() {
    let mut talk = Talk::stable(tasks(0..4));
    talk.wait(1_000);
    talk.beaten(22);
    assert!(matches!(talk.events[..], [GroupEvent::Lost { .. }]));
    assert_eq!(talk.join.as_ref().unwrap().active, []);
}

/// It was stopped before its JoinGroup left, and woke when the others had gone on and begun the next one.
#[test]
fn a_member_that_missed_a_generation_has_lost_what_it_had() {
    let mut talk = Talk::stable(tasks(0..4));
    talk.wait(1_000);
    talk.beaten(27);
    talk.wait(1_000);
    talk.beaten(22);
    assert_eq!(talk.events, [], "that alone may be the answer to the JoinGroup on its way");
    talk.joined(3);
    assert!(matches!(talk.events[..], [GroupEvent::Lost { .. }]));
    talk.synced(tasks(0..2), false);
    assert_eq!(talk.events[1], GroupEvent::Assigned { generation: 3, tasks: tasks(0..2), standbys: vec![] });
}

#[test]
fn a_member_that_was_stopped_beyond_its_session_loses_everything_at_its_first_heartbeat() {
    let mut talk = Talk::stable(tasks(0..4));
    talk.now += 60_000;
    talk.say(Input::Tick);
    assert!(talk.events.is_empty(), "it asks first: maybe the coordinator was stopped as well");
    talk.beaten(25);
    assert!(matches!(talk.events[..], [GroupEvent::Lost { .. }]));
    assert_eq!(talk.join.as_ref().map(|said| (said.active.len(), said.generation)), Some((0, -1)));
    talk.joined(7);
    talk.synced(tasks(2..4), false);
    assert_eq!(talk.events[1], GroupEvent::Assigned { generation: 7, tasks: tasks(2..4), standbys: vec![] });
}

#[test]
fn a_broken_connection_costs_the_membership_only_when_the_session_is_over() {
    let mut talk = Talk::stable(tasks(0..4));
    talk.disconnected();
    talk.wait(1_000);
    talk.disconnected();
    talk.wait(1_000);
    talk.connected();
    assert!(talk.heartbeat.is_some(), "it goes on where it was");
    talk.beaten(0);
    let told: Vec<_> = talk.events.drain(..).collect();
    assert!(matches!(&told[..], [GroupEvent::Away { .. }, GroupEvent::Assigned { generation: 1, .. }]), "{told:?}");

    talk.disconnected();
    talk.wait(SESSION - 2);
    assert!(talk.events.is_empty());
    talk.wait(1);
    assert!(matches!(talk.events[..], [GroupEvent::Lost { .. }]), "{:?}", talk.events);
}

#[test]
fn the_coordinators_refusals_end_the_member_with_a_sentence() {
    let mut talk = Talk::new();
    talk.connected();
    talk.join_refused(23);
    assert_eq!(
        talk.events,
        [GroupEvent::Failed {
            reason: "Kafka refuses this worker in group `g`: the group's other members speak another assignment protocol; is its id used \
                     by another application? Give this one an id of its own"
                .into()
        }]
    );
    assert!(talk.member.ended());

    let mut talk = Talk::stable(tasks(0..4));
    talk.wait(1_000);
    talk.beaten(82);
    assert!(matches!(talk.events[..], [GroupEvent::Lost { .. }, GroupEvent::Failed { .. }]));
}

#[test]
fn the_leader_gives_nothing_to_a_member_of_another_topology_and_to_nobody_what_that_has() {
    let mut talk = Talk::new();
    talk.connected();
    let ours = talk.join.take().unwrap();
    let other = Subscription { topology: TopologyHash(1), active: vec![TaskId { group: 7, partition: 1 }], ..ours.clone() };
    let peers = vec![
        Peer { id: "m".into(), subscription: Some(ours), partitions: vec![] },
        Peer {
            id: "x".into(),
            subscription: Some(other),
            partitions: vec![TopicPartition::new("views", 3), TopicPartition::new("old", 0)],
        },
    ];
    let joined = Joined { member: "m".into(), generation: 1, leader: "m".into(), peers, skip_assignment: false };
    let actions = talk.member.step(talk.now, Input::Joined { sent: 1, answer: Ok(joined) });
    let Some(Action::Sync { assignments, .. }) = actions.last() else { panic!("{actions:?}") };
    let given: Vec<_> = assignments.iter().map(|(id, told)| (id.as_str(), told.active.clone(), told.more)).collect();
    assert_eq!(given, [("m", tasks(0..3), true), ("x", vec![], true)]);
}

#[test]
fn a_static_member_that_comes_back_as_it_was_asks_for_nothing() {
    let mut predecessor = Talk::of(Some("shop-0"));
    predecessor.connected();
    let portrait = predecessor.said.portrait();
    let mut talk = Talk::back(tasks(0..2), false, Heard { nonce: 3, portrait });
    assert_eq!(talk.events, [GroupEvent::Assigned { generation: 7, tasks: tasks(0..2), standbys: vec![] }]);
    assert!(talk.join.is_none());
    talk.wait(1_000);
    talk.beaten(0);
    assert!(talk.join.is_none());
}

#[test]
fn a_static_member_that_comes_back_with_news_asks_for_one_rebalance() {
    let mut predecessor = Talk::of(Some("shop-0"));
    predecessor.connected();
    let as_it_was = Heard { nonce: 3, portrait: predecessor.said.portrait() };
    let drained = Subscription { draining: true, ..predecessor.said.clone() };
    let moved = Subscription { endpoint: "elsewhere:6066".into(), ..predecessor.said.clone() };
    type News = (&'static str, Heard, bool, Option<Input>);
    let news: [News; 4] = [
        ("its stores are lost", as_it_was, false, Some(Input::Cold)),
        ("it can be reached elsewhere", Heard { portrait: moved.portrait(), ..as_it_was }, false, None),
        ("its predecessor was draining", Heard { portrait: drained.portrait(), ..as_it_was }, false, None),
        ("its predecessor may have owed a release", as_it_was, true, None),
    ];
    for (what, heard, more, input) in news {
        let mut talk = Talk::back(tasks(0..2), more, heard);
        if let Some(input) = input {
            assert!(talk.join.is_none());
            talk.say(input);
        }
        let said = talk.join.clone().unwrap_or_else(|| panic!("{what}, and it says nothing"));
        assert_eq!((said.nonce, said.active, said.generation), (1_001, tasks(0..2), 7), "{what}");
        talk.joined(8);
        talk.synced(tasks(0..2), false);
        talk.say(Input::Cold);
        assert!(talk.join.is_none(), "{what}: it has been heard");
    }
}

#[test]
fn a_static_member_ends_without_a_farewell_and_any_other_leaves() {
    for (instance, farewells) in [(Some("shop-0"), 0), (None, 1)] {
        let mut talk = Talk::of(instance);
        talk.connected();
        talk.joined(1);
        talk.synced(tasks(0..2), false);
        let actions = talk.member.step(talk.now, Input::End);
        assert_eq!(actions[0], Action::EndLease);
        let farewell = |action: &&Action| matches!(action, Action::Leave { .. });
        assert_eq!(actions.iter().filter(farewell).count(), farewells);
        assert_eq!(talk.member.ended(), instance.is_some());
    }
}

#[test]
fn a_twin_with_the_same_instance_id_ends_the_member_with_a_sentence_that_names_it() {
    let mut talk = Talk::of(Some("shop-0"));
    talk.connected();
    talk.joined(1);
    talk.synced(tasks(0..2), false);
    talk.wait(1_000);
    talk.beaten(82);
    let [.., GroupEvent::Lost { .. }, GroupEvent::Failed { reason }] = &talk.events[..] else { panic!("{:?}", talk.events) };
    assert!(reason.contains("instance id `shop-0`"), "{reason}");
    assert!(talk.member.ended());
}

#[test]
fn a_draining_member_works_until_its_tasks_are_taken_and_leaves_when_it_has_let_go() {
    let mut talk = Talk::stable(tasks(0..4));
    talk.say(Input::Drain);
    let said = talk.join.clone().unwrap();
    assert_eq!((said.draining, said.active), (true, tasks(0..4)));
    assert!(talk.events.is_empty(), "nothing stops yet");
    talk.joined(2);
    talk.synced(vec![], true);
    assert_eq!(talk.events, [GroupEvent::Assigned { generation: 2, tasks: vec![], standbys: vec![] }]);
    assert!(talk.leased && !talk.leaving, "it may still commit what it has in hand");
    talk.released();
    assert!(talk.leaving);
    talk.left(0);
    assert_eq!(talk.events.last(), Some(&GroupEvent::Left));
}

#[test]
fn a_member_that_drains_has_left_only_when_the_coordinator_says_so_and_one_that_ends_does_not_wait_for_that() {
    for ends in [false, true] {
        let mut talk = Talk::stable(vec![]);
        talk.say(Input::Drain);
        talk.joined(2);
        talk.synced(vec![], false);
        for code in [16, 15, 14, 27] {
            talk.left(code);
            assert!(!talk.ended && talk.connecting | (talk.member.deadline().is_some()), "{code}");
            talk.wait(BACK_OFF_AT_MOST);
            talk.connected();
            assert!(talk.farewell, "{code}: it finds the coordinator again and repeats");
        }
        talk.disconnected();
        talk.wait(SESSION * 2);
        talk.connected();
        if ends {
            talk.say(Input::End);
            talk.left(16);
        } else {
            talk.left(25);
        }
        assert_eq!(talk.events.last(), Some(&GroupEvent::Left));
    }
}

#[test]
fn a_leader_of_another_topology_leaves_a_member_without_tasks_and_tells_it_why() {
    let mut talk = Talk::new();
    talk.connected();
    talk.joined(1);
    talk.synced_by(tasks(0..2), false, None, TopologyHash(1));
    let [GroupEvent::Assigned { tasks, .. }, GroupEvent::Idle { .. }] = &talk.events[..] else { panic!("{:?}", talk.events) };
    assert!(tasks.is_empty() && talk.member.view().joined);
}

/// A leader of the first version of the protocol.
#[test]
fn a_static_member_whose_leader_does_not_tell_what_it_heard_asks_once_where_that_could_matter() {
    let ours = TopologyHash::of(&groups());
    for (more, topology, asks) in [(false, ours, false), (true, ours, true), (false, TopologyHash(1), true)] {
        for instance in [Some("shop-0"), None] {
            let mut talk = Talk::of(instance);
            talk.connected();
            talk.joined(7);
            talk.synced_by(tasks(0..2), more, None, topology);
            assert_eq!(talk.join.is_some(), asks && instance.is_some(), "{more} {topology:?} {instance:?}");
            talk.joined(8);
            talk.synced_by(tasks(0..2), more, None, topology);
            assert!(talk.join.is_none(), "once");
        }
    }
}

#[test]
fn a_drain_that_comes_while_a_join_is_out_is_said_in_the_next_one() {
    let mut talk = Talk::stable(tasks(0..2));
    talk.wait(1_000);
    talk.beaten(27);
    talk.say(Input::Drain);
    talk.joined(2);
    talk.synced(tasks(0..4), false);
    assert_eq!(talk.events, [GroupEvent::Assigned { generation: 2, tasks: tasks(0..2), standbys: vec![] }], "it takes nothing up");
    assert!(talk.join.as_ref().unwrap().draining);
    // A leader of an older version knows nothing of it.
    talk.joined(3);
    talk.synced(tasks(0..4), false);
    assert_eq!(talk.events[1], GroupEvent::Assigned { generation: 3, tasks: vec![], standbys: vec![] });
}

#[test]
fn a_member_that_drains_before_it_has_joined_is_out_at_once_unless_it_holds_the_place_of_a_predecessor() {
    let mut talk = Talk::new();
    talk.say(Input::Drain);
    talk.connected();
    assert_eq!(talk.events, [GroupEvent::Left]);

    let mut talk = Talk::of(Some("shop-0"));
    talk.say(Input::Drain);
    talk.connected();
    talk.joined(7);
    talk.heard = Some(Heard { nonce: 3, portrait: 0 });
    talk.synced(tasks(0..2), false);
    assert!(talk.leaving, "or the group would wait for it for a session");
}

proptest! {
    /// What the leader says in one generation after the other, to members that do as they are told.
    #[test]
    fn nobody_who_drains_is_given_anything_and_the_others_soon_have_it_all(
        drains in prop::collection::vec(any::<bool>(), 1..6), owners in prop::collection::vec(0..6usize, 4),
    ) {
        let mut hands: Vec<Vec<TaskId>> = vec![Vec::new(); drains.len()];
        for (partition, owner) in (0..).zip(&owners) {
            hands[owner % drains.len()].push(task(partition));
        }
        for generation in 1..4 {
            let peer = |(index, active): (usize, &Vec<TaskId>)| {
                let (topology, draining) = (TopologyHash::of(&groups()), drains[index]);
                let said = Subscription { generation, active: active.clone(), topology, draining, ..Subscription::default() };
                Peer { id: index.to_string(), subscription: Some(said), partitions: vec![] }
            };
            let peers: Vec<Peer> = hands.iter().enumerate().map(peer).collect();
            for (id, told) in leader::plan("0", &peers, &groups()) {
                let index: usize = id.parse().unwrap();
                prop_assert!(!drains[index] || told.active.is_empty(), "{id} drains and is given {:?}", told.active);
                hands[index] = told.active;
            }
        }
        let given = hands.iter().flatten().count();
        prop_assert_eq!(given, if drains.contains(&false) { 4 } else { 0 });
    }
}

#[derive(Clone, Debug)]
enum Happens {
    Time(u64),
    Connected,
    Disconnected,
    Joined {
        generations: i32,
    },
    JoinRefused(i16),
    /// `heard`: what this process said, what another did, or untold.
    Synced {
        tasks: Vec<u32>,
        more: bool,
        heard: Option<bool>,
        topology: bool,
    },
    SyncRefused(i16),
    Heartbeat(i16),
    CommitRefused {
        generations_ago: i32,
        code: i16,
    },
    Released,
    Cold,
    Drain,
    End,
    LeaveAnswered(i16),
}

fn happens() -> impl Strategy<Value = Happens> {
    use Happens::*;
    let code = || prop::sample::select(vec![22i16, 25, 27, 15, 16, 79, -1, 82, 30]);
    let good = || prop_oneof![6 => Just(0i16), 2 => Just(27), 1 => code()];
    let some = prop::collection::btree_set(0..4u32, 0..5).prop_map(|tasks| tasks.into_iter().collect());
    prop_oneof![
        6 => (1..1_500u64).prop_map(Time),
        4 => Just(Connected),
        1 => Just(Disconnected),
        8 => (1..3i32).prop_map(|generations| Joined { generations }),
        1 => (-3..=0i32).prop_map(|generations| Joined { generations }),
        1 => code().prop_map(JoinRefused),
        8 => (some, any::<bool>(), any::<Option<bool>>(), prop::bool::weighted(0.9))
            .prop_map(|(tasks, more, heard, topology)| Synced { tasks, more, heard, topology }),
        1 => code().prop_map(SyncRefused),
        6 => good().prop_map(Heartbeat),
        2 => (0..3i32, prop::sample::select(vec![22i16, 25, 27])).prop_map(|(generations_ago, code)| CommitRefused { generations_ago, code }),
        3 => Just(Released),
        1 => (prop::bool::weighted(0.1), good()).prop_map(|(end, code)| if end { End } else { LeaveAnswered(code) }),
        1 => prop::bool::weighted(0.2).prop_map(|drain| if drain { Drain } else { Cold }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    /// What is checked at every step stands in `Talk`: one JoinGroup and one heartbeat out at most, no heartbeat before a sync, claims
    /// that are what is in hand, no older generation after a newer one, no lease after a loss, nothing after the end.
    #[test]
    fn whatever_happens_the_member_keeps_its_promises(instance: bool, story in prop::collection::vec(happens(), 0..120)) {
        let mut talk = Talk::of(instance.then_some("shop-0"));
        let mut generation = 10;
        for happens in story {
            let had = talk.assigned.is_some();
            match happens {
                Happens::Time(millis) => talk.wait(millis),
                Happens::Connected => talk.connected(),
                Happens::Disconnected => talk.disconnected(),
                Happens::Joined { generations } => {
                    generation += generations;
                    talk.joined(generation);
                }
                Happens::JoinRefused(code) => talk.join_refused(code),
                Happens::Synced { tasks: partitions, more, heard, topology } => {
                    let other = Heard { nonce: 3, portrait: 0 };
                    let heard = heard.map(|ours| if ours { talk.said.heard() } else { other });
                    let topology = if topology { TopologyHash::of(&groups()) } else { TopologyHash(1) };
                    talk.synced_by(tasks(partitions), more, heard, topology);
                }
                Happens::SyncRefused(code) => talk.sync_refused(code),
                Happens::Heartbeat(code) => {
                    let heard = talk.member.link == Link::Up && !talk.leaving;
                    let ours = heard && talk.heartbeat.as_ref().is_some_and(|by| by.member == talk.member.sender().member);
                    talk.beaten(code);
                    prop_assert!(!(had && ours && matches!(code, 25 | 82)) || talk.assigned.is_none(), "not lost");
                }
                Happens::CommitRefused { generations_ago, code } => {
                    let mut by = talk.member.sender().clone();
                    by.generation -= generations_ago;
                    talk.say(Input::CommitRefused { by, verdict: Verdict::of(code) });
                }
                Happens::Released => talk.released(),
                Happens::End => talk.say(Input::End),
                Happens::Cold => talk.say(Input::Cold),
                Happens::Drain => talk.say(Input::Drain),
                Happens::LeaveAnswered(code) => talk.left(code),
            }
        }
        // Left to a coordinator that works, it comes to rest with what it is given.
        for _ in 0..20 {
            talk.wait(BACK_OFF_AT_MOST);
            talk.connected();
            talk.beaten(0);
            generation += 10;
            talk.joined(generation);
            talk.synced(tasks(0..2), false);
            talk.released();
            talk.left(0);
        }
        prop_assert!(talk.ended || talk.member.view().joined && !talk.draining, "it neither works nor has left");
    }
}

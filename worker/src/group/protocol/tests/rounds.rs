use super::talk::{HEARTBEAT, HEARTBEAT_WHILE_MORE_COMES, SESSION, Talk, tasks};
use crate::group::protocol::*;

#[test]
fn what_is_taken_away_stays_claimed_until_it_is_released_and_then_the_member_joins_again() {
    let mut talk = Talk::stable(tasks(0..4));
    talk.wait(HEARTBEAT);
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
    talk.wait(HEARTBEAT);
    talk.beaten(27);
    talk.joined(2);
    talk.synced(tasks(0..2), true);
    talk.wait(HEARTBEAT_WHILE_MORE_COMES);
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
    talk.wait(HEARTBEAT);
    talk.beaten(27);
    talk.joined(2);
    talk.synced(tasks(0..3), true);
    let heard = talk.seq;
    talk.wait(HEARTBEAT_WHILE_MORE_COMES);
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
    talk.wait(HEARTBEAT);
    talk.beaten(27);
    let by = Sender { member: "m".into(), generation: 1 };
    talk.wait(HEARTBEAT);
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
        talk.wait(HEARTBEAT);
        talk.beaten(27);
        assert!(talk.now - talk.member.renewed <= 1 && talk.join.is_some());
        assert!(talk.member.view().joined, "what it has it goes on with");
    }
    assert!(talk.events.is_empty());
}

#[test]
fn a_generation_that_moved_on_without_us_is_a_loss() {
    let mut talk = Talk::stable(tasks(0..4));
    talk.wait(HEARTBEAT);
    talk.beaten(22);
    assert!(matches!(talk.events[..], [GroupEvent::Lost { .. }]));
    assert_eq!(talk.join.as_ref().unwrap().active, []);
}

/// It was stopped before its JoinGroup left, and woke when the others had gone on and begun the next one.
#[test]
fn a_member_that_missed_a_generation_has_lost_what_it_had() {
    let mut talk = Talk::stable(tasks(0..4));
    talk.wait(HEARTBEAT);
    talk.beaten(27);
    talk.wait(HEARTBEAT);
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
    talk.wait(HEARTBEAT);
    talk.disconnected();
    talk.wait(HEARTBEAT);
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

/// Its answer is not heard any more, for the connection that it was sent on is given up.
#[test]
fn a_heartbeat_that_was_out_when_the_membership_was_lost_is_not_waited_for() {
    let mut talk = Talk::stable(tasks(0..4));
    talk.wait(HEARTBEAT);
    talk.beaten(27);
    talk.joined(2);
    talk.wait(HEARTBEAT);
    let by = Sender { member: "m".into(), generation: 2 };
    talk.say(Input::CommitRefused { by, verdict: Verdict::of(25) });
    assert!(matches!(talk.events[..], [GroupEvent::Lost { .. }]));
    talk.connected();
    talk.joined(3);
    talk.synced(tasks(0..4), false);
    assert!(talk.heartbeat.is_none());
    talk.wait(HEARTBEAT);
    assert!(talk.heartbeat.is_some(), "or it would never hear that the group has gone on without it");
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
    talk.wait(HEARTBEAT);
    talk.beaten(82);
    assert!(matches!(talk.events[..], [GroupEvent::Lost { .. }, GroupEvent::Failed { .. }]));
}

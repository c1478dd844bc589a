use super::talk::{HEARTBEAT, SESSION, Talk, tasks};
use crate::group::protocol::link::BACK_OFF_AT_MOST;
use crate::group::protocol::*;
use crate::group::userdata::Heard;

#[test]
fn a_draining_member_works_until_its_tasks_are_taken_and_leaves_when_it_has_let_go() {
    let mut talk = Talk::stable(tasks(0..4));
    talk.say(Input::Drain { how: Drain::Leave });
    let said = talk.join.clone().unwrap();
    assert_eq!((said.drains, said.active), (Some(Drain::Leave), tasks(0..4)));
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
        talk.say(Input::Drain { how: Drain::Leave });
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
fn a_drain_that_comes_while_a_join_is_out_is_said_in_the_next_one() {
    let mut talk = Talk::stable(tasks(0..2));
    talk.wait(HEARTBEAT);
    talk.beaten(27);
    talk.say(Input::Drain { how: Drain::Leave });
    talk.joined(2);
    talk.synced(tasks(0..4), false);
    assert_eq!(talk.events, [GroupEvent::Assigned { generation: 2, tasks: tasks(0..2), standbys: vec![] }], "it takes nothing up");
    assert_eq!(talk.join.as_ref().unwrap().drains, Some(Drain::Leave));
    // A leader of an older version knows nothing of it.
    talk.old_leader = true;
    talk.joined(3);
    talk.synced(tasks(0..4), false);
    assert_eq!(talk.events[1], GroupEvent::Assigned { generation: 3, tasks: vec![], standbys: vec![] });
}

#[test]
fn a_member_that_drains_before_it_has_joined_is_out_at_once_unless_it_holds_the_place_of_a_predecessor() {
    let mut talk = Talk::new();
    talk.say(Input::Drain { how: Drain::Leave });
    talk.connected();
    assert_eq!(talk.events, [GroupEvent::Left]);

    let mut talk = Talk::of(Some("shop-0"));
    talk.say(Input::Drain { how: Drain::Leave });
    talk.connected();
    talk.joined(7);
    talk.heard = Some(Heard { nonce: 3, portrait: 0 });
    talk.synced(tasks(0..2), false);
    assert!(talk.leaving, "or the group would wait for it for a session");
}

#[test]
fn a_draining_member_goes_on_with_what_the_leader_leaves_it_until_others_have_copies() {
    let mut talk = Talk::stable(tasks(0..4));
    talk.say(Input::Drain { how: Drain::Leave });
    talk.joined(2);
    talk.synced(tasks(0..2), true);
    assert_eq!(talk.events, [GroupEvent::Assigned { generation: 2, tasks: tasks(0..2), standbys: vec![] }]);
    talk.released();
    talk.joined(3);
    talk.synced(vec![], true);
    talk.released();
    assert!(talk.leaving);
}

#[test]
fn a_member_that_has_handed_over_stays_and_may_still_be_told_to_leave() {
    let mut talk = Talk::stable(tasks(0..2));
    talk.say(Input::Drain { how: Drain::Handover });
    assert_eq!(talk.join.as_ref().unwrap().drains, Some(Drain::Handover));
    talk.joined(2);
    talk.keeps[0] = tasks(0..2);
    talk.synced(vec![], true);
    assert!(!talk.member.view().handed_over, "they are still in hand");
    talk.released();
    talk.joined(3);
    talk.synced(vec![], false);
    assert!(talk.member.view().handed_over && !talk.leaving);
    assert_eq!(talk.events.last(), Some(&GroupEvent::Assigned { generation: 3, tasks: vec![], standbys: tasks(0..2) }));
    talk.say(Input::Drain { how: Drain::Handover });
    assert!(talk.join.is_none(), "that is known");

    talk.say(Input::Drain { how: Drain::Leave });
    assert!(talk.leaving, "nothing is in hand");
    talk.left(0);
    assert_eq!(talk.events.last(), Some(&GroupEvent::Left));
}

#[test]
fn a_member_that_hands_over_is_not_told_to_stay_once_it_leaves() {
    let mut talk = Talk::stable(tasks(0..2));
    talk.say(Input::Drain { how: Drain::Leave });
    talk.joined(2);
    talk.synced(tasks(0..2), false);
    talk.say(Input::Drain { how: Drain::Handover });
    assert!(talk.join.is_none() && !talk.member.view().handed_over);
}

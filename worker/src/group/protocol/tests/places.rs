//! Members with a place of their own.

use super::talk::{HEARTBEAT, Talk, groups, tasks};
use crate::group::protocol::*;
use crate::group::userdata::Heard;

#[test]
fn a_static_member_that_comes_back_as_it_was_asks_for_nothing() {
    let mut predecessor = Talk::of(Some("shop-0"));
    predecessor.connected();
    let portrait = predecessor.said.portrait();
    let mut talk = Talk::back(tasks(0..2), false, Heard { nonce: 3, portrait });
    assert_eq!(talk.events, [GroupEvent::Assigned { generation: 7, tasks: tasks(0..2), standbys: vec![] }]);
    assert!(talk.join.is_none());
    talk.wait(HEARTBEAT);
    talk.beaten(0);
    assert!(talk.join.is_none());
}

#[test]
fn a_static_member_that_comes_back_with_news_asks_for_one_rebalance() {
    let mut predecessor = Talk::of(Some("shop-0"));
    predecessor.connected();
    let as_it_was = Heard { nonce: 3, portrait: predecessor.said.portrait() };
    let drained = Subscription { drains: Some(Drain::Leave), ..predecessor.said.clone() };
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
    talk.wait(HEARTBEAT);
    talk.beaten(82);
    let [.., GroupEvent::Lost { .. }, GroupEvent::Failed { reason }] = &talk.events[..] else { panic!("{:?}", talk.events) };
    assert!(reason.contains("instance id `shop-0`"), "{reason}");
    assert!(talk.member.ended());
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

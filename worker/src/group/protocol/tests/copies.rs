//! What is said of copies, and when.

use super::talk::{HEARTBEAT, SESSION, Talk, task, tasks};
use crate::group::protocol::*;
use crate::group::userdata::Heard;

const WHOLE: u64 = 1_000_000;

fn copies(lags: &[(u32, u64)]) -> Input {
    Input::Copies { lags: lags.iter().map(|(partition, lag)| (task(*partition), *lag)).collect() }
}

/// With these copies from the start, in generation 1, and two tasks of its own.
fn stable(lags: &[(u32, u64)], standbys: Vec<TaskId>, warmups: Vec<TaskId>) -> Talk {
    let mut talk = Talk::new();
    talk.say(copies(lags));
    talk.connected();
    talk.joined(1);
    talk.keeps = [standbys, warmups];
    talk.synced(tasks(0..2), false);
    talk.events.clear();
    talk
}

#[test]
fn a_member_says_how_far_its_copies_are_and_which_it_keeps() {
    let mut talk = stable(&[(3, 7), (0, 0), (9, 1)], tasks(2..3), tasks(3..4));
    assert_eq!(talk.said.copies, Some(vec![(task(0), Lag(0)), (task(3), Lag(7))]), "there is no task 9");
    talk.say(copies(&[(0, 0), (2, WHOLE), (3, 100)]));
    talk.wait(HEARTBEAT);
    talk.beaten(27);
    assert_eq!((&talk.said.standby, &talk.said.warmups), (&tasks(2..3), &tasks(3..4)));
    assert_eq!(talk.said.copies, Some(vec![(task(0), Lag(0)), (task(2), Lag::of(WHOLE)), (task(3), Lag::of(100))]));
}

#[test]
fn a_warm_up_that_has_caught_up_is_said_once_and_a_standby_never() {
    let mut talk = stable(&[(2, 100), (3, 100)], tasks(2..3), tasks(3..4));
    let nonce = talk.said.nonce;
    for standby in [50, 0, 1_000, 0] {
        talk.say(copies(&[(2, standby), (3, 50)]));
        assert!(talk.join.is_none());
    }
    talk.say(copies(&[(2, 0), (3, 8)]));
    assert_eq!(talk.join.as_ref().unwrap().nonce, nonce + 1);
    talk.joined(2);
    talk.synced(tasks(0..2), false);
    for lag in [0, 9, 0] {
        talk.say(copies(&[(2, 0), (3, lag)]));
        assert!(talk.join.is_none(), "the leader knows, and has its reasons");
    }
    talk.wait(HEARTBEAT);
    talk.beaten(27);
    talk.say(copies(&[(3, 500)]));
    assert_eq!(
        talk.join.as_ref().unwrap().copies,
        Some(vec![(task(2), Lag(0)), (task(3), Lag(0))]),
        "as it was when it began to join"
    );
    talk.disconnected();
    talk.wait(SESSION / 2);
    talk.connected();
    assert_eq!(
        talk.join.as_ref().unwrap().copies,
        Some(vec![(task(2), Lag(0)), (task(3), Lag(0))]),
        "and in the same breath again"
    );
}

#[test]
fn a_warm_up_that_catches_up_while_a_join_is_out_is_said_in_the_next_one() {
    let mut talk = stable(&[(3, 100)], vec![], tasks(3..4));
    talk.wait(HEARTBEAT);
    talk.beaten(27);
    talk.say(copies(&[(3, 0)]));
    talk.joined(2);
    talk.synced(tasks(0..2), false);
    assert_eq!(talk.join.as_ref().unwrap().copies, Some(vec![(task(3), Lag(0))]));
}

#[test]
fn a_member_that_begins_to_keep_copies_lets_the_group_know() {
    let mut talk = Talk::stable(tasks(0..2));
    talk.say(copies(&[]));
    assert_eq!(talk.join.as_ref().unwrap().copies, Some(vec![]));
    talk.joined(2);
    talk.synced(tasks(0..2), false);
    talk.say(copies(&[(0, 0)]));
    assert!(talk.join.is_none());
}

/// A static member that comes back in generation 7 with this on its disk.
fn back(lags: &[(u32, u64)]) -> Talk {
    let mut talk = Talk::of(Some("shop-0"));
    talk.say(copies(lags));
    talk.connected();
    let portrait = talk.said.portrait();
    talk.joined(7);
    talk.heard = Some(Heard { nonce: 3, portrait });
    talk.synced(tasks(0..2), false);
    talk.heard = None;
    talk
}

#[test]
fn a_static_member_that_comes_back_with_its_stores_asks_for_nothing_however_often_a_little_is_missing() {
    let mut talk = back(&[(0, 0), (1, 8)]);
    for _ in 0..2 {
        talk.say(Input::Cold);
        talk.say(copies(&[(0, 0), (1, 5)]));
    }
    assert!(talk.join.is_none());
    assert_eq!(talk.events, [GroupEvent::Assigned { generation: 7, tasks: tasks(0..2), standbys: vec![] }]);
}

#[test]
fn a_static_member_that_comes_back_without_its_stores_gives_its_tasks_back_in_one_rebalance() {
    let given = |generation, tasks| GroupEvent::Assigned { generation, tasks, standbys: vec![] };
    // What it lacks is known before it joins.
    let talk = back(&[(0, 0), (1, WHOLE)]);
    assert_eq!(talk.events, [given(7, tasks(0..1))], "it doesn't even begin");
    assert_eq!((talk.join.as_ref().unwrap().active.clone(), talk.said.nonce), (tasks(0..1), 1_001));

    // Or only when the stores are opened.
    let mut talk = back(&[]);
    assert_eq!(talk.events, [given(7, tasks(0..2))]);
    talk.say(Input::Cold);
    talk.say(Input::Cold);
    assert_eq!(talk.events[1..], [given(7, vec![])]);
    assert!(talk.join.is_none(), "not before the worker has let go");
    talk.released();
    let said = talk.join.clone().unwrap();
    assert_eq!((said.active, said.nonce), (vec![], 1_001));
    talk.joined(8);
    talk.keeps[1] = tasks(0..2);
    talk.synced(vec![], false);
    talk.say(Input::Cold);
    talk.say(copies(&[(0, WHOLE), (1, WHOLE)]));
    assert!(talk.join.is_none(), "exactly one");
}

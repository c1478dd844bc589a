//! How long a plan takes for a large group: when a member joins, when one dies, and from nothing.

use super::cluster::group;
use crate::group::assignor::{Member, Plan, Policy, Share, assign};
use crate::group::lag::Lag;
use crate::rt;

const MEMBERS: usize = 1_000;
const PARTITIONS: [u32; 3] = [6_000, 3_000, 1_000];
const ROUNDS: usize = 9;

#[test]
#[ignore = "it measures, see `make bench`"]
fn how_long_a_plan_takes() {
    let groups = PARTITIONS.map(|partitions| group(partitions, 1));
    let policy = Policy { recovery_lag: Lag::of(10_000), max_warmups: 2 };
    let plan = |members: &[Member]| {
        let begin = rt::now();
        let plan = assign(members, &groups, policy);
        (begin.elapsed().as_secs_f64() * 1e3, plan)
    };
    let fresh: Vec<Member> = (0..MEMBERS).map(member).collect();
    let settled = followed(&fresh, &plan(&fresh).1);
    let joined: Vec<Member> = settled.iter().cloned().chain([member(MEMBERS)]).collect();
    let died = settled[1..].to_vec();
    let partitions: u32 = PARTITIONS.iter().sum();
    println!("{MEMBERS} members, {partitions} partitions with one standby each, in milliseconds (best and median of {ROUNDS}):");
    for (what, members) in
        [("from nothing", fresh), ("nothing happened", settled), ("a member joins", joined), ("a member dies", died)]
    {
        let mut took: Vec<f64> = (0..ROUNDS).map(|_| plan(&members).0).collect();
        took.sort_by(f64::total_cmp);
        println!("{what:>20} {:8.1} {:8.1}", took[0], took[ROUNDS / 2]);
    }
}

fn member(index: usize) -> Member {
    Member {
        id: format!("app-{index:04}-{}", "0".repeat(36)),
        serves: vec![true; PARTITIONS.len()],
        copies: Some(Vec::new()),
        zone: format!("zone-{}", index % 3),
        node: format!("node-{}", index / 4),
        ..Member::default()
    }
}

/// The members when they have done what the plan says and all their copies have caught up.
fn followed(members: &[Member], plan: &Plan) -> Vec<Member> {
    let followed = |(member, share): (&Member, &Share)| {
        let mut copies: Vec<_> = share.active.iter().chain(&share.standbys).map(|task| (*task, Lag::of(0))).collect();
        copies.sort();
        let (owned, standbys) = (share.active.clone(), share.standbys.clone());
        Member { owned, standbys, copies: Some(copies), generation: 1, ..member.clone() }
    };
    members.iter().zip(&plan.shares).map(followed).collect()
}

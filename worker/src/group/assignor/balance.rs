//! How many tasks of each co-partition group each member gets.
//!
//! In each group every member gets the floor of the mean, and some get one more. Who gets those extras is free as long as the
//! members' totals stay within one of each other, so they go where they save most moves: to members that have more than the floor
//! already. That is a flow of least cost; it is found by giving each group's extras where they save most, and then passing extras on
//! along the cheapest chains from members that have too many to members that have too few.

/// A cost above every sum of moves.
const UNBALANCED: i64 = 1 << 40;

/// The quotas `[group][member]`, from what the members have now and how many tasks each group has.
pub(super) fn quotas(have: &[Vec<usize>], sizes: &[usize]) -> Vec<Vec<usize>> {
    let members = have.first().map_or(0, Vec::len);
    if members == 0 {
        return vec![Vec::new(); sizes.len()];
    }
    let mut extras = Extras::new(have, sizes, members);
    while extras.pass_on() {}
    let quota = |(has, size): (Vec<bool>, &usize)| has.into_iter().map(|extra| size / members + usize::from(extra)).collect();
    extras.has.into_iter().zip(sizes).map(quota).collect()
}

/// Which member has one task more than the floor, in which group.
struct Extras {
    has: Vec<Vec<bool>>,
    /// Where an extra saves a move: the member has more than the floor now.
    saves: Vec<Vec<bool>>,
    /// Extras of each member over all groups.
    totals: Vec<usize>,
    /// What each member has at least when totals are balanced.
    floor: usize,
}

impl Extras {
    fn new(have: &[Vec<usize>], sizes: &[usize], members: usize) -> Self {
        let saves: Vec<Vec<bool>> =
            have.iter().zip(sizes).map(|(have, size)| have.iter().map(|&count| count > size / members).collect()).collect();
        let mut has = vec![vec![false; members]; sizes.len()];
        let mut totals = vec![0; members];
        for (group, size) in sizes.iter().enumerate() {
            let mut order: Vec<usize> = (0..members).collect();
            order.sort_by_key(|&member| (!saves[group][member], totals[member], member));
            for &member in &order[..size % members] {
                has[group][member] = true;
                totals[member] += 1;
            }
        }
        let floor = totals.iter().sum::<usize>() / members;
        Self { has, saves, totals, floor }
    }

    /// Passes one extra along the cheapest chain that improves the balance; false when nothing does.
    ///
    /// Shortest paths after Bellman and Ford, because a step may cost less than nothing; a chain visits a group at most once, so a few
    /// rounds do. Always taking the cheapest chain keeps the sum of moves at its least.
    fn pass_on(&mut self) -> bool {
        let mut member_cost: Vec<i64> = self.totals.iter().map(|&total| -self.cost_of(total)).collect();
        let mut group_cost = vec![i64::MAX; self.has.len()];
        let mut taken_from = vec![0; self.has.len()];
        let mut got_in: Vec<Option<usize>> = vec![None; self.totals.len()];
        let mut changed = true;
        while changed {
            changed = false;
            for (group, has) in self.has.iter().enumerate() {
                for member in (0..has.len()).filter(|&member| has[member]) {
                    let cost = member_cost[member] + i64::from(self.saves[group][member]);
                    if cost < group_cost[group] {
                        (group_cost[group], taken_from[group], changed) = (cost, member, true);
                    }
                }
                if group_cost[group] == i64::MAX {
                    continue;
                }
                for member in (0..has.len()).filter(|&member| !has[member]) {
                    let cost = group_cost[group] - i64::from(self.saves[group][member]);
                    if cost < member_cost[member] {
                        (member_cost[member], got_in[member], changed) = (cost, Some(group), true);
                    }
                }
            }
        }
        let full_cost = |member: usize| member_cost[member] + self.cost_of(self.totals[member] + 1);
        let Some(end) = (0..self.totals.len()).min_by_key(|&member| full_cost(member)).filter(|&member| full_cost(member) < 0)
        else {
            return false;
        };
        let mut member = end;
        self.totals[end] += 1;
        while let Some(group) = got_in[member] {
            self.has[group][member] = true;
            member = taken_from[group];
            self.has[group][member] = false;
        }
        self.totals[member] -= 1;
        true
    }

    /// What a member's extra number `nth` costs: the first ones are due, the next may be, more are too many.
    fn cost_of(&self, nth: usize) -> i64 {
        match nth.cmp(&(self.floor + 1)) {
            std::cmp::Ordering::Less => -UNBALANCED,
            std::cmp::Ordering::Equal => 0,
            std::cmp::Ordering::Greater => UNBALANCED,
        }
    }
}

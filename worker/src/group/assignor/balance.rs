//! How many tasks of each co-partition group each member gets.
//!
//! In each group every member that can own its tasks gets the floor of the mean, and some get one more. Who gets those extras is free,
//! so they go where they balance the members' totals over all groups, and among those where they save most moves: to members that have
//! more than the floor already. That is a flow of least cost; it is found by giving each group's extras where they save most, and then
//! passing extras on along the cheapest chains from members that have too many to members that have too few.

/// Dearer than every sum of moves.
const UNBALANCED: i64 = 1 << 20;

/// The quotas `[group][member]`, from what the members have now, who can own tasks of each group (sorted), and how many there are.
pub(super) fn quotas(have: &[Vec<usize>], owners: &[Vec<usize>], sizes: &[usize]) -> Vec<Vec<usize>> {
    let members = have.first().map_or(0, Vec::len);
    let mut quotas = vec![vec![0; members]; sizes.len()];
    for (quotas, (owners, size)) in quotas.iter_mut().zip(owners.iter().zip(sizes)) {
        owners.iter().for_each(|&member| quotas[member] = size / owners.len());
    }
    let mut extras = Extras::new(have, owners, sizes, &quotas);
    while extras.pass_on() {}
    for (quotas, has) in quotas.iter_mut().zip(extras.has) {
        quotas.iter_mut().zip(has).for_each(|(quota, extra)| *quota += usize::from(extra));
    }
    quotas
}

/// Which member has one task more than the floor, in which group.
struct Extras<'a> {
    owners: &'a [Vec<usize>],
    has: Vec<Vec<bool>>,
    /// Where an extra saves a move: the member has more than the floor now.
    saves: Vec<Vec<bool>>,
    /// Tasks of each member over all groups, floors and extras.
    totals: Vec<usize>,
}

impl<'a> Extras<'a> {
    fn new(have: &[Vec<usize>], owners: &'a [Vec<usize>], sizes: &[usize], floors: &[Vec<usize>]) -> Self {
        let members = have.first().map_or(0, Vec::len);
        let saves: Vec<Vec<bool>> = have
            .iter()
            .zip(floors)
            .map(|(have, floors)| have.iter().zip(floors).map(|(have, floor)| have > floor).collect())
            .collect();
        let mut has = vec![vec![false; members]; sizes.len()];
        let mut totals: Vec<usize> = (0..members).map(|member| floors.iter().map(|floors| floors[member]).sum()).collect();
        for (group, size) in sizes.iter().enumerate() {
            let mut order = owners[group].clone();
            order.sort_by_key(|&member| (!saves[group][member], totals[member], member));
            for &member in order.iter().take(size.checked_rem(order.len()).unwrap_or(0)) {
                has[group][member] = true;
                totals[member] += 1;
            }
        }
        Self { owners, has, saves, totals }
    }

    /// Passes one extra along the cheapest chain that improves the balance; false when nothing does.
    ///
    /// Shortest paths after Bellman and Ford, because a step may cost less than nothing; a chain visits a group at most once, so a few
    /// rounds do. Always taking the cheapest chain keeps the sum of moves at its least. Each one makes the sum of the totals' squares
    /// smaller, so there is a last one.
    fn pass_on(&mut self) -> bool {
        let mut member_cost: Vec<i64> = self.totals.iter().map(|&total| -cost_of(total)).collect();
        let mut group_cost = vec![i64::MAX; self.has.len()];
        let mut taken_from = vec![0; self.has.len()];
        let mut got_in: Vec<Option<usize>> = vec![None; self.totals.len()];
        let mut changed = true;
        while changed {
            changed = false;
            for (group, has) in self.has.iter().enumerate() {
                for &member in self.owners[group].iter().filter(|&&member| has[member]) {
                    let cost = member_cost[member] + i64::from(self.saves[group][member]);
                    if cost < group_cost[group] {
                        (group_cost[group], taken_from[group], changed) = (cost, member, true);
                    }
                }
                if group_cost[group] == i64::MAX {
                    continue;
                }
                for &member in self.owners[group].iter().filter(|&&member| !has[member]) {
                    let cost = group_cost[group] - i64::from(self.saves[group][member]);
                    if cost < member_cost[member] {
                        (member_cost[member], got_in[member], changed) = (cost, Some(group), true);
                    }
                }
            }
        }
        let full_cost = |member: usize| member_cost[member] + cost_of(self.totals[member] + 1);
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
}

/// What a member's task number `nth` costs: the more a member has, the dearer the next.
fn cost_of(nth: usize) -> i64 {
    nth as i64 * UNBALANCED
}

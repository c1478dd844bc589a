//! One round of the protocol: a member says what it has, and is told what it gets.

use super::{
    Action, Assignment, Drain, EXPIRED, GroupHash, Held, Joined, LEFT_BEHIND, Link, Protocol, Rejected, Sender, Step, Subscription,
    TaskId, Verdict, leader,
};

impl Protocol {
    pub(super) fn join(&mut self) {
        self.step = Step::Join;
        if self.link != Link::Up {
            return;
        }
        let hand = self.in_hand();
        if self.drains == Some(Drain::Leave) && hand.is_empty() && !self.may_have_inherited() {
            return self.farewell();
        }
        let copies = self.frozen.clone().unwrap_or_else(|| self.stock(&hand));
        self.frozen = Some(copies.clone());
        let (standby, warmups) =
            self.held.as_ref().map(|held| (held.assignment.standby.clone(), held.assignment.warmups.clone())).unwrap_or_default();
        let subscription = Subscription {
            process: self.identity.process.clone(),
            nonce: self.nonce,
            endpoint: self.identity.endpoint.clone(),
            zone: self.identity.zone.clone(),
            node: self.identity.node.clone(),
            generation: self.held.as_ref().map_or(-1, |held| held.generation),
            active: hand,
            standby,
            warmups,
            copies,
            topology: self.topology,
            groups: self.identity.groups.iter().map(GroupHash::of).collect(),
            drains: self.drains,
        };
        self.said = subscription.clone();
        self.actions.push(Action::Join { member: self.me.member.clone(), subscription });
    }

    /// Assigned, or taken away and not yet released; sorted.
    pub(super) fn in_hand(&self) -> Vec<TaskId> {
        let held = self.held.iter().flat_map(|held| &held.assignment.active);
        let pending = self.pending.iter().filter(|_| !mutant!("not in hand while it drains"));
        let mut tasks: Vec<TaskId> = held.chain(pending.map(|(task, _)| task)).copied().collect();
        tasks.sort();
        tasks
    }

    /// Whether the group may still count a predecessor of this process in, whose place and tasks it gets when it joins.
    fn may_have_inherited(&self) -> bool {
        self.identity.instance.is_some() && self.me.member.is_empty() && self.losses == 0
    }

    /// It renews nothing: the coordinator answers a JoinGroup that it had answered before without renewing the session.
    pub(super) fn joined(&mut self, joined: Joined) {
        if self.step != Step::Join {
            return;
        }
        self.failures = 0;
        if self.held.as_ref().is_some_and(|held| joined.generation < held.generation) {
            self.drop_membership("the group's generation went back: the coordinator has lost its state");
        }
        // A static member that is silent stays in the group, and what it has been given since it last joined is not in what it said then:
        // the leader has given that away.
        if self.held.is_some() && joined.generation > self.me.generation + 1 {
            self.drop_membership(LEFT_BEHIND);
        }
        self.leader = joined.leader == joined.member;
        self.me = Sender { member: joined.member, generation: joined.generation };
        self.step = Step::Sync;
        let assignments = match self.leader && !joined.skip_assignment {
            true => leader::plan(&self.me.member, &joined.peers, &self.identity.groups, self.identity.policy),
            false => Vec::new(),
        };
        self.actions.push(Action::Sync { by: self.me.clone(), assignments });
    }

    pub(super) fn join_rejected(&mut self, now: u64, rejected: Rejected) {
        if self.step != Step::Join {
            return;
        }
        match rejected.verdict {
            Verdict::TakeId => {
                self.me.member = rejected.member;
                self.join();
            }
            Verdict::Rebalance => self.disconnected(now, "the coordinator answers a join with a rebalance"),
            verdict => self.turned_away(now, verdict),
        }
    }

    /// The answer to a JoinGroup or SyncGroup was no, and nothing else is out.
    pub(super) fn turned_away(&mut self, now: u64, verdict: Verdict) {
        match verdict {
            Verdict::UnknownMember => {
                self.drop_membership(EXPIRED);
                self.me.member.clear();
                self.join();
            }
            Verdict::OtherGeneration => {
                self.drop_membership(LEFT_BEHIND);
                self.join();
            }
            Verdict::Fenced => self.fenced(),
            Verdict::Refused(why) => self.refused(why),
            Verdict::Moved(why) | Verdict::Retry(why) => self.disconnected(now, why),
            Verdict::Rebalance | Verdict::TakeId | Verdict::Ok => self.join(),
        }
    }

    pub(super) fn synced(&mut self, now: u64, sent: u64, assignment: Assignment) {
        self.renew(sent);
        self.failures = 0;
        self.rebalances += 1;
        self.seq += 1;
        self.frozen = None;
        let assignment = self.acceptable(assignment);
        let gone = |task: &TaskId| assignment.active.binary_search(task).is_err();
        let taken = |task: TaskId| (task, self.pending.iter().find(|(other, _)| *other == task).map_or(self.seq, |(_, seq)| *seq));
        let hand = self.in_hand();
        let pending = hand.iter().copied().filter(gone).map(taken).collect();
        let released_meanwhile = self.said.active.iter().any(gone);
        let said = self.said.heard();
        // A leader of an older version doesn't tell what it has heard; that it has heard nothing is possible only at first.
        let untold = assignment.heard.is_none() && self.rebalances == 1 && self.identity.instance.is_some();
        let unheard = assignment.heard.filter(|heard| heard.nonce != said.nonce);
        let is_another = unheard.is_some_and(|heard| heard.portrait != said.portrait) || assignment.topology != self.topology;
        self.unheard = unheard.is_some() || untold;
        // Whatever is more to come may wait for the predecessor, who can't release any more.
        let is_news = self.unheard && (is_another || assignment.more);
        self.pending = pending;
        self.held = Some(Held { generation: self.me.generation, assignment });
        self.step = Step::Stable;
        self.heartbeat.due = now + self.interval();
        let cold = self.inherited_cold(false);
        if let Some(held) = &mut self.held {
            // Not even taken up, if the worker hasn't got it yet.
            held.assignment.active.retain(|task| !cold.contains(task));
            self.pending.extend(cold.iter().filter(|task| hand.contains(task)).map(|task| (*task, self.seq)));
        }
        self.emit_assigned();
        if self.drains == Some(Drain::Leave) && self.in_hand().is_empty() {
            self.farewell();
        } else if is_news || self.drains != self.said.drains || (released_meanwhile || !cold.is_empty()) && self.pending.is_empty()
        {
            self.want_rebalance();
        } else {
            self.tell_of_copies();
        }
    }

    /// An assignment without what this member can't mean or doesn't want.
    fn acceptable(&self, mut assignment: Assignment) -> Assignment {
        if assignment.topology != self.topology {
            assignment.active.clear();
            assignment.standby.clear();
            assignment.warmups.clear();
        }
        // What a leader of an older version leaves with one that drains, it has nobody else for.
        let told_to_finish = self.drains == Some(Drain::Leave) && self.said.drains == self.drains && !assignment.knows_copies();
        if told_to_finish {
            assignment.active.clear();
        }
        // It takes nothing up any more; one that hands over does when there is nobody else.
        if self.drains == Some(Drain::Leave) || self.drains != self.said.drains {
            let hand = self.in_hand();
            assignment.active.retain(|task| hand.binary_search(task).is_ok());
        }
        assignment
    }

    pub(super) fn released(&mut self, seq: u64) {
        let had = self.pending.len();
        self.pending.retain(|(_, taken)| *taken > seq);
        if had > 0 && self.pending.is_empty() && self.step == Step::Stable {
            self.want_rebalance();
        }
    }

    pub(super) fn want_rebalance(&mut self) {
        self.nonce += 1;
        self.unheard = false;
        self.frozen = None;
        self.join();
    }
}

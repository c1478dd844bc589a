//! The member's task: carries out what the state machine wants, and tells it what comes of that.

use std::sync::Arc;
use std::time::Duration;

use faust_wire::Error;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;

use super::board::Chalk;
use super::line::{Link, Way};
use super::requests::Asking;
use super::shared::{Now, Shared};
use crate::group::MemberView;
use crate::group::protocol::{Action, Input, Protocol};
use crate::rt;

/// Something that the worker says, or that came of an offset commit.
pub(super) struct Said {
    /// The connection that it is about; of an older one it doesn't count any more.
    pub link: Option<u64>,
    pub input: Input,
}

pub(super) struct Actor {
    protocol: Protocol,
    way: Arc<dyn Way>,
    asking: Arc<Asking>,
    shared: Arc<Shared>,
    now: Chalk<Now>,
    said: mpsc::UnboundedReceiver<Said>,
    link: Option<Link>,
    links: u64,
    /// What is asked and not answered. Dropped with the link over which it was asked.
    asked: FuturesUnordered<BoxFuture<'static, Answer>>,
}

enum Answer {
    Linked(Link),
    Input(Input),
}

impl Actor {
    pub fn new(
        protocol: Protocol,
        way: Arc<dyn Way>,
        asking: Arc<Asking>,
        shared: Arc<Shared>,
        now: Chalk<Now>,
        said: mpsc::UnboundedReceiver<Said>,
    ) -> Self {
        Self { protocol, way, asking, shared, now, said, link: None, links: 0, asked: FuturesUnordered::new() }
    }

    /// Until the member has left, was refused, or nobody holds it any more.
    pub async fn run(mut self) {
        let mut input = Some(Input::Tick);
        loop {
            if let Some(input) = input.take() {
                for action in self.protocol.step(rt::uptime_millis(), input) {
                    self.perform(action);
                }
                self.publish();
            }
            if self.protocol.ended() {
                return;
            }
            let due =
                Duration::from_millis(self.protocol.deadline().map_or(u64::MAX, |due| due.saturating_sub(rt::uptime_millis())));
            input = tokio::select! {
                biased;
                said = self.said.recv() => match said {
                    None => return,
                    Some(Said { link, input }) => Some(input).filter(|_| link.is_none_or(|link| link == self.links)),
                },
                Some(answer) = self.asked.next() => Some(self.answered(answer)),
                () = tokio::time::sleep(due) => Some(Input::Tick),
            };
        }
    }

    fn answered(&mut self, answer: Answer) -> Input {
        match answer {
            Answer::Input(input) => input,
            Answer::Linked(link) => {
                self.link = Some(link);
                Input::Connected
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Connect => self.connect(),
            Action::Join { member, subscription } => {
                self.ask(|asking, link| async move { asking.join(&*link.joins, member, &subscription).await });
            }
            Action::Sync { by, assignments } => {
                self.ask(|asking, link| async move { asking.sync(&*link.joins, by, &assignments).await });
            }
            Action::Heartbeat { by } => self.ask(|asking, link| async move { asking.heartbeat(&*link.other, by).await }),
            Action::Leave { member } => self.ask(|asking, link| async move { asking.leave(&*link.other, member).await }),
            Action::Renew { sent } => self.shared.renew(sent, self.protocol.losses()),
            Action::EndLease => self.shared.end_lease(),
            Action::Emit { seq, event } => {
                tracing::debug!(?event, "group");
                self.shared.tell(seq, self.protocol.losses(), event);
            }
        }
    }

    fn connect(&mut self) {
        self.link = None;
        self.links += 1;
        self.asked = FuturesUnordered::new();
        let link = self.way.link(&self.asking.group_id);
        self.asked.push(Box::pin(async { link.await.map_or_else(|error| Answer::Input(failed(&error)), Answer::Linked) }));
    }

    fn ask<F>(&mut self, request: impl FnOnce(Arc<Asking>, Link) -> F)
    where
        F: Future<Output = Result<Input, Error>> + Send + 'static,
    {
        let Some(link) = self.link.clone() else { return };
        let request = request(self.asking.clone(), link);
        self.asked.push(Box::pin(async { Answer::Input(request.await.unwrap_or_else(|error| failed(&error))) }));
    }

    fn publish(&self) {
        let view = self.protocol.view();
        tell_of_leader(&self.asking.group_id, &self.now.read().view, &view);
        let commits = self.link.as_ref().filter(|_| self.protocol.may_commit()).map(|link| link.other.clone());
        self.now.write(Now {
            commits,
            link: self.links,
            sender: self.protocol.sender().clone(),
            seq: self.protocol.seq(),
            losses: self.protocol.losses(),
            view,
            ended: self.protocol.ended(),
        });
    }
}

/// Leadership is of a generation: what the leader does on behalf of the app, it does in that generation's name.
fn tell_of_leader(group: &str, was: &MemberView, is: &MemberView) {
    let generation = is.generation;
    match (was.leader, is.leader) {
        (false, true) => tracing::info!("leads group `{group}` from generation {generation} on"),
        (true, false) => tracing::info!("doesn't lead group `{group}` any more, as of generation {generation}"),
        _ => {}
    }
    if !is.leader && !is.leader_member.is_empty() && was.leader_member != is.leader_member {
        tracing::info!("group `{group}` is led by {} from generation {generation} on", is.leader_member);
    }
}

/// What a request without an answer, or a coordinator that can't be found, means to the member.
pub(super) fn failed(error: &Error) -> Input {
    let reason = error.to_string();
    match error {
        error if error.is_refusal() => Input::Refused { reason },
        Error::Unsupported { .. } => Input::Refused { reason },
        _ => Input::Disconnected { reason },
    }
}

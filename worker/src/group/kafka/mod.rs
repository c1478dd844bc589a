//! Membership in a group on Kafka, in the classic protocol, over connections of our own.

use std::sync::Arc;
use std::time::Duration;

use faust_wire::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use self::actor::{Actor, Said};
use self::board::board;
use self::directory::Directory;
pub(crate) use self::line::Way;
use self::requests::{Asking, Committed};
use self::shared::{Now, Shared};
use super::assignor::Policy;
use super::lag::Lag;
use super::protocol::{Identity, Input, Protocol, Sender, Verdict};
use super::{Drain, GroupError, GroupEvent, Lease, MemberView, Membership, Places};
use crate::log::BoxFuture;
use crate::rt::{self, Spawner};
use crate::time::TopicPartition;
use crate::topology::{Groups, TaskId};

mod actor;
mod board;
mod consumer;
mod directory;
#[cfg(test)]
mod fake;
pub(crate) mod line;
#[cfg(test)]
mod on_kafka;
#[cfg(test)]
mod on_kafka_copies;
mod requests;
mod shared;
#[cfg(test)]
mod tests;

/// Between two tries of what Kafka can't answer yet.
const PAUSE: Duration = Duration::from_millis(100);

/// What a member is and how long it waits.
pub(crate) struct GroupSettings {
    pub group_id: String,
    pub way: Arc<dyn Way>,
    /// With the partition counts that Kafka has now; they stay for the member's life.
    pub groups: Groups,
    pub session_timeout: Duration,
    /// How long a rebalance waits for a member to join.
    pub rebalance_timeout: Duration,
    /// How long a record that is produced may take to land (`message.timeout.ms`).
    pub margin: Duration,
    /// The name of a static member (`group.instance.id`), whose place in the group outlives the process.
    pub instance: Option<String>,
    /// Where other workers reach this one, as `host:port`; empty when they can't.
    pub endpoint: String,
    /// Availability zone and machine; empty when unknown.
    pub zone: String,
    pub node: String,
    /// Changelog records that a copy may lack and has caught up all the same.
    pub recovery_lag: u64,
    /// Copies that are made at a time for the sake of moving tasks.
    pub max_warmups: usize,
}

/// One member. It lives until it [ends](Membership::end), has drained or is dropped; dropped, it just falls silent, as a process does
/// that is killed.
pub(crate) struct KafkaGroup {
    asking: Arc<Asking>,
    way: Arc<dyn Way>,
    shared: Arc<Shared>,
    said: mpsc::UnboundedSender<Said>,
    /// Where the member's task runs: connections that are made belong there, not to whoever calls.
    control: Spawner,
    directory: Arc<Directory>,
}

/// A commit, bound to what the member was when it was begun.
struct Commit {
    offsets: Vec<(TopicPartition, i64)>,
    /// The losses that the worker had done with: after others its work is of a lost membership.
    losses: u64,
    by: Sender,
    until: Instant,
}

impl KafkaGroup {
    /// Starts to join, on the runtime it is called on.
    pub fn start(settings: GroupSettings) -> Arc<Self> {
        let GroupSettings { group_id, way, groups, session_timeout, rebalance_timeout, instance, .. } = settings;
        let identity = Identity {
            group_id: group_id.clone(),
            groups: groups.clone(),
            session: session_timeout.as_millis() as u64,
            process: instance.clone().unwrap_or_else(rt::random_id),
            nonce: rt::wall_millis() as u64,
            instance: instance.clone(),
            endpoint: settings.endpoint,
            zone: settings.zone,
            node: settings.node,
            policy: Policy { recovery_lag: Lag::of(settings.recovery_lag), max_warmups: settings.max_warmups },
        };
        let protocol = Protocol::new(identity);
        let (now, watched) = board(Now { view: protocol.view(), ..Now::default() });
        let shared = Arc::new(Shared::new(Lease::new(session_timeout, settings.margin), watched));
        let asking = Arc::new(Asking { group_id, groups, instance, session_timeout, rebalance_timeout });
        let (said, hears) = mpsc::unbounded_channel();
        let control = Spawner::here();
        let actor = Actor::new(protocol, way.clone(), asking.clone(), shared.clone(), now, hears);
        control.spawn(actor.run());
        Arc::new(Self { asking, way, shared, said, control, directory: Arc::default() })
    }

    fn say(&self, link: Option<u64>, input: Input) {
        // A member that has ended hears nothing, and what waits for it sees that it has ended.
        let _ = self.said.send(Said { link, input });
    }

    /// As long as a rebalance may take, and one more session for a coordinator that moves.
    fn patience(&self) -> Instant {
        rt::now() + self.asking.rebalance_timeout + self.asking.session_timeout
    }

    /// Waits until the member is `ready`. It is an error when it isn't in time, has ended, or isn't what the commit was begun under.
    async fn wait(&self, commit: &Commit, ready: impl Fn(&Now) -> bool) -> Result<Now, GroupError> {
        let now = self.shared.now.clone();
        let other = |now: &Now| now.ended || now.losses != commit.losses || now.sender != commit.by;
        match timeout_at(commit.until, now.wait_for(|now| other(now) || ready(now))).await {
            Err(_) => Err(GroupError::Unavailable(format!("group `{}` was not stable in time", self.asking.group_id))),
            Ok(Ok(now)) if now.ended => Err(GroupError::Lost("it has left the group".to_string())),
            Ok(Ok(now)) if now.losses != commit.losses => Err(GroupError::Lost("its membership was lost meanwhile".to_string())),
            Ok(Ok(now)) if now.sender != commit.by => Err(GroupError::Rebalanced),
            Ok(Ok(now)) => Ok(now),
            Ok(Err(_)) => Err(GroupError::Lost("the member's task has ended".to_string())),
        }
    }

    async fn carry_out(&self, commit: Commit) -> Result<(), GroupError> {
        loop {
            let now = self.wait(&commit, |now| now.commits.is_some()).await?;
            let Some(connection) = &now.commits else { continue };
            let verdict = match self.asking.commit(&**connection, &commit.by, &commit.offsets).await {
                Ok(Committed::As(Verdict::Ok)) => return Ok(()),
                Ok(Committed::Except(partition, why)) => {
                    return Err(GroupError::Partition { partition, reason: why.to_string() });
                }
                Ok(Committed::As(verdict)) => verdict,
                Err(error) => {
                    self.say(Some(now.link), actor::failed(&error));
                    self.wait(&commit, |later| later.link != now.link).await?;
                    continue;
                }
            };
            let refused = Input::CommitRefused { by: commit.by.clone(), verdict: verdict.clone() };
            match verdict {
                Verdict::UnknownMember | Verdict::Fenced => {
                    self.say(Some(now.link), refused);
                    return Err(GroupError::Lost("the coordinator doesn't know it any more".to_string()));
                }
                Verdict::Rebalance | Verdict::OtherGeneration => {
                    self.say(Some(now.link), refused);
                    self.wait(&commit, |later| later.seq != now.seq).await?;
                }
                Verdict::Moved(_) => {
                    self.say(Some(now.link), refused);
                    self.wait(&commit, |later| later.link != now.link).await?;
                }
                Verdict::Refused(why) => return Err(GroupError::Refused(why.to_string())),
                Verdict::Retry(why) if rt::now() + PAUSE > commit.until => return Err(GroupError::Unavailable(why.to_string())),
                Verdict::Ok | Verdict::TakeId | Verdict::Retry(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Asked anew while transactions are open on the offsets, or the coordinator moves.
    async fn fetch(
        way: Arc<dyn Way>,
        group_id: String,
        of: Vec<(String, i32)>,
        until: Instant,
    ) -> Result<Vec<Option<i64>>, GroupError> {
        loop {
            match way.offsets(&group_id, &of).await {
                Ok(offsets) => return Ok(of.iter().map(|partition| offsets.get(partition).copied().flatten()).collect()),
                Err(error) if error.is_refusal() || matches!(error, Error::Unsupported { .. }) => {
                    return Err(GroupError::Refused(error.to_string()));
                }
                Err(error) if rt::now() + PAUSE > until => return Err(GroupError::Unavailable(error.to_string())),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
}

impl Membership for KafkaGroup {
    fn next(&self) -> BoxFuture<'_, GroupEvent> {
        Box::pin(self.shared.next())
    }

    fn released(&self) {
        let seq = self.shared.heard().seq;
        self.say(None, Input::Released { seq });
    }

    fn committed<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Option<i64>>, GroupError>> {
        let of = of.iter().map(|of| (of.topic.clone(), of.partition as i32)).collect();
        let fetch = Self::fetch(self.way.clone(), self.asking.group_id.clone(), of, self.patience());
        let fetched = self.control.spawn(fetch);
        Box::pin(async { fetched.await.unwrap_or_else(|_| Err(GroupError::Unavailable("the worker stops".to_string()))) })
    }

    fn commit(&self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'_, Result<(), GroupError>> {
        let losses = self.shared.heard().losses;
        let by = self.shared.now.read().sender.clone();
        Box::pin(self.carry_out(Commit { offsets, losses, by, until: self.patience() }))
    }

    fn lease(&self) -> &Lease {
        &self.shared.lease
    }

    fn view(&self) -> MemberView {
        self.shared.now.read().view.clone()
    }

    fn places(&self, of: TaskId) -> BoxFuture<'_, Result<Places, GroupError>> {
        let (directory, way, asking) = (self.directory.clone(), self.way.clone(), self.asking.clone());
        let generation = self.view().generation;
        let asked = self.control.spawn(async move {
            let places = directory.places(&*way, &asking.group_id, &asking.groups, generation, of).await;
            places.map_err(|error| GroupError::Unavailable(error.to_string()))
        });
        Box::pin(async { asked.await.unwrap_or_else(|_| Err(GroupError::Unavailable("the worker stops".to_string()))) })
    }

    fn cold(&self) {
        self.say(None, Input::Cold);
    }

    fn copies(&self, lags: Vec<(TaskId, u64)>) {
        self.say(None, Input::Copies { lags });
    }

    fn drain(&self, how: Drain) {
        self.say(None, Input::Drain { how });
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        self.say(None, Input::End);
        let now = self.shared.now.clone();
        Box::pin(async move {
            // An error means that the member's task is gone, and that is what is waited for.
            let _ = now.wait_for(|now| now.ended).await;
        })
    }
}

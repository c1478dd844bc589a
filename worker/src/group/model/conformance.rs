//! What a coordinator answers, as one script that is run against the model and against a real one.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use faust_wire::messages::join_group_request::JoinGroupRequestProtocol;
use faust_wire::messages::leave_group_request::MemberIdentity;
use faust_wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use faust_wire::messages::sync_group_request::SyncGroupRequestAssignment;
use faust_wire::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest,
    TopicName,
};
use faust_wire::text;

use super::{Request, Response};

/// A coordinator, and connections to it.
pub(super) trait Subject {
    /// Sends a request over a connection.
    async fn send(&mut self, over: &'static str, request: Request);

    /// The answer to the last request over a connection, waited for.
    async fn answer(&mut self, over: &'static str) -> Response;

    async fn pass(&mut self, time: Duration);

    /// The group of the next part of the script.
    fn group(&mut self, name: &str) -> String;

    /// A topic with two partitions.
    fn topic(&self) -> String;
}

const SESSION: i32 = 2_000;
const REBALANCE: i32 = 3_000;

/// A member, as its process knows itself.
#[derive(Clone, Debug)]
struct Who {
    line: &'static str,
    group: String,
    instance: Option<&'static str>,
    id: String,
    generation: i32,
}

impl Who {
    fn new(line: &'static str, group: &str, instance: Option<&'static str>) -> Self {
        Self { line, group: group.to_string(), instance, id: String::new(), generation: -1 }
    }

    fn group(&self) -> GroupId {
        GroupId(text(self.group.as_str()))
    }

    fn join(&self, metadata: &'static str) -> JoinGroupRequest {
        let protocol = JoinGroupRequestProtocol::default().with_name(text("faust")).with_metadata(Bytes::from(metadata));
        JoinGroupRequest::default()
            .with_group_id(self.group())
            .with_session_timeout_ms(SESSION)
            .with_rebalance_timeout_ms(REBALANCE)
            .with_member_id(text(self.id.as_str()))
            .with_group_instance_id(self.instance.map(text))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol])
    }

    async fn begin_join(&self, subject: &mut impl Subject, metadata: &'static str) {
        subject.send(self.line, Request::Join(self.join(metadata))).await;
    }

    /// Takes the answer to a JoinGroup that was good.
    async fn joined(&mut self, subject: &mut impl Subject) -> JoinGroupResponse {
        let Response::Join(answer) = subject.answer(self.line).await else { panic!("another answer") };
        assert_eq!(answer.error_code, 0, "{self:?}");
        (self.id, self.generation) = (answer.member_id.to_string(), answer.generation_id);
        answer
    }

    async fn join_code(&mut self, subject: &mut impl Subject, metadata: &'static str) -> i16 {
        self.begin_join(subject, metadata).await;
        let Response::Join(answer) = subject.answer(self.line).await else { panic!("another answer") };
        self.id = answer.member_id.to_string();
        answer.error_code
    }

    /// Asks for an id, and joins with it.
    async fn enter(&mut self, subject: &mut impl Subject, metadata: &'static str) {
        assert_eq!(self.join_code(subject, metadata).await, 79);
        assert!(!self.id.is_empty());
        self.begin_join(subject, metadata).await;
    }

    async fn begin_sync(&self, subject: &mut impl Subject, assignments: &[(&Who, &'static str)]) {
        let assignments = assignments.iter().map(|(who, assignment)| {
            SyncGroupRequestAssignment::default().with_member_id(text(who.id.as_str())).with_assignment(Bytes::from(*assignment))
        });
        let request = SyncGroupRequest::default()
            .with_group_id(self.group())
            .with_generation_id(self.generation)
            .with_member_id(text(self.id.as_str()))
            .with_group_instance_id(self.instance.map(text))
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("faust")))
            .with_assignments(assignments.collect());
        subject.send(self.line, Request::Sync(request)).await;
    }

    async fn synced(&self, subject: &mut impl Subject) -> Result<String, i16> {
        let Response::Sync(answer) = subject.answer(self.line).await else { panic!("another answer") };
        match answer.error_code {
            0 => Ok(String::from_utf8(answer.assignment.to_vec()).expect("a text")),
            code => Err(code),
        }
    }

    async fn sync(&self, subject: &mut impl Subject, assignments: &[(&Who, &'static str)]) -> Result<String, i16> {
        self.begin_sync(subject, assignments).await;
        self.synced(subject).await
    }

    /// Heartbeats and commits go over a connection of their own, as ours do.
    async fn heartbeat(&self, subject: &mut impl Subject) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group())
            .with_generation_id(self.generation)
            .with_member_id(text(self.id.as_str()))
            .with_group_instance_id(self.instance.map(text));
        subject.send("other", Request::Heartbeat(request)).await;
        let Response::Heartbeat(answer) = subject.answer("other").await else { panic!("another answer") };
        answer.error_code
    }

    async fn commit(&self, subject: &mut impl Subject, partition: i32) -> i16 {
        let of = OffsetCommitRequestPartition::default().with_partition_index(partition).with_committed_offset(7);
        let topic = OffsetCommitRequestTopic::default().with_name(TopicName(text(subject.topic()))).with_partitions(vec![of]);
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group())
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(text(self.id.as_str()))
            .with_group_instance_id(self.instance.map(text))
            .with_topics(vec![topic]);
        subject.send("other", Request::Commit(request)).await;
        let Response::Commit(answer) = subject.answer("other").await else { panic!("another answer") };
        answer.topics[0].partitions[0].error_code
    }

    async fn leave(&self, subject: &mut impl Subject) -> i16 {
        let member =
            MemberIdentity::default().with_member_id(text(self.id.as_str())).with_group_instance_id(self.instance.map(text));
        let request = LeaveGroupRequest::default().with_group_id(self.group()).with_members(vec![member]);
        subject.send("other", Request::Leave(request)).await;
        let Response::Leave(answer) = subject.answer("other").await else { panic!("another answer") };
        assert_eq!(answer.error_code, 0);
        answer.members[0].error_code
    }
}

/// Two members at rest: the first leads.
async fn pair(subject: &mut impl Subject, group: &str, instances: [Option<&'static str>; 2]) -> (Who, Who) {
    let (mut first, mut second) = (Who::new("first", group, instances[0]), Who::new("second", group, instances[1]));
    match instances[0] {
        None => first.enter(subject, "a").await,
        Some(_) => first.begin_join(subject, "a").await,
    }
    first.joined(subject).await;
    assert_eq!(first.sync(subject, &[(&first, "all")]).await, Ok("all".into()));
    match instances[1] {
        None => second.enter(subject, "b").await,
        Some(_) => second.begin_join(subject, "b").await,
    }
    until_rebalance(subject, &first).await;
    first.begin_join(subject, "a").await;
    let told = first.joined(subject).await;
    second.joined(subject).await;
    assert_eq!(told.members.len(), 2);
    second.begin_sync(subject, &[]).await;
    assert_eq!(first.sync(subject, &[(&first, "some"), (&second, "rest")]).await, Ok("some".into()));
    assert_eq!(second.synced(subject).await, Ok("rest".into()));
    (first, second)
}

/// A JoinGroup of another one may still be on its way.
async fn until_rebalance(subject: &mut impl Subject, who: &Who) {
    while who.heartbeat(subject).await != 27 {
        subject.pass(Duration::from_millis(20)).await;
    }
}

pub(super) async fn a_member_takes_an_id_joins_and_is_answered_by_its_generation(subject: &mut impl Subject) {
    let group = subject.group("alone");
    let mut who = Who::new("first", &group, None);
    assert_eq!(who.commit(subject, 0).await, 0, "of an empty group anybody may commit who names no generation");
    let mut stranger = Who { id: "stranger".into(), generation: 1, ..who.clone() };
    assert_eq!(stranger.join_code(subject, "a").await, 25);
    who.enter(subject, "a").await;
    let told = who.joined(subject).await;
    assert_eq!((told.generation_id, told.leader.as_str(), told.members.len()), (1, who.id.as_str(), 1));
    // The join phase is over, the assignment isn't there.
    assert_eq!((who.heartbeat(subject).await, who.commit(subject, 0).await), (0, 27));
    assert_eq!(who.sync(subject, &[(&who, "all")]).await, Ok("all".into()));
    assert_eq!((who.heartbeat(subject).await, who.commit(subject, 0).await), (0, 0));
    assert_eq!(who.sync(subject, &[]).await, Ok("all".into()), "asked again");
    assert_eq!(who.commit(subject, 2).await, 3, "no such partition");

    let before = Who { generation: 0, ..who.clone() };
    assert_eq!((before.heartbeat(subject).await, before.commit(subject, 0).await), (22, 22));
    assert_eq!(before.sync(subject, &[]).await, Err(22));
    stranger.id = "stranger".into();
    assert_eq!((stranger.heartbeat(subject).await, stranger.commit(subject, 0).await), (25, 25));
    assert_eq!((stranger.sync(subject, &[]).await, stranger.leave(subject).await), (Err(25), 25));
    let nobody = Who { id: String::new(), generation: -1, ..who.clone() };
    assert_eq!(nobody.commit(subject, 0).await, 25, "the group has members");

    assert_eq!(who.leave(subject).await, 0);
    assert_eq!((who.heartbeat(subject).await, who.commit(subject, 0).await), (25, 25));
    assert_eq!(nobody.commit(subject, 0).await, 0);
}

pub(super) async fn a_second_member_rebalances_the_group(subject: &mut impl Subject) {
    let group = subject.group("second");
    let (mut first, mut second) = pair(subject, &group, [None, None]).await;
    assert_eq!((first.generation, second.generation), (2, 2));
    let mut third = Who::new("third", &group, None);
    third.enter(subject, "c").await;
    until_rebalance(subject, &first).await;
    assert_eq!(first.commit(subject, 0).await, 0, "in the join phase the generation before still commits");
    assert_eq!(first.sync(subject, &[]).await, Err(27));
    first.begin_join(subject, "a").await;
    second.begin_join(subject, "b").await;
    let before = second.clone();
    first.joined(subject).await;
    second.joined(subject).await;
    third.joined(subject).await;
    assert_eq!([first.generation, second.generation, third.generation], [3; 3]);
    assert_eq!((before.commit(subject, 0).await, before.heartbeat(subject).await), (22, 22));
    assert_eq!((second.commit(subject, 0).await, second.heartbeat(subject).await), (27, 0));
    second.begin_sync(subject, &[]).await;
    // Whoever leaves now takes the generation with it.
    assert_eq!(third.leave(subject).await, 0);
    assert_eq!(second.synced(subject).await, Err(27));
    assert_eq!(first.sync(subject, &[(&first, "x")]).await, Err(27));
}

pub(super) async fn only_news_of_a_follower_rebalances(subject: &mut impl Subject) {
    let group = subject.group("news");
    let (mut first, mut second) = pair(subject, &group, [None, None]).await;
    second.begin_join(subject, "b").await;
    let told = second.joined(subject).await;
    assert_eq!((told.generation_id, told.members.len(), told.skip_assignment), (2, 0, false));
    assert_eq!(second.sync(subject, &[]).await, Ok("rest".into()));
    assert_eq!(first.heartbeat(subject).await, 0);
    second.begin_join(subject, "other").await;
    until_rebalance(subject, &first).await;
    first.begin_join(subject, "a").await;
    first.joined(subject).await;
    assert_eq!((first.generation, second.joined(subject).await.generation_id), (3, 3));
    assert_eq!(first.sync(subject, &[(&first, "x"), (&second, "y")]).await, Ok("x".into()));
    assert_eq!(second.sync(subject, &[]).await, Ok("y".into()));
    // The leader's does always.
    first.begin_join(subject, "a").await;
    until_rebalance(subject, &second).await;
}

pub(super) async fn a_static_member_comes_back_silently_and_its_predecessor_is_fenced(subject: &mut impl Subject) {
    let group = subject.group("static");
    let (first, second) = pair(subject, &group, [Some("pod-0"), Some("pod-1")]).await;
    for (old, leads, assignment) in [(&second, false, "rest"), (&first, true, "some")] {
        let mut new = Who { id: String::new(), generation: -1, line: "new", ..old.clone() };
        new.begin_join(subject, "changed").await;
        let told = new.joined(subject).await;
        assert_ne!(new.id, old.id);
        assert_eq!((told.generation_id, told.skip_assignment), (2, leads));
        assert_eq!(told.members.len(), if leads { 2 } else { 0 });
        assert_eq!(new.sync(subject, &[]).await, Ok(assignment.into()));
        assert_eq!((old.heartbeat(subject).await, old.commit(subject, 0).await), (82, 82));
        assert_eq!((old.clone().join_code(subject, "a").await, old.leave(subject).await), (82, 82));
        assert_eq!((new.heartbeat(subject).await, new.commit(subject, 0).await), (0, 0));
    }
    let unknown = Who { instance: Some("pod-9"), ..first.clone() };
    assert_eq!((unknown.heartbeat(subject).await, unknown.commit(subject, 0).await), (25, 25));
    let by_name = Who { id: String::new(), ..second.clone() };
    assert_eq!((by_name.leave(subject).await, by_name.leave(subject).await), (0, 25));
}

pub(super) async fn a_silent_member_is_dropped_and_a_heartbeat_or_a_commit_keeps_it(subject: &mut impl Subject) {
    let group = subject.group("silent");
    let (first, second) = pair(subject, &group, [None, None]).await;
    for _ in 0..4 {
        subject.pass(Duration::from_millis(SESSION as u64 * 2 / 5)).await;
        assert_eq!((first.heartbeat(subject).await, second.commit(subject, 0).await), (0, 0));
    }
    while first.heartbeat(subject).await == 0 {
        subject.pass(Duration::from_millis(100)).await;
    }
    assert_eq!(first.heartbeat(subject).await, 27);
    assert_eq!((second.heartbeat(subject).await, second.commit(subject, 0).await), (25, 25));
}

/// The answer to a JoinGroup that changes nothing is no sign of life: a lease must not count from it.
pub(super) async fn a_join_that_is_repeated_renews_no_session(subject: &mut impl Subject) {
    let group = subject.group("repeated");
    let (first, mut second) = pair(subject, &group, [None, None]).await;
    assert_eq!(second.heartbeat(subject).await, 0);
    for _ in 0..3 {
        subject.pass(Duration::from_millis(SESSION as u64 * 2 / 5)).await;
        if first.heartbeat(subject).await != 0 {
            break;
        }
        second.begin_join(subject, "b").await;
        second.joined(subject).await;
    }
    assert_eq!((first.heartbeat(subject).await, second.heartbeat(subject).await), (27, 25));
}

pub(super) async fn who_does_not_join_in_time_is_left_behind(subject: &mut impl Subject) {
    let group = subject.group("late");
    let (mut first, second) = pair(subject, &group, [None, None]).await;
    first.begin_join(subject, "a").await;
    // It is alive, and never joins.
    loop {
        match second.heartbeat(subject).await {
            27 => subject.pass(Duration::from_millis(200)).await,
            0 => subject.pass(Duration::from_millis(20)).await,
            25 => break,
            other => panic!("{other}"),
        }
    }
    assert_eq!(first.joined(subject).await.members.len(), 1);
}

pub(super) async fn what_does_not_fit_the_group_is_refused(subject: &mut impl Subject) {
    let group = subject.group("unfit");
    let (first, _) = pair(subject, &group, [None, None]).await;
    let who = Who::new("third", &group, None);
    let hasty = who.join("c").with_session_timeout_ms(1);
    subject.send("third", Request::Join(hasty)).await;
    let Response::Join(answer) = subject.answer("third").await else { panic!("another answer") };
    assert_eq!(answer.error_code, 26);
    let other = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from("c"));
    subject.send("third", Request::Join(who.join("c").with_protocols(vec![other]))).await;
    let Response::Join(answer) = subject.answer("third").await else { panic!("another answer") };
    assert_eq!(answer.error_code, 23);
    assert_eq!(first.heartbeat(subject).await, 0);
}

macro_rules! script {
    ($($part:ident,)*) => {
        mod in_model {
            $(
                #[tokio::test]
                async fn $part() {
                    super::$part(&mut super::Modelled::new()).await;
                }
            )*
        }

        mod on_kafka {
            $(
                #[tokio::test]
                async fn $part() {
                    super::$part(&mut super::real::Real::new().await).await;
                }
            )*
        }
    };
}

script! {
    a_member_takes_an_id_joins_and_is_answered_by_its_generation,
    a_second_member_rebalances_the_group,
    only_news_of_a_follower_rebalances,
    a_static_member_comes_back_silently_and_its_predecessor_is_fenced,
    a_silent_member_is_dropped_and_a_heartbeat_or_a_commit_keeps_it,
    a_join_that_is_repeated_renews_no_session,
    who_does_not_join_in_time_is_left_behind,
    what_does_not_fit_the_group_is_refused,
}

/// The model, with time that passes as it is told to.
struct Modelled {
    model: super::Coordinator,
    now: u64,
    asked: u64,
    /// The last request over each connection.
    last: BTreeMap<&'static str, u64>,
    answers: BTreeMap<u64, Response>,
}

impl Modelled {
    fn new() -> Self {
        let limits = super::Limits { min_session: 500, max_session: 60_000, initial_delay: 0 };
        let model = super::Coordinator::new(limits, [("topic".to_string(), 2)].into());
        Self { model, now: 0, asked: 0, last: BTreeMap::new(), answers: BTreeMap::new() }
    }

    fn pass_until(&mut self, until: u64) {
        while let Some(due) = self.model.deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            let answers = self.model.tick(self.now);
            self.answers.extend(answers);
        }
        self.now = until;
    }
}

impl Subject for Modelled {
    async fn send(&mut self, over: &'static str, request: Request) {
        self.asked += 1;
        self.last.insert(over, self.asked);
        let answers = self.model.ask(self.now, self.asked, request);
        self.answers.extend(answers);
        self.pass_until(self.now + 1);
    }

    async fn answer(&mut self, over: &'static str) -> Response {
        let asked = self.last[over];
        while !self.answers.contains_key(&asked) {
            let due = self.model.deadline().expect("an answer to come");
            self.pass_until(due);
        }
        self.answers.remove(&asked).expect("looked up")
    }

    async fn pass(&mut self, time: Duration) {
        self.pass_until(self.now + time.as_millis() as u64);
    }

    fn group(&mut self, name: &str) -> String {
        name.to_string()
    }

    fn topic(&self) -> String {
        "topic".to_string()
    }
}

mod real {
    use faust_testbed::{shared, unique};
    use faust_wire::{Client, Config, Connection};
    use tokio::task::JoinHandle;

    use super::*;

    /// A coordinator of the shared broker.
    pub struct Real {
        client: Client,
        topic: String,
        group: Option<String>,
        lines: BTreeMap<&'static str, Connection>,
        asked: BTreeMap<&'static str, JoinHandle<Response>>,
    }

    impl Real {
        pub async fn new() -> Self {
            let (broker, topic) = (shared(), unique("modelled"));
            broker.create_topic(&topic, 2, &[]).unwrap();
            let client = Client::new(Config::parse(&broker.bootstrap(), "faust-test").unwrap());
            Self { client, topic, group: None, lines: BTreeMap::new(), asked: BTreeMap::new() }
        }
    }

    impl Subject for Real {
        async fn send(&mut self, over: &'static str, request: Request) {
            if !self.lines.contains_key(over) {
                let broker = self.client.coordinator(self.group.as_ref().expect("a group")).await.unwrap();
                self.lines.insert(over, self.client.connect(&broker).await.unwrap());
            }
            let line = self.lines[over].clone();
            let limit = Duration::from_secs(60);
            let call = async move {
                match request {
                    Request::Join(request) => Response::Join(line.call_with_timeout(request, limit).await.unwrap()),
                    Request::Sync(request) => Response::Sync(line.call_with_timeout(request, limit).await.unwrap()),
                    Request::Heartbeat(request) => Response::Heartbeat(line.call_with_timeout(request, limit).await.unwrap()),
                    Request::Leave(request) => Response::Leave(line.call_with_timeout(request, limit).await.unwrap()),
                    Request::Commit(request) => Response::Commit(line.call_with_timeout(request, limit).await.unwrap()),
                }
            };
            self.asked.insert(over, tokio::spawn(call));
        }

        async fn answer(&mut self, over: &'static str) -> Response {
            self.asked.remove(over).expect("asked").await.unwrap()
        }

        async fn pass(&mut self, time: Duration) {
            tokio::time::sleep(time).await;
        }

        fn group(&mut self, name: &str) -> String {
            self.group.insert(unique(name)).clone()
        }

        fn topic(&self) -> String {
            self.topic.clone()
        }
    }
}

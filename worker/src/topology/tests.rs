//! Built from apps as users declare them.

use super::*;
use crate::{App, LocalTable, Result, Stream, Table, Topic};

type Views = Topic<String, String>;
type Counts = Table<String, u64>;

async fn none(_: Stream<String, String>) -> Result<()> {
    Ok(())
}
async fn one(_: Stream<String, String>, _: LocalTable<String, u64>) -> Result<()> {
    Ok(())
}
async fn two(_: Stream<String, String>, _: LocalTable<String, u64>, _: LocalTable<String, u64>) -> Result<()> {
    Ok(())
}

fn topic(app: &App, name: &str) -> Views {
    app.topic(name)
}

fn table(app: &App, name: &str) -> Counts {
    app.table(name)
}

fn problems(app: &App) -> Vec<String> {
    let problems = app.node().topology().err().expect("a contradiction");
    problems.iter().map(ToString::to_string).collect()
}

/// Topics, tables and agents of each group.
fn shape(topology: &Topology) -> Vec<[String; 3]> {
    let names = |names: Vec<&str>| names.join(" ");
    let groups = topology.groups.iter().map(|group| {
        [
            names(group.topics.iter().map(|topic| topic.name).collect()),
            names(group.tables.iter().map(|table| table.name).collect()),
            names(group.agents.iter().map(|agent| agent.name).collect()),
        ]
    });
    groups.collect()
}

fn counts(of: &[(&str, u32)]) -> BTreeMap<String, u32> {
    of.iter().map(|(name, n)| (name.to_string(), *n)).collect()
}

#[test]
fn what_agents_share_is_one_group_and_the_order_is_that_of_the_names() {
    let app = App::new("app");
    let (d, c, b, a) = (topic(&app, "d"), topic(&app, "c"), topic(&app, "b"), topic(&app, "a"));
    let (t, u) = (table(&app, "t"), table(&app, "u"));
    topic(&app, "out");
    app.agent("alone", d, none);
    app.agent("first", (c, t), one);
    app.agent("second", (a, u), one);
    app.agent("bridge", (b, u, t), two);
    let topology = app.node().topology().unwrap();
    let expected = [["a b c", "t u", "bridge first second"], ["d", "", "alone"]];
    assert_eq!(shape(&topology), expected.map(|group| group.map(str::to_string)));
    assert_eq!(topology.sinks.iter().map(|sink| sink.name).collect::<Vec<_>>(), ["out"]);
}

#[test]
fn agents_that_share_nothing_are_apart() {
    let app = App::new("app");
    let (a, b) = (topic(&app, "b"), topic(&app, "a"));
    app.agent("x", (a, table(&app, "t")), one);
    app.agent("y", (b, table(&app, "u")), one);
    let expected = [["a", "u", "y"], ["b", "t", "x"]];
    assert_eq!(shape(&app.node().topology().unwrap()), expected.map(|group| group.map(str::to_string)));
}

#[test]
fn one_agent_may_read_several_topics_and_they_count_as_used_together() {
    let app = App::new("app");
    let (a, b) = (topic(&app, "a"), topic(&app, "b"));
    app.agent("both", (a, b), async |_, _| Ok(()));
    let topology = app.node().topology().unwrap();
    assert_eq!(shape(&topology), [["a b", "", "both"].map(str::to_string)]);
    let group = topology.groups[0].partitioned(&counts(&[("a", 4), ("b", 4)])).unwrap();
    assert_eq!(group, CoPartitioned { topics: vec!["a".into(), "b".into()], partitions: 4, stateful: false, standbys: 0 });
}

#[test]
fn a_second_reader_of_a_topic_is_refused_also_if_it_is_the_same_agent() {
    let app = App::new("app");
    let (a, b) = (topic(&app, "a"), topic(&app, "b"));
    app.agent("x", a, none);
    app.agent("y", (a, table(&app, "t")), one);
    app.agent("z", (b, b), async |_, _| Ok(()));
    let rest = "this version of faust lets one agent read a topic: do the work of both in one agent, or send what the other needs to a \
                topic of its own";
    let expected = [
        format!("topic `a` is read 2 times, by agents `x` and `y`; {rest}"),
        format!("topic `b` is read 2 times, by agents `z` and `z`; {rest}"),
    ];
    assert_eq!(problems(&app), expected);
}

#[test]
fn counts_that_differ_are_said_with_both_topics_and_their_agents() {
    let app = App::new("app");
    let t = table(&app, "t");
    app.agent("clicks", (topic(&app, "clicks"), t), one);
    app.agent("views", (topic(&app, "views").partitions(8), t), one);
    let group = &app.node().topology().unwrap().groups[0];
    let partitioned = |clicks, views| group.partitioned(&counts(&[("clicks", clicks), ("views", views)]));
    assert_eq!(partitioned(8, 8).unwrap().partitions, 8);
    assert_eq!(
        partitioned(4, 8).unwrap_err(),
        "topic `clicks` has 4 partitions, topic `views` has 8; they are used together (agents `clicks`, `views`), so the counts must be \
         equal"
    );
    assert_eq!(
        partitioned(4, 4).unwrap_err(),
        "topic `views` has 4 partitions and is declared with 8; change `.partitions(8)` or the topic"
    );
}

#[test]
fn everything_wrong_is_said_at_once() {
    let app = App::new("app");
    for name in ["a", "a", ""] {
        topic(&app, name);
    }
    for name in ["no/folder", ".."] {
        table(&app, name);
    }
    assert_eq!(
        problems(&app),
        [
            "topic `a` is declared twice; declare it once and pass the handle on (handles are `Copy`)",
            "topic ``: a name has 1 to 200 letters, digits, `.`, `_` and `-`, because topics and folders are named by it",
            "table `no/folder`: a name has 1 to 200 letters, digits, `.`, `_` and `-`, because topics and folders are named by it",
            "table `..`: a name has 1 to 200 letters, digits, `.`, `_` and `-`, because topics and folders are named by it",
            "app `app` has no agent, so its worker has nothing to do",
        ]
    );
    let again = App::new("again");
    again.agent("x", topic(&again, "a"), none);
    again.agent("x", topic(&again, "b"), none);
    assert_eq!(problems(&again), ["agent `x` is declared twice; declare it once and pass the handle on (handles are `Copy`)"]);
}

#[test]
#[should_panic(expected = "topic `b`: `app.topic(..)` comes after the app has started; options belong before `main` or `start`")]
fn a_declaration_after_the_start_is_a_mistake_in_the_program() {
    let app = App::new("app");
    app.agent("x", topic(&app, "a"), none);
    app.node().topology().unwrap();
    topic(&app, "b");
}

#[test]
fn a_task_is_shown_by_its_group_and_partition() {
    assert_eq!(TaskId { group: 1, partition: 12 }.to_string(), "1_12");
}

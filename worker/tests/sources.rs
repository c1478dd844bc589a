//! Source topics that change while a worker reads them.

mod common;

mod on_kafka {
    use std::sync::Mutex;

    use faust::prelude::*;
    use faust::{Store, Worker};
    use faust_testbed::{shared, unique};

    use super::common::{http, until};

    fn app(id: &str) -> App {
        let settings = Settings::new().broker(&shared().bootstrap()).store(Store::Memory).web_port(0);
        App::with(id, settings.commit_interval(millis(50)).session_timeout(secs(10)).topics_interval(millis(200)))
    }

    fn grow(topic: &str, partitions: u32) {
        let arguments = ["--alter", "--topic", topic, "--partitions", &partitions.to_string()];
        shared().tool("TopicCommand", arguments).unwrap();
    }

    async fn until_unready(worker: &Worker, words: &str) {
        until(words, || async { http::get(worker.web(), "/readyz").await.body.contains(words) }).await;
    }

    #[tokio::test]
    async fn the_new_partitions_of_a_topic_that_grows_are_read_too_on_kafka() {
        let id = unique("grows");
        let topic = format!("{id}-words");
        shared().create_topic(&topic, 2, &[]).unwrap();
        let app = app(&id);
        let words = app.topic::<String, String>(&topic);
        let seen = app.state(Mutex::new(Vec::new()));
        app.agent("see", (words, seen), async |mut words, seen| {
            while let Some(word) = words.next().await {
                seen.lock().unwrap().push((word.partition(), word.value().clone()));
            }
            Ok(())
        });
        let worker = super::common::start(app).await;
        for partition in 0..2 {
            words.send("key", &"early".to_string()).partition(partition).delivered().await.unwrap();
        }
        until("the early ones are seen", || async { seen.lock().unwrap().len() == 2 }).await;
        grow(&topic, 4);
        let joins = || async { http::get(worker.web(), "/state").await.body.contains(r#""task":"0_3""#) };
        until("the new partitions are taken up", joins).await;
        worker.ready().await.unwrap();
        for partition in 0..4 {
            words.send("key", &"late".to_string()).partition(partition).delivered().await.unwrap();
        }
        until("the late ones are seen", || async { seen.lock().unwrap().len() >= 6 }).await;
        let mut all = seen.lock().unwrap().clone();
        all.sort();
        let late = (0..4).map(|partition| (partition, "late".to_string()));
        let early = (0..2).map(|partition| (partition, "early".to_string()));
        let mut expected: Vec<_> = late.chain(early).collect();
        expected.sort();
        assert_eq!(all, expected, "nothing is read twice: it was committed before the worker joined anew");
        worker.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_topic_that_grows_under_a_table_or_goes_stops_the_work_with_a_sentence_on_kafka() {
        let id = unique("stops");
        let topic = format!("{id}-words");
        shared().create_topic(&topic, 2, &[]).unwrap();
        let app = app(&id);
        let words = app.topic::<String, u64>(&topic);
        let counts = app.table::<String, u64>("counts");
        app.agent("count", (words, counts), async |mut words, counts| {
            while let Some(word) = words.next().await {
                counts.update(word.key(), |n| *n += 1)?;
            }
            Ok(())
        });
        let worker = super::common::start(app).await;
        words.send("key", &1).await.unwrap();
        until("it is counted", || async { counts.query("key").await == Ok(Some(1)) }).await;
        grow(&topic, 4);
        let sentence = format!("changelog `{id}-counts-changelog` has 2 partitions, its table needs 4");
        until_unready(&worker, &sentence).await;

        shared().delete_topic(&topic).unwrap();
        until_unready(&worker, &format!("topics that don't exist: `{topic}`")).await;
        worker.stop().await.unwrap();
    }
}

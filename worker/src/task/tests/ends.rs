//! Tasks that end while something of them is still held.

use super::*;

#[test]
fn an_event_that_outlives_its_task_does_not_keep_the_partition() {
    on_one_thread(async {
        let app = App::new("outlives");
        let input = app.topic::<String, u64>("in").partitions(1);
        let output = app.topic::<String, u64>("out").partitions(1);
        let sums = app.table::<String, u64>("sums");
        app.agent("spawn", (input, sums), async move |mut stream, sums| {
            while let Some(event) = stream.next().await {
                sums.update("all", |n| *n += *event)?;
                output.send("a", &event).await?;
                let sums = sums.clone();
                tokio::task::spawn_local(async move {
                    std::future::pending::<()>().await;
                    drop((event, sums));
                });
            }
            Ok(())
        });
        let world = World::start(app, settings()).await;
        world.log.decide_fates(|to, _| if to == "out" { Fate::Fail("on purpose") } else { Fate::Deliver });
        input.send("a", &1).await.unwrap();
        let task = world.task(0);
        until("it starts over, and over", || task.starts_over.get() == 2).await;
        world.log.decide_fates(|_, _| Fate::Deliver);
        until("what it wrote is committed", || task.commits.get() > 0).await;
        assert_eq!(sums.query("all").await, Ok(Some(1)));
        assert_eq!(world.committed("in", 0).await, Some(0), "the event is not done");
        world.stop().await.unwrap();
    });
}

//! Partitions of one shard share its thread: neither one with much to do nor one that waits keeps the others from going on.

use std::sync::Mutex;

use super::*;

const HOT: usize = 20_000;

#[test]
fn a_partition_with_a_backlog_and_one_that_waits_do_not_starve_the_others() {
    on_one_thread(async {
        let app = App::new("fairness");
        let input = app.topic::<String, u64>("in").partitions(4);
        let order = app.state(Mutex::new(Vec::new()));
        let door = Door::default();
        let behind = door.clone();
        app.agent("note", (input, order), async move |mut stream, order| {
            while let Some(event) = stream.next().await {
                if event.partition() == 3 {
                    behind.pass().await;
                }
                order.lock().unwrap().push(event.partition());
            }
            Ok(())
        });
        let world = World::start(app, settings()).await;
        // Nobody else has a turn before all of it is there: memory takes it at once.
        for _ in 0..HOT {
            input.send("key", &0).partition(0).await.unwrap();
        }
        for n in 0..30 {
            input.send("key", &n).partition(1 + (n % 3) as u32).await.unwrap();
        }
        until("all but one is done", || order.lock().unwrap().len() == HOT + 20).await;
        let done = order.lock().unwrap().clone();
        for partition in [1, 2] {
            let last = done.iter().rposition(|at| *at == partition).unwrap();
            assert!(last < HOT / 4, "partition {partition} was through after {last} others");
        }
        until("all is done", || {
            door.open();
            order.lock().unwrap().len() == HOT + 30
        })
        .await;
        world.stop().await.unwrap();
    });
}

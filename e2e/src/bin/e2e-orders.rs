//! An app that does what its records say, for what no honest app does: wait, fail, panic, end.

use std::time::Duration;

use faust::prelude::*;

#[derive(Record)]
#[record(tag = "type", rename_all = "camelCase")]
enum Order {
    Count,
    Wait {
        millis: u64,
    },
    /// Without giving the thread back.
    Block {
        millis: u64,
    },
    Fail,
    Panic,
    End,
}

fn main() -> faust::Result<()> {
    let id = std::env::var("FAUST_TEST_APP").map_err(|_| faust::Error::msg("FAUST_TEST_APP must say the app's id"))?;
    let app = App::new(&id);
    let orders = app.topic::<String, Order>(&format!("{id}-orders"));
    let done = app.table::<String, u64>("done");

    app.agent("obey", (orders, done), async |mut orders, done| {
        while let Some(order) = orders.next().await {
            done.update(order.key(), |n| *n += 1)?;
            match order.value() {
                Order::Count => {}
                Order::Wait { millis } => tokio::time::sleep(Duration::from_millis(*millis)).await,
                #[expect(clippy::disallowed_methods, reason = "what no honest app does")]
                Order::Block { millis } => std::thread::sleep(Duration::from_millis(*millis)),
                Order::Fail => return Err(faust::Error::msg("the order says so")),
                Order::Panic => panic!("the order says so"),
                Order::End => return Ok(()),
            }
        }
        Ok(())
    });
    app.main()
}

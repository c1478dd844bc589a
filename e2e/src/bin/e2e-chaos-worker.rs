//! The app of the chaos runs: a row is the set of all records that were folded into it, so that a lost one is seen and so is one that
//! was folded twice.

use std::hash::{BuildHasher, Hasher, RandomState};

use faust::prelude::*;

#[derive(Record)]
struct Item {
    id: u64,
}

#[derive(Default, Record)]
struct Folded {
    offsets: Vec<i64>,
    again: Vec<i64>,
}

#[derive(Record)]
struct Told {
    /// The run of the agent: one for each epoch of its task.
    life: u64,
    partition: u32,
    offset: i64,
    folded: usize,
    again: usize,
}

fn main() -> faust::Result<()> {
    let id = std::env::var("FAUST_TEST_APP").map_err(|_| faust::Error::msg("FAUST_TEST_APP must say the app's id"))?;
    let app = App::new(&id);
    let items = app.topic::<String, Item>(&format!("{id}-items"));
    let told = app.topic::<String, Told>(&format!("{id}-told"));
    let folded = app.table::<String, Folded>("folded");

    app.agent("fold", (items, folded), async move |mut items, folded| {
        let life = RandomState::new().build_hasher().finish();
        while let Some(item) = items.next().await {
            let (key, partition, offset) = (item.key().clone(), item.partition(), item.offset());
            let (folded, again) = folded.update(&key, |row| {
                match row.offsets.binary_search(&offset) {
                    Ok(_) => row.again.push(offset),
                    Err(at) => row.offsets.insert(at, offset),
                }
                (row.offsets.len(), row.again.len())
            })?;
            told.send(&key, &Told { life, partition, offset, folded, again }).await?;
        }
        Ok(())
    });
    app.main()
}

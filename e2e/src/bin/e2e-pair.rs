//! An app whose agent reads two topics together, which need equal partition counts.

use faust::prelude::*;

fn main() -> faust::Result<()> {
    let id = std::env::var("FAUST_TEST_APP").map_err(|_| faust::Error::msg("FAUST_TEST_APP must say the app's id"))?;
    let app = App::new(&id);
    let left = app.topic::<String, String>(&format!("{id}-left"));
    let right = app.topic::<String, String>(&format!("{id}-right"));
    let seen = app.table::<String, u64>("seen");

    app.agent("pair", (left, right, seen), async |mut left, _right, seen| {
        while let Some(event) = left.next().await {
            seen.update(event.key(), |n| *n += 1)?;
        }
        Ok(())
    });
    app.main()
}

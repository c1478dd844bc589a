//! The measured worker: counts views per page into a table on disk, as the hand-written loop does into a hash map.

use faust::prelude::*;

/// The part of the input's JSON that is used; the rest is skipped, in both programs.
#[derive(Record)]
struct View {
    page: String,
}

fn main() -> faust::Result<()> {
    let id = std::env::var("BENCH_APP").unwrap_or_else(|_| "bench".into());
    let app = App::new(&id);
    let views = app.topic::<String, View>("bench-input");
    let counts = app.table::<String, u64>("counts");
    app.agent("count", (views, counts), async |mut views, counts| {
        while let Some(view) = views.next().await {
            counts.update(&view.page, |n| *n += 1)?;
        }
        Ok(())
    });
    app.main()
}

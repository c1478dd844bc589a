//! Counts page views per page, and tells each new count.
#![cfg_attr(rustfmt, rustfmt_skip)]

use faust::prelude::*;

#[derive(Record)]
pub struct PageView { pub user: String }
#[derive(Record)]
pub struct Counted { pub page: String, pub count: u64, pub partition: u32, pub offset: i64 }

#[derive(Clone, Copy)]
pub struct PageViews { pub views: Topic<String, PageView>, pub counts: Table<String, u64> }

pub fn app() -> (App, PageViews) {
    let app = App::new("page-views");
    let views = app.topic::<String, PageView>("page_views"); // keyed by page
    let counted = app.topic::<String, Counted>("page_view_counts");
    let counts = app.table::<String, u64>("page_counts");

    app.agent("count", (views, counts), async move |mut views, counts| {
        while let Some(view) = views.next().await {
            let (page, partition, offset) = (view.key().clone(), view.partition(), view.offset());
            let count = counts.update(&page, |n| { *n += 1; *n })?;
            counted.send(&page, &Counted { page: page.clone(), count, partition, offset }).await?;
        }
        Ok(())
    });
    (app, PageViews { views, counts })
}

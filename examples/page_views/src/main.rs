//! The worker's command line: `page-views worker --help`.

fn main() -> faust::Result<()> {
    let (app, _) = page_views::app();
    app.main()
}

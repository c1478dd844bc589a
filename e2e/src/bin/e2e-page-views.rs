//! The example's worker, as it is: a test finds only the programs of its own package.

fn main() -> faust::Result<()> {
    let (app, _) = page_views::app();
    app.main()
}

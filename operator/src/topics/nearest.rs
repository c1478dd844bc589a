//! The name that somebody probably meant.

/// The known name that takes the fewest changes of a letter, if that is few enough to be a slip.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = 1 + name.chars().count() / 3;
    let scored = known.into_iter().map(|known| (distance(name, known), known));
    scored.filter(|(distance, _)| *distance <= limit).min().map(|(_, known)| known)
}

/// Letters to insert, delete or exchange to get from one to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let exchanged = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[test]
fn a_slip_finds_its_name_and_a_stranger_none() {
    let known = ["page_views", "page_counts", "orders"];
    assert_eq!(nearest("page_count", known), Some("page_counts"));
    assert_eq!(nearest("pageviews", known), Some("page_views"));
    assert_eq!(nearest("payments", known), None);
}

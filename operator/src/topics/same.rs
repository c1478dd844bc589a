//! Whether two values of Kafka's configuration mean the same: what people write, and what Kafka prints of it.

/// Kafka parses what is set and prints what it parsed: numbers without leading zeros, lists without spaces.
pub(super) fn same_value(a: &str, b: &str) -> bool {
    items(a) == items(b)
}

/// The items of a list, each in one spelling; their order means nothing in any list of topic settings.
fn items(value: &str) -> Vec<String> {
    let mut items: Vec<String> = value.split(',').map(|item| spelled(item.trim())).filter(|item| !item.is_empty()).collect();
    items.sort();
    items.dedup();
    items
}

fn spelled(item: &str) -> String {
    if let Ok(whole) = item.parse::<i128>() {
        return whole.to_string();
    }
    if let Ok(number) = item.parse::<f64>().map_err(drop).and_then(|number| if number.is_finite() { Ok(number) } else { Err(()) }) {
        return number.to_string();
    }
    match item.to_ascii_lowercase() {
        lower if lower == "true" || lower == "false" => lower,
        _ => item.to_string(),
    }
}

#[test]
fn values_are_compared_as_kafka_reads_them() {
    for (wanted, printed) in [
        ("604800000", "604800000"),
        ("0604800000", "604800000"),
        ("0.50", "0.5"),
        ("1", "1.0"),
        ("TRUE", "true"),
        ("delete, compact", "compact,delete"),
        ("", ""),
    ] {
        assert!(same_value(wanted, printed), "{wanted} {printed}");
    }
    for (wanted, printed) in [("1", "2"), ("compact", "compact,delete"), ("compact", ""), ("GZIP", "gzip"), ("inf", "1")] {
        assert!(!same_value(wanted, printed), "{wanted} {printed}");
    }
}

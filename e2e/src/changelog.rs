//! A table's changelog as anybody reads it: with Kafka's own console consumer.

use std::collections::BTreeMap;

use faust_testbed::Broker;

use crate::offsets::record_counts;

/// The last value of every key, from a changelog of which nothing was compacted yet.
#[track_caller]
pub fn last_values(broker: &Broker, topic: &str, partitions: i32) -> BTreeMap<String, String> {
    let count: i64 = record_counts(broker, topic, partitions).iter().sum();
    if count == 0 {
        return BTreeMap::new();
    }
    let max = count.to_string();
    let arguments = [
        "--topic",
        topic,
        "--from-beginning",
        "--max-messages",
        &max,
        "--timeout-ms",
        "30000",
        "--formatter-property",
        "print.key=true",
    ];
    let output = broker.tool("ConsoleConsumer", arguments).unwrap_or_else(|error| panic!("{topic}: {error}"));
    let text = String::from_utf8(output.stdout).expect("keys and values are text");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len() as i64, count, "{topic}: the console consumer shows every record on a line");
    let entry = |line: &&str| line.split_once('\t').map(|(key, value)| (key.to_string(), value.to_string()));
    let mut values: BTreeMap<String, String> =
        lines.iter().map(|line| entry(line).unwrap_or_else(|| panic!("{topic}: no key and value in {line:?}"))).collect();
    // Deleted rows.
    values.retain(|_, value| value != "null");
    values
}

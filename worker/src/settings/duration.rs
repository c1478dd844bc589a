//! Durations in Go's syntax, as Kubernetes has them: `1h30m`, `250ms`, `1.5s`.

use std::time::Duration;

/// Unit and nanoseconds, the largest first. `m` stands after `ms`, of which it is the beginning.
const UNITS: [(&str, u128); 8] = [
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("us", 1_000),
    ("µs", 1_000), // the micro sign
    ("μs", 1_000), // the Greek letter
    ("ns", 1),
];

/// `None` if it is no duration, negative, or longer than a Go duration can be.
pub(super) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos: u128 = 0;
    while !rest.is_empty() || text.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        let (unit, scale) = *UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        nanos += number(whole)?.checked_mul(scale)?;
        // Nine digits reach a nanosecond for every unit up to seconds; what lies beyond is cut off for all of them alike.
        let fraction = &fraction[..fraction.len().min(15)];
        nanos += number(fraction)? * scale / 10u128.pow(fraction.len() as u32);
        rest = &after[unit.len()..];
    }
    i64::try_from(nanos).ok().map(|nanos| Duration::from_nanos(nanos as u64))
}

/// The largest units first, the last as fine as needed: `1h30m`, `250ms`.
pub(super) fn show(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for (unit, scale) in
        [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)]
    {
        if rest >= scale {
            text += &format!("{}{unit}", rest / scale);
            rest %= scale;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn number(digits: &str) -> Option<u128> {
    if digits.is_empty() { Some(0) } else { digits.parse::<u64>().ok().map(u128::from) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let millis = |text| parse(text).map(|duration| duration.as_millis());
        assert_eq!(millis("1h30m"), Some(5_400_000));
        assert_eq!(millis("250ms"), Some(250));
        assert_eq!(millis("1.5s"), Some(1_500));
        assert_eq!(millis("1m.5s"), Some(60_500));
        assert_eq!(millis("2000us"), Some(2));
        assert_eq!(millis("2000µs"), Some(2));
        assert_eq!(millis("0"), Some(0));
        for wrong in ["", " 1s", "1", "1.s5", ".s", "-1s", "1 s", "1d", "s", "1sec", "9999999h", "99999999999999999999h", "1s "] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn every_duration_is_read_as_it_was_written(nanos in 0..=i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&show(duration)), Some(duration));
        }

        #[test]
        fn no_text_makes_it_fall_over(text in "[0-9.hmsuµn]{0,40}") {
            let _ = parse(&text);
        }
    }
}

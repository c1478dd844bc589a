//! Durations as people write them in manifests.

use std::time::Duration;

/// `90s`, `1m30s`, `1.5h`, `250ms`. None for anything else.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, tail) = rest.split_at(number);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(digits.parse::<f64>().ok()? * seconds).ok()?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let read = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(read("250ms"), Some(250));
        assert_eq!(read("1m30s"), Some(90_000));
        assert_eq!(read("1.5h"), Some(5_400_000));
        for no in ["", "10", "s", "1d", "-1s", "1.2.3s", "99999999999999999999h"] {
            assert_eq!(read(no), None, "{no}");
        }
    }
}

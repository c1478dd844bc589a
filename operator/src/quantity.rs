//! Kubernetes' quantities, compared by value: `1024Mi` is `1Gi`, `0.5` is `500m`.

/// The finest that a quantity can be, per unit.
const NANO: i128 = 1_000_000_000;

/// In billionths. None for what is no quantity, or greater than any that Kubernetes has.
pub fn nanos(text: &str) -> Option<i128> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit = unit(suffix)?;
    let whole = if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()?.checked_mul(unit)? };
    let fraction = match fraction {
        "" => 0,
        digits => digits.parse::<i128>().ok()?.checked_mul(unit)? / 10_i128.checked_pow(u32::try_from(digits.len()).ok()?)?,
    };
    Some(sign * whole.checked_add(fraction)?)
}

fn unit(suffix: &str) -> Option<i128> {
    Some(match suffix {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => NANO,
        "k" => NANO * 1_000,
        "M" => NANO * 1_000_000,
        "G" => NANO * 1_000_000_000,
        "T" => NANO * 1_000_000_000_000,
        "P" => NANO * 1_000_000_000_000_000,
        "E" => NANO * 1_000_000_000_000_000_000,
        "Ki" => NANO << 10,
        "Mi" => NANO << 20,
        "Gi" => NANO << 30,
        "Ti" => NANO << 40,
        "Pi" => NANO << 50,
        "Ei" => NANO << 60,
        exponent => {
            let exponent = exponent.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { NANO / power } else { NANO.checked_mul(power)? }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::nanos;

    #[test]
    fn quantities_are_equal_by_value() {
        for (one, other) in
            [("1024Mi", "1Gi"), ("0.5", "500m"), ("1.5Gi", "1536Mi"), ("1e3", "1k"), ("+2", "2000m"), (".5", "500m")]
        {
            assert_eq!(nanos(one), nanos(other), "{one} {other}");
            assert!(nanos(one).is_some());
        }
        assert!(nanos("10Gi") < nanos("20G"));
        for no in ["", "Gi", "1Zi", "1.2.3", "x", "1e99"] {
            assert_eq!(nanos(no), None, "{no}");
        }
    }
}

//! Sizes in bytes: `64MiB`, `256KiB`, a plain number; Kubernetes' `64Mi` too.

use super::kind::Kind;

pub(super) struct Size;

/// The largest first.
const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl Kind for Size {
    type Value = u64;
    const PLACEHOLDER: &'static str = "size";
    const EXPECTED: &'static str = "a size above zero such as 64MiB or 256KiB, or a number of bytes";

    fn parse(text: &str) -> Option<u64> {
        let of_unit = |(unit, scale): &(&str, u64)| {
            let number = text.strip_suffix(unit).or_else(|| text.strip_suffix(unit.trim_end_matches('B')))?;
            Some((number, *scale))
        };
        let (number, scale) = UNITS.iter().find_map(of_unit).unwrap_or((text, 1));
        let plain = number.bytes().all(|byte| byte.is_ascii_digit());
        number.parse::<u64>().ok().filter(|number| plain && *number > 0)?.checked_mul(scale)
    }

    fn show(bytes: &u64) -> String {
        match UNITS.iter().find(|(_, scale)| *bytes > 0 && bytes.is_multiple_of(*scale)) {
            Some((unit, scale)) => format!("{}{unit}", bytes / scale),
            None => bytes.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_have_binary_units_or_none() {
        assert_eq!(Size::parse("64MiB"), Some(64 << 20));
        assert_eq!(Size::parse("256Ki"), Some(256 << 10));
        assert_eq!(Size::parse("1000000"), Some(1_000_000));
        for wrong in ["", "0", "MiB", "-1", "+1", "1.5GiB", "1 MiB", "64MB", "64mib", "99999999999GiB"] {
            assert_eq!(Size::parse(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn every_size_is_read_as_it_was_written(bytes in 1..=u64::MAX, shift in 0..50u32) {
            let bytes = (bytes >> shift << shift).max(1);
            prop_assert_eq!(Size::parse(&Size::show(&bytes)), Some(bytes));
        }
    }
}

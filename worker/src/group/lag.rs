//! How much a copy lacks, in one byte.

/// Changelog records that a copy of a task's tables lacks: exact up to 16, and from there on rounded up by an eighth at most.
///
/// Members tell each other the lags of all their copies in every rebalance, and the coordinator keeps what all of them say in one
/// record. What lags are for – has a copy caught up, and which of two is the better one – needs no more than this. Whoever compares a
/// lag with a bound rounds the bound too, so that all come to the same verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub(crate) struct Lag(pub u8);

/// Below it every number has a code of its own.
const EXACT: u64 = 16;

impl Lag {
    /// Of a copy of which nothing is known.
    pub const UNKNOWN: Self = Self(u8::MAX);

    /// The greatest number of records that is told from what isn't known.
    pub const MOST: u64 = 14 << 30;

    pub fn of(records: u64) -> Self {
        if records < EXACT {
            return Self(records as u8);
        }
        let exponent = u64::from(records.ilog2());
        let eighths = records >> (exponent - 3);
        let rounded = eighths + u64::from(eighths << (exponent - 3) < records);
        // Nine eighths of one power of two are followed by the next power: the codes go on as the numbers do.
        Self((EXACT + (exponent - 4) * 8 + (rounded - 8)).min(u8::MAX.into()) as u8)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The greatest number with this code.
    fn records(lag: Lag) -> u64 {
        let code = u64::from(lag.0);
        if code < EXACT { code } else { (8 + (code - EXACT) % 8) << ((code - EXACT) / 8 + 1) }
    }

    proptest! {
        #[test]
        fn a_lag_is_an_eighth_too_large_at_most_and_never_too_small(bits in 0..33u32, random: u64) {
            let lacks = random >> (63 - bits);
            let said = records(Lag::of(lacks));
            prop_assert!(lacks <= said && said <= lacks + lacks / 8, "{lacks} is said as {said}");
        }

        #[test]
        fn lags_are_ordered_as_their_numbers(a: u64, b: u64, shift in 0..64u32) {
            let (a, b) = (a >> shift, b >> shift);
            prop_assert!(a > b || Lag::of(a) <= Lag::of(b));
        }
    }

    #[test]
    fn small_lags_are_exact_and_huge_ones_all_the_same() {
        assert_eq!((0..16).map(|n| records(Lag::of(n))).collect::<Vec<_>>(), (0..16).collect::<Vec<_>>());
        assert_eq!(Lag::of(u64::MAX), Lag::UNKNOWN);
        assert_eq!((Lag::of(Lag::MOST), Lag::of(Lag::MOST + 1)), (Lag(u8::MAX - 1), Lag::UNKNOWN));
    }
}

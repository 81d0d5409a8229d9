//! Keeping apart what would otherwise happen at the same moment everywhere.

/// Enough to keep services apart that were started together, too little to be noticed.
pub(crate) const STANDARD_PERCENT: u32 = 10;

/// A wait that is shorter by up to `percent` of it; `entropy` is any number, each as good as the other.
pub fn jittered(wait_ms: u64, percent: u32, entropy: u64) -> u64 {
    // In 128 bits nothing overflows: 64 for the wait, 7 for the percent, 32 for the number.
    let part = u128::from(wait_ms) * u128::from(percent.min(100)) / 100;
    let less = (part * u128::from(entropy >> u32::BITS)) >> u32::BITS;
    wait_ms - u64::try_from(less).unwrap_or(wait_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_number_decides_how_much_is_left() {
        assert_eq!(jittered(1000, 10, 0), 1000);
        assert_eq!(jittered(1000, 10, u64::MAX / 2), 951);
        assert_eq!(jittered(1000, 10, u64::MAX), 901);
        assert_eq!(jittered(1000, 0, u64::MAX), 1000);
    }

    proptest! {
        #[test]
        fn a_wait_is_never_longer_and_never_shorter_than_asked(wait: u64, percent in 0..=100_u32, entropy: u64) {
            let jittered = jittered(wait, percent, entropy);
            prop_assert!(jittered <= wait);
            prop_assert!(u128::from(wait - jittered) * 100 <= u128::from(wait) * u128::from(percent));
        }
    }
}

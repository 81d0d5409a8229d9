//! Who pays when all logs together take too much memory.
//!
//! When it is too much, the largest are cut to the same size, and those that are smaller than that are left alone: a
//! service that prints much does not drive out what the others said.

/// After a cut so much of the limit is used, in eighths: so that it is not exceeded again at once.
const USED_AFTER: u64 = 7;

/// The size to which every log is to be cut that is larger, so that all together are well below `limit` bytes; `None`
/// when they are not above it.
pub fn cut(sizes: impl Iterator<Item = u64>, limit: u64) -> Option<u64> {
    let mut sizes: Vec<u64> = sizes.collect();
    if sizes.iter().sum::<u64>() <= limit {
        return None;
    }
    sizes.sort_unstable();
    let mut left = limit / 8 * USED_AFTER;
    for (index, size) in sizes.iter().enumerate() {
        let share = left / (sizes.len() - index) as u64;
        if *size > share {
            return Some(share);
        }
        left -= size;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_largest_pay() {
        assert_eq!(cut([10, 20, 30].into_iter(), 60), None);
        assert_eq!(cut([10, 900, 20].into_iter(), 800), Some(670));
        assert_eq!(cut([900, 900].into_iter(), 800), Some(350));
    }

    proptest! {
        #[test]
        fn afterwards_it_fits(sizes in proptest::collection::vec(0..100_000_u64, 0..50), limit in 8..1_000_000_u64) {
            match cut(sizes.iter().copied(), limit) {
                None => prop_assert!(sizes.iter().sum::<u64>() <= limit),
                Some(level) => {
                    let after: u64 = sizes.iter().map(|size| *size.min(&level)).sum();
                    prop_assert!(after <= limit);
                    // Nobody pays for nothing.
                    prop_assert!(after + sizes.len() as u64 >= limit / 8 * 7);
                }
            }
        }
    }
}

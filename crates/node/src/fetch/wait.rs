//! How long to wait for a channel: growing waits, and the moment to go on without it. Pure.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);
/// No wait is longer.
const CAP: Duration = Duration::from_secs(30);

/// The wait after `failed` failed tries in a row (from 1).
pub fn after(failed: u32) -> Duration {
    FIRST.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(CAP)
}

/// True when the next try would come too late: the time is used up.
pub fn is_over(waited: Duration, next: Duration, limit: Duration) -> bool {
    waited.saturating_add(next) > limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_thirty_seconds() {
        let waits: Vec<u64> = (1..=7).map(|failed| after(failed).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(after(u32::MAX), CAP);
    }

    #[test]
    fn twenty_seconds_hold_four_waits() {
        let limit = Duration::from_secs(20);
        let waited = |tries: u32| (1..tries).map(after).sum::<Duration>();
        let over = (1..9).find(|tries| is_over(waited(*tries), after(*tries), limit));
        assert_eq!(over, Some(5));
        assert!(is_over(Duration::ZERO, FIRST, Duration::ZERO));
    }
}

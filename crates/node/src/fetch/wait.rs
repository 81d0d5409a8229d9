//! When to try a channel again that cannot be read: growing waits, and the moment to go on without it. Pure.

use std::time::Duration;

/// Waits that double from a first one up to a cap.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    pub first: Duration,
    pub cap: Duration,
}

/// While a boot waits, and as long as a node has nothing to run: often.
pub const BOOT: Backoff = Backoff {
    first: Duration::from_secs(1),
    cap: Duration::from_secs(30),
};
/// While a node runs what it has: seldom enough that thousands of them are no load for a channel.
pub const WATCH: Backoff = Backoff {
    first: Duration::from_secs(5),
    cap: Duration::from_secs(300),
};

impl Backoff {
    /// The wait after `failed` failed tries in a row (from 1).
    pub fn after(self, failed: u32) -> Duration {
        let factor = 1 << failed.saturating_sub(1).min(16);
        self.first.saturating_mul(factor).min(self.cap)
    }

    /// What is left to wait when something has happened that may help (the network has changed): until the first wait
    /// is over, so that a link which comes and goes makes no more requests than that.
    pub fn hastened(self, waited: Duration, next: Duration) -> Duration {
        self.first.min(next).saturating_sub(waited)
    }
}

/// Up to a quarter less, so that nodes which lost a channel at one moment do not come back to it at one moment.
pub fn jittered(wait: Duration, random: u32) -> Duration {
    let quarter = u64::try_from(wait.as_micros() / 4).unwrap_or(u64::MAX);
    wait.saturating_sub(Duration::from_micros(u64::from(random) % quarter.saturating_add(1)))
}

/// True when the next try would come too late: the time is used up.
pub fn is_over(waited: Duration, next: Duration, limit: Duration) -> bool {
    waited.saturating_add(next) > limit
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn waits(backoff: Backoff, count: u32) -> Vec<u64> {
        (1..=count).map(|failed| backoff.after(failed).as_secs()).collect()
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        assert_eq!(waits(BOOT, 7), [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(waits(WATCH, 8), [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(WATCH.after(u32::MAX), WATCH.cap);
    }

    #[test]
    fn twenty_seconds_hold_four_waits() {
        let limit = Duration::from_secs(20);
        let waited = |tries: u32| (1..tries).map(|failed| BOOT.after(failed)).sum::<Duration>();
        let over = (1..9).find(|tries| is_over(waited(*tries), BOOT.after(*tries), limit));
        assert_eq!(over, Some(5));
        assert!(is_over(Duration::ZERO, BOOT.first, Duration::ZERO));
    }

    #[test]
    fn a_change_hastens_the_next_try_but_never_floods() {
        let seconds = Duration::from_secs;
        assert_eq!(WATCH.hastened(seconds(100), seconds(300)), Duration::ZERO);
        assert_eq!(WATCH.hastened(seconds(2), seconds(300)), seconds(3));
        assert_eq!(WATCH.hastened(seconds(0), seconds(4)), seconds(4));
    }

    proptest! {
        #[test]
        fn jitter_takes_a_quarter_at_most(seconds in 0u64..1_000_000, random: u32) {
            let wait = Duration::from_secs(seconds);
            let jittered = jittered(wait, random);
            prop_assert!(jittered <= wait && jittered >= wait - wait / 4);
        }
    }
}

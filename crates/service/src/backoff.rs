//! How long to wait before the next restart.

use crate::{Class, Lifecycle, Restart};

impl Lifecycle {
    /// The delay in milliseconds before restart number `attempt` in a row, from 1. The first is immediate, so that a
    /// single crash costs nothing; then `restart_delay_ms`, doubling up to `restart_delay_max_ms`.
    pub fn delay_ms(&self, attempt: u32) -> u64 {
        let Some(doublings) = attempt.checked_sub(2) else {
            return 0;
        };
        let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
        let delay = self.restart_delay_ms.saturating_mul(factor);
        delay.min(self.restart_delay_max_ms)
    }

    /// The restarts in a row that count once a run of `ran_ms` has ended: none after a stable one.
    pub fn counted(&self, attempts: u32, ran_ms: u64) -> u32 {
        if ran_ms >= self.stability_period_ms {
            0
        } else {
            attempts
        }
    }

    /// True when restart number `attempt` in a row, from 1, may be made after an end that was a failure or not.
    pub fn may_restart(&self, attempt: u32, failed: bool) -> bool {
        let wished = match self.restart {
            Restart::Always => true,
            Restart::OnFailure => failed,
            Restart::Never => false,
        };
        wished && (self.max_restarts == 0 || attempt <= self.max_restarts)
    }
}

/// The default limit of restarts in a row. A system service is never given up on.
pub(crate) const fn default_max_restarts(class: Class) -> u32 {
    match class {
        Class::System => 0,
        Class::User => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_restart_is_immediate_then_it_doubles_up_to_the_cap() {
        let lifecycle = Lifecycle {
            restart_delay_max_ms: 5000,
            ..Lifecycle::default()
        };
        let delays: Vec<u64> = (1..=6).map(|attempt| lifecycle.delay_ms(attempt)).collect();
        assert_eq!(delays, [0, 1000, 2000, 4000, 5000, 5000]);
    }

    #[test]
    fn counting_starts_anew_after_a_stable_run() {
        let lifecycle = Lifecycle::default();
        assert_eq!(lifecycle.counted(7, 29_999), 7);
        assert_eq!(lifecycle.counted(7, 30_000), 0);
    }

    #[test]
    fn policy_decides() {
        let mut lifecycle = Lifecycle::default();
        assert!(lifecycle.may_restart(10, true));
        assert!(!lifecycle.may_restart(11, true));
        assert!(!lifecycle.may_restart(1, false));
        lifecycle.restart = Restart::Always;
        assert!(lifecycle.may_restart(1, false));
        lifecycle.max_restarts = 0;
        assert!(lifecycle.may_restart(u32::MAX, true));
        lifecycle.restart = Restart::Never;
        assert!(!lifecycle.may_restart(1, true));
    }

    proptest! {
        #[test]
        fn delays_never_shrink_nor_pass_the_cap(delay in 0..=u64::MAX, cap in 0..=u64::MAX, attempt in 1..u32::MAX - 1) {
            let lifecycle = Lifecycle { restart_delay_ms: delay, restart_delay_max_ms: cap, ..Lifecycle::default() };
            prop_assert!(lifecycle.delay_ms(attempt) <= lifecycle.delay_ms(attempt + 1));
            prop_assert!(lifecycle.delay_ms(attempt) <= cap);
        }

        #[test]
        fn a_delay_is_what_doubling_step_by_step_comes_to(delay in 0..u64::MAX, cap in 0..u64::MAX, attempt in 1..200_u32) {
            let lifecycle = Lifecycle { restart_delay_ms: delay, restart_delay_max_ms: cap, ..Lifecycle::default() };
            let doubled = |now: u128, _| (now * 2).min(u128::from(cap));
            let expected = match attempt {
                1 => 0,
                _ => (2..attempt).fold(u128::from(delay.min(cap)), doubled),
            };
            prop_assert_eq!(u128::from(lifecycle.delay_ms(attempt)), expected);
        }
    }
}

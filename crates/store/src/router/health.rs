//! How quick and how reliable a store has been lately. Pure: the time comes from the caller.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Answers that are remembered for the 95th percentile: fewer say little, and many more are of another day.
const REMEMBERED: usize = 64;
/// Answers below which the percentile says nothing.
const ENOUGH: usize = 8;
/// Weight of the newest answer in the moving average, as in TCP's round-trip time (RFC 6298, 2.3: 1/8).
const NEWEST: f64 = 1.0 / 8.0;
/// A measurement older than this counts as none: the store is tried first once more.
const STALE: Duration = Duration::from_secs(300);
/// First time for which a store that failed is avoided, and the longest; it doubles in between.
const BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);
/// Bounds of the wait for an answer before a second store is asked: below the first, two requests are always under way,
/// and whoever watches notices the second.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(30);
const LONGEST_PATIENCE: Duration = Duration::from_secs(2);
/// The wait while nothing is known.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is remembered of one store.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    /// Moving average of the answers' times, and when the last one came.
    average: Option<(Duration, Instant)>,
    recent: VecDeque<Duration>,
    /// Failures since the last success.
    failures: u32,
    avoided_until: Option<Instant>,
    /// Objects that came with wrong bytes.
    wrong: u64,
}

/// What to ask first: stores that are not avoided, then those not measured lately, then the quickest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    avoided: bool,
    average: Option<Duration>,
}

impl Health {
    /// An answer came.
    pub(super) fn succeeded(&mut self, took: Duration, now: Instant) {
        let average = self
            .latency(now)
            .map_or(took, |average| average.mul_f64(1.0 - NEWEST) + took.mul_f64(NEWEST));
        self.average = Some((average, now));
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(took);
        self.failures = 0;
        self.avoided_until = None;
    }

    /// No answer, or none of use: the store is avoided for a while. `jitter` (0 to 1) shortens the while by up to a half.
    pub(super) fn failed(&mut self, now: Instant, jitter: f64) {
        let full = BACK_OFF
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST_BACK_OFF);
        self.failures = self.failures.saturating_add(1);
        self.avoided_until = Some(now + full.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0));
    }

    /// The store gave wrong bytes, which is a failure, too.
    pub(super) fn was_wrong(&mut self, now: Instant, jitter: f64) {
        self.wrong += 1;
        self.failed(now, jitter);
    }

    /// Somebody is about to ask the store. After its time out one request probes it; the others keep away until that
    /// one is answered.
    pub(super) fn asked(&mut self, now: Instant) {
        if self.failures > 0 && !self.is_avoided(now) {
            self.avoided_until = Some(now + BACK_OFF);
        }
    }

    pub(super) fn rank(&self, now: Instant) -> Rank {
        Rank {
            avoided: self.is_avoided(now),
            average: self.latency(now),
        }
    }

    /// How long to wait for an answer before another store is asked, too: 19 of 20 answers come earlier.
    pub(super) fn patience(&self) -> Duration {
        if self.recent.len() < ENOUGH {
            return PATIENCE;
        }
        let mut sorted: Vec<Duration> = self.recent.iter().copied().collect();
        sorted.sort_unstable();
        sorted[sorted.len() * 95 / 100].clamp(SHORTEST_PATIENCE, LONGEST_PATIENCE)
    }

    /// Moving average of the time until an answer, when one came lately.
    pub(super) fn latency(&self, now: Instant) -> Option<Duration> {
        self.average
            .filter(|(_, at)| now.saturating_duration_since(*at) < STALE)
            .map(|(average, _)| average)
    }

    pub(super) fn is_avoided(&self, now: Instant) -> bool {
        self.avoided_until.is_some_and(|until| now < until)
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn wrong(&self) -> u64 {
        self.wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_quickest_comes_first_and_the_unknown_before_it() {
        let now = Instant::now();
        let (mut slow, mut quick, unknown) = (Health::default(), Health::default(), Health::default());
        slow.succeeded(80 * MS, now);
        quick.succeeded(20 * MS, now);
        assert!(unknown.rank(now) < quick.rank(now) && quick.rank(now) < slow.rank(now));
        let later = now + STALE;
        assert_eq!(slow.rank(later), unknown.rank(later), "an old measurement is none");
    }

    #[test]
    fn the_average_moves_slowly() {
        let now = Instant::now();
        let mut health = Health::default();
        health.succeeded(80 * MS, now);
        health.succeeded(160 * MS, now);
        assert_eq!(health.latency(now), Some(90 * MS));
    }

    #[test]
    fn a_failing_store_is_avoided_longer_each_time_and_then_probed_by_one() {
        let mut now = Instant::now();
        let mut health = Health::default();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            health.failed(now, 0.0);
            assert!(health.is_avoided(now + Duration::from_secs(seconds) - MS));
            now += Duration::from_secs(seconds);
            assert!(!health.is_avoided(now), "{seconds}");
        }
        health.asked(now);
        assert!(health.is_avoided(now), "the others wait for the probe");
        health.succeeded(MS, now);
        assert!(!health.is_avoided(now) && health.failures() == 0);
        health.failed(now, 1.0);
        assert!(!health.is_avoided(now + BACK_OFF / 2), "jitter halves the wait at most");
    }

    #[test]
    fn patience_is_the_95th_percentile_within_bounds() {
        let now = Instant::now();
        let mut health = Health::default();
        assert_eq!(health.patience(), PATIENCE);
        (1..=100).for_each(|n| health.succeeded(n * 2 * MS, now));
        // The last 64 are 74 to 200 ms.
        assert_eq!(health.patience(), 194 * MS);
        (0..64).for_each(|_| health.succeeded(MS, now));
        assert_eq!(health.patience(), SHORTEST_PATIENCE);
        (0..64).for_each(|_| health.succeeded(90_000 * MS, now));
        assert_eq!(health.patience(), LONGEST_PATIENCE);
    }
}

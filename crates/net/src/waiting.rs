//! When to tell that we still wait: soon at first, then ever less often, never silent for long.

use std::time::Duration;

/// Seconds of waiting after which the first lines come.
const FIRST: [u64; 4] = [2, 5, 10, 20];
/// Then a line each so many seconds.
const THEN: u64 = 30;

/// A wait and the lines told about it. Times are those of the daemon's clock.
#[derive(Debug, Clone)]
pub struct Waiting {
    since: Duration,
    told: usize,
}

impl Waiting {
    /// A wait that begins now.
    pub fn new(now: Duration) -> Self {
        Self { since: now, told: 0 }
    }

    /// How long it has been.
    pub fn waited(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since)
    }

    /// When the next line is due.
    pub fn due(&self) -> Duration {
        let after = match FIRST.get(self.told) {
            Some(&seconds) => seconds,
            None => FIRST[FIRST.len() - 1] + THEN * (self.told - FIRST.len() + 1) as u64,
        };
        self.since + Duration::from_secs(after)
    }

    /// True when a line is due; the next call then waits for the next one, and lines that were missed are left out.
    pub fn tell(&mut self, now: Duration) -> bool {
        let due = now >= self.due();
        while now >= self.due() {
            self.told += 1;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_thin_out() {
        let mut waiting = Waiting::new(Duration::from_secs(100));
        let told: Vec<u64> = (100..=220)
            .filter(|&now| waiting.tell(Duration::from_secs(now)))
            .collect();
        assert_eq!(told, [102, 105, 110, 120, 150, 180, 210]);
        assert_eq!(waiting.waited(Duration::from_secs(107)).as_secs(), 7);
    }

    #[test]
    fn missed_lines_are_not_made_up_for() {
        let mut waiting = Waiting::new(Duration::ZERO);
        assert!(waiting.tell(Duration::from_secs(1000)));
        assert!(!waiting.tell(Duration::from_secs(1001)));
    }
}

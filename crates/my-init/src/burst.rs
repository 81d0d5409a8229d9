//! Ctrl-Alt-Del pressed again and again: somebody stands before a machine that does not go down.

use crate::clock::Millis;

/// So often (as systemd has it) …
const TIMES: usize = 7;
/// … within this time.
const WITHIN_MS: Millis = 2_000;

/// The last presses.
#[derive(Debug, Default)]
pub struct Burst([Option<Millis>; TIMES]);

impl Burst {
    /// Counts one more; true when that makes a burst, after which counting begins anew.
    pub fn press(&mut self, now: Millis) -> bool {
        self.0.rotate_left(1);
        self.0[TIMES - 1] = Some(now);
        let burst = self.0[0].is_some_and(|first| now.saturating_sub(first) <= WITHIN_MS);
        if burst {
            *self = Self::default();
        }
        burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_in_two_seconds_are_a_burst() {
        let mut burst = Burst::default();
        let slow: Vec<bool> = (0..20).map(|press| burst.press(press * 400)).collect();
        assert!(!slow.contains(&true));
        let mut burst = Burst::default();
        let quick: Vec<bool> = (0..14).map(|press| burst.press(press * 300)).collect();
        let bursts: Vec<usize> = (0..14).filter(|press| quick[*press]).collect();
        assert_eq!(bursts, [6, 13]);
    }
}

//! How much one sender of messages may say.

use crate::clock::Millis;

/// So long one counts together, in milliseconds.
const WINDOW: Millis = 1000;
/// So many messages are taken in that time.
const MESSAGES: u32 = 2000;

/// Counts messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    begun: Millis,
    count: u32,
    dropped: u64,
}

impl Rate {
    /// Takes the next message, or does not: then `None`. With it comes how many were not taken since the last one that was.
    pub fn take(&mut self, now: Millis) -> Option<u64> {
        if now.saturating_sub(self.begun) >= WINDOW {
            (self.begun, self.count) = (now, 0);
        }
        if self.count >= MESSAGES {
            self.dropped += 1;
            return None;
        }
        self.count += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_are_counted_and_told_with_the_next_one() {
        let mut rate = Rate::default();
        let taken = (0..5000).filter(|_| rate.take(10_000).is_some()).count();
        assert_eq!(taken, 2000);
        assert_eq!(rate.take(10_999), None);
        assert_eq!((rate.take(11_000), rate.take(11_000)), (Some(3001), Some(0)));
    }
}

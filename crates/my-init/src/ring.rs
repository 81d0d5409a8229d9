//! What a service printed last, bounded in bytes.

use std::collections::VecDeque;

/// The newest bytes of a log. The oldest line goes first when there is no room; a line longer than the ring keeps its
/// end. Holds no memory until something is printed.
#[derive(Debug)]
pub struct Ring {
    bytes: VecDeque<u8>,
    capacity: usize,
    dropped: u64,
}

impl Ring {
    /// A ring that keeps at most `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            capacity,
            dropped: 0,
        }
    }

    /// Changes how much is kept from the next write on.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Adds bytes, dropping the oldest lines for which there is no room.
    pub fn push(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(self.capacity)..];
        self.dropped += (bytes.len() - kept.len()) as u64;
        let excess = (self.bytes.len() + kept.len()).saturating_sub(self.capacity);
        if excess > 0 {
            self.drop_lines(excess.min(self.bytes.len()));
        }
        self.bytes.extend(kept);
    }

    /// Drops at least `least` bytes, up to the end of a line.
    fn drop_lines(&mut self, least: usize) {
        let rest = self
            .bytes
            .iter()
            .skip(least.saturating_sub(1))
            .position(|byte| *byte == b'\n');
        let count = rest.map_or(self.bytes.len(), |more| least.max(1) + more);
        let count = count.min(self.bytes.len());
        self.bytes.drain(..count);
        self.dropped += count as u64;
    }

    /// How many bytes are gone for good.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The last `count` lines, oldest first. What is not UTF-8 is replaced.
    pub fn tail(&self, count: usize) -> Vec<String> {
        let end = self.bytes.len() - usize::from(self.bytes.back() == Some(&b'\n'));
        let breaks = (0..end).rev().filter(|index| self.bytes[*index] == b'\n');
        let start = match count.checked_sub(1) {
            None => return Vec::new(),
            Some(before) => breaks.into_iter().nth(before).map_or(0, |index| index + 1),
        };
        if end == start {
            return Vec::new();
        }
        let bytes: Vec<u8> = self.bytes.range(start..end).copied().collect();
        bytes
            .split(|byte| *byte == b'\n')
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect()
    }

    /// The last line that is not empty, cut to a length that suits a console.
    pub fn last_line(&self) -> Option<String> {
        const LINES: usize = 8;
        const LENGTH: usize = 300;
        let lines = self.tail(LINES);
        let line = lines
            .iter()
            .rev()
            .map(|line| line.trim())
            .find(|line| !line.is_empty())?;
        Some(
            line.chars()
                .filter(|character| !character.is_control())
                .take(LENGTH)
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_newest_whole_lines_stay() {
        let mut ring = Ring::new(12);
        ring.push(b"one\ntwo\n");
        ring.push(b"three\n");
        assert_eq!(ring.tail(9), ["two", "three"]);
        assert_eq!(ring.dropped(), 4);
        assert_eq!(ring.tail(1), ["three"]);
        assert_eq!(ring.tail(0), Vec::<String>::new());
        assert_eq!(ring.last_line().as_deref(), Some("three"));
    }

    #[test]
    fn a_line_longer_than_the_ring_keeps_its_end() {
        let mut ring = Ring::new(4);
        ring.push(b"a\n");
        ring.push(b"123456");
        assert_eq!(ring.tail(3), ["3456"]);
        assert_eq!(ring.dropped(), 4);
    }

    #[test]
    fn an_empty_log_has_no_lines() {
        let mut ring = Ring::new(4);
        assert_eq!((ring.tail(5), ring.last_line()), (Vec::new(), None));
        ring.push(b"\n");
        assert_eq!((ring.tail(5), ring.last_line()), (Vec::new(), None));
    }

    proptest! {
        #[test]
        fn never_more_than_its_capacity(capacity in 1..40_usize, writes in proptest::collection::vec("[a\n]{0,50}", 0..20)) {
            let mut ring = Ring::new(capacity);
            let mut total = 0;
            for write in &writes {
                ring.push(write.as_bytes());
                total += write.len() as u64;
                prop_assert!(ring.bytes.len() <= capacity);
                prop_assert_eq!(ring.dropped() + ring.bytes.len() as u64, total);
            }
        }
    }
}

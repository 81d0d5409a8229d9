//! Noticing that somebody reads file after file, and fetching what comes next while he looks at the last one.
//!
//! The kernel reads ahead within a file. Files lie in the store in the order of their paths, many to a frame, so who
//! reads a directory from its beginning wants the next frame soon: it is fetched, and decoded, by another thread.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::index::{Index, NodeId};

/// Files in a row that make a pattern.
const PATTERN: u32 = 4;
/// Between two files in a row there may be this many other inodes: directories, links, what is open already.
const NEAR: usize = 16;
/// Bytes to be ahead: a few frames.
const WINDOW: u64 = 2 << 20;
/// Inodes to be ahead, at most.
const INODES: usize = 512;

/// Watches which files are read.
#[derive(Debug, Default)]
pub(crate) struct Ahead(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: usize,
    row: u32,
    /// Everything before this one is fetched, or on its way.
    until: usize,
}

impl Ahead {
    /// Notes that a file is read; gives the files to fetch now, nothing in most cases.
    pub(crate) fn note(&self, index: &Index, id: NodeId) -> Option<Range<usize>> {
        let size = |place: usize| index.content_at(place);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.note(id.place(), index.len(), size)
    }
}

impl State {
    fn note(&mut self, place: usize, inodes: usize, size: impl Fn(usize) -> u64) -> Option<Range<usize>> {
        if place == self.last {
            return None;
        }
        if place < self.last || place - self.last > NEAR {
            self.row = 0;
            self.until = 0;
        }
        self.row = self.row.saturating_add(1);
        self.last = place;
        let start = self.until.max(place + 1);
        let ahead: u64 = (place + 1..start).map(&size).sum();
        // Half a window at a time, so that it is not a thread's errand for each file.
        if self.row < PATTERN || ahead >= WINDOW / 2 || start - place > INODES / 2 {
            return None;
        }
        let mut end = start;
        let mut bytes = ahead;
        while bytes < WINDOW && end < inodes && end - place < INODES {
            bytes += size(end);
            end += 1;
        }
        self.until = end;
        (start < end).then_some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_in_order_is_always_a_window_ahead_and_each_file_is_fetched_once() {
        let mut state = State::default();
        let mut fetched = Vec::new();
        for place in 1..2000 {
            fetched.extend(state.note(place, 2000, |_| 100_000).into_iter().flatten());
            assert_eq!(state.note(place, 2000, |_| 100_000), None, "the same file again");
            if (4..1900).contains(&place) {
                assert!(fetched.last().is_some_and(|last| *last >= place + 10), "{place}");
            }
        }
        assert!(fetched.is_sorted() && fetched.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((fetched[0], fetched[fetched.len() - 1]), (5, 1999));
    }

    #[test]
    fn who_jumps_about_gets_nothing() {
        let mut state = State::default();
        for step in 0..1000 {
            assert_eq!(state.note(step * 7919 % 2000, 2000, |_| 1000), None, "{step}");
        }
    }
}

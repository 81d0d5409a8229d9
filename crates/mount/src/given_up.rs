//! Reads that were answered with an error a moment ago.
//!
//! What the kernel did not get by reading ahead it asks for again, page by page, for one reader after the other: each
//! of them would wait for the store once more. So what was given up is given up for a moment, for all who waited.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::index::NodeId;

/// How long: the kernel asks again at once, and who really tries again will do so later.
const MOMENT: Duration = Duration::from_millis(250);
/// Reads that are remembered; those under way at once are fewer.
const REMEMBERED: usize = 256;

/// The reads, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct GivenUp(Mutex<VecDeque<(Instant, NodeId, Range<u64>)>>);

impl GivenUp {
    /// Notes that these bytes did not come.
    pub(crate) fn note(&self, id: NodeId, range: Range<u64>) {
        let mut reads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reads.len() == REMEMBERED {
            reads.pop_front();
        }
        reads.push_back((Instant::now(), id, range));
    }

    /// True when some of these bytes did not come a moment ago.
    pub(crate) fn has(&self, id: NodeId, range: &Range<u64>) -> bool {
        let mut reads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while reads.front().is_some_and(|(when, ..)| when.elapsed() > MOMENT) {
            reads.pop_front();
        }
        let overlaps = |other: &Range<u64>| other.start < range.end && range.start < other.end;
        reads.iter().any(|(_, file, other)| *file == id && overlaps(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_these_bytes_and_only_for_a_moment() {
        let (given_up, id) = (GivenUp::default(), NodeId::default());
        given_up.note(id, 100..200);
        assert!(given_up.has(id, &(150..160)) && given_up.has(id, &(0..101)));
        assert!(!given_up.has(id, &(0..100)) && !given_up.has(id, &(200..300)));
        std::thread::sleep(MOMENT + Duration::from_millis(10));
        assert!(!given_up.has(id, &(150..160)));
        for _ in 0..2 * REMEMBERED {
            given_up.note(id, 0..1);
        }
        assert_eq!(given_up.0.lock().unwrap().len(), REMEMBERED);
    }
}

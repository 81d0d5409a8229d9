//! Bytes of a file that are handed on without being copied.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Part of a decoded frame, or of bytes of its own. Keeps all of the frame in memory for as long as it lives.
#[derive(Clone, Default)]
pub struct Slice {
    bytes: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl Slice {
    /// Part of these bytes; none when they have no such part.
    pub(crate) fn of(bytes: Arc<Vec<u8>>, range: Range<usize>) -> Option<Self> {
        bytes.get(range.clone())?;
        Some(Self { bytes, range })
    }

    /// Part of this one; both ends are clamped to it.
    #[must_use]
    pub fn part(mut self, range: Range<usize>) -> Self {
        let place = |at: usize| self.range.start + at.min(self.range.len());
        self.range = place(range.start)..place(range.end);
        self
    }

    /// Puts another one behind it: a copy, unless they lie so in one frame. `all`: how many bytes to make
    /// room for, when it is.
    pub(crate) fn push(&mut self, next: Self, all: usize) {
        if self.is_empty() {
            *self = next;
        } else if Arc::ptr_eq(&self.bytes, &next.bytes) && self.range.end == next.range.start {
            self.range.end = next.range.end;
        } else if self.range == (0..self.bytes.len())
            && let Some(own) = Arc::get_mut(&mut self.bytes)
        {
            own.extend_from_slice(&next);
            self.range.end = own.len();
        } else {
            let mut own = Vec::with_capacity(all.max(self.len() + next.len()));
            own.extend_from_slice(self);
            own.extend_from_slice(&next);
            *self = own.into();
        }
    }
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // The range was checked when it was made, and is only ever made smaller or along with the bytes.
        self.bytes.get(self.range.clone()).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for Slice {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self {
            bytes: Arc::new(bytes),
            range,
        }
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Slice {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slice")
            .field("length", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_one_frame_are_not_copied_and_all_others_are() {
        let frame = Arc::new(b"0123456789".to_vec());
        let of = |range| Slice::of(frame.clone(), range).unwrap();
        assert!(Slice::of(frame.clone(), 5..11).is_none());
        let mut all = Slice::default();
        all.push(of(2..4), 9);
        all.push(of(4..7), 9);
        assert_eq!(all, "23456");
        assert!(Arc::ptr_eq(&all.bytes, &frame));
        all.push(of(1..3), 9);
        assert_eq!(all, "2345612");
        all.push(of(0..0), 9);
        all.push(vec![b'x'; 2].into(), 9);
        assert_eq!(all, "2345612xx");
        assert_eq!(*frame, b"0123456789");
    }

    #[test]
    fn a_part_is_clamped() {
        let slice = || Slice::from(b"0123456789".to_vec()).part(2..8);
        assert_eq!(slice(), "234567");
        assert_eq!(slice().part(1..3), "34");
        assert_eq!(slice().part(4..99), "67");
        assert_eq!(slice().part(99..100), "");
    }
}

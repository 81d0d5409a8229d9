//! The variable that tells a process its own id (`LISTEN_PID`, sd_listen_fds(3)).

use std::cell::UnsafeCell;
use std::ffi::c_char;

/// The variable that tells a process its own id, which only itself can fill in: after fork, without allocating.
#[derive(Debug)]
pub(super) struct OwnId(UnsafeCell<[u8; OWN_ID.len() + DIGITS + 1]>);

const OWN_ID: &[u8] = b"LISTEN_PID=";
/// Of the largest process id, which is an `i32`.
const DIGITS: usize = 10;

impl OwnId {
    pub(super) fn new() -> Self {
        let mut text = [0; OWN_ID.len() + DIGITS + 1];
        text[..OWN_ID.len()].copy_from_slice(OWN_ID);
        Self(UnsafeCell::new(text))
    }

    /// As `NAME=value` with a NUL. Nothing stands behind the `=` until it was filled in.
    pub(super) fn variable(&self) -> *const c_char {
        self.0.get().cast_const().cast()
    }

    /// To be called by the child, while its parent waits.
    pub(super) fn fill(&self, id: libc::pid_t) {
        let mut digits = [0; DIGITS];
        let (mut rest, mut first) = (id.unsigned_abs(), DIGITS);
        while rest > 0 && first > 0 {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        // SAFETY: nobody else has a reference to what is in the cell, and no other thread is here; the pointers into it
        // that there are, are read by the kernel later.
        let text = unsafe { &mut *self.0.get() };
        for (place, digit) in text[OWN_ID.len()..].iter_mut().zip(&digits[first..]) {
            *place = *digit;
        }
    }
}

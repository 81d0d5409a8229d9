//! The descriptor on which a service says that it is ready, with a newline, as s6 does it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, tee};

use super::slot::Slot;
use super::{Driver, Id, Token, data};

/// What is looked at in one go, in bytes: what a pipe holds (pipe(7)).
const PIPE: usize = 64 * 1024;

impl Slot {
    /// Makes the pipe, in place of the last process's; returns the end for the process.
    pub(super) fn open_ready(&mut self, epoll: &OwnedFd, id: Id) -> io::Result<OwnedFd> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&reader, true)?;
        self.close_ready(epoll);
        self.ready = Some(reader);
        self.watch_ready(epoll, id)?;
        Ok(writer)
    }

    pub(super) fn watch_ready(&self, epoll: &OwnedFd, id: Id) -> io::Result<()> {
        let Some(pipe) = &self.ready else { return Ok(()) };
        Ok(epoll::add(epoll, pipe, data(Token::Ready(id)), epoll::EventFlags::IN)?)
    }

    pub(super) fn close_ready(&mut self, epoll: &OwnedFd) {
        if let Some(pipe) = self.ready.take() {
            self.retire(epoll, pipe);
        }
    }
}

impl Driver {
    /// Looks for the newline. The pipe is given up only after it was noted: whoever is killed in between leaves it to its
    /// successor. What comes before the newline means nothing, so that may be lost.
    pub(super) fn read_ready(&mut self, id: Id) {
        let Some(pipe) = self.slots.get(&id).and_then(|slot| slot.ready.as_ref()) else {
            return;
        };
        let seen = match peek(pipe, &mut self.buffer) {
            // Without room for a second pipe it is read at once, which only a crash at this very moment could lose.
            Err(error) if error != Errno::AGAIN => rustix::io::read(pipe, &mut *self.buffer),
            seen => seen,
        };
        let Ok(count) = seen else { return };
        if self.buffer[..count].contains(&b'\n') {
            self.supervisor.notified(id, true, None, crate::clock::now());
            self.note_changes();
        } else if count > 0 {
            let _ = rustix::io::read(pipe, &mut self.buffer[..count]);
            return;
        }
        // It has said what it had to say, or closed its end.
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.close_ready(&self.epoll);
        }
        self.supervisor.touch(id);
    }
}

/// Copies what is in the pipe, which stays there (tee(2)).
fn peek(pipe: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    match tee(pipe, &writer, PIPE, SpliceFlags::NONBLOCK)? {
        0 => Ok(0),
        _ => rustix::io::read(&reader, buffer),
    }
}

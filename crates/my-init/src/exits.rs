//! How processes ended, and which signals the keeper got: from the keeper, which is told by the kernel, to the supervisor,
//! which wants to know.
//!
//! Records in memory that both have open. The keeper only appends; the supervisor notes how far it has read beside what
//! followed from it, so that its successor reads on from there: no end is missed, and none counts twice.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};

use crate::supervisor::Exit;

/// A record: process id, exit code or negative signal number, and mark ([`SharedPid::mark`]), all little-endian.
///
/// [`SharedPid::mark`]: mos_sys::shared_pid::SharedPid::mark
const RECORD: usize = 16;
/// Instead of a process id: the keeper itself got the signal.
pub const SIGNAL: u32 = 0;
/// Memory is given back in pieces of this size, in bytes.
const PIECE: u64 = 64 * 1024;

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Who has ended, or [`SIGNAL`].
    pub pid: u32,
    /// How.
    pub exit: Exit,
    /// Which of several processes with this id it was.
    pub mark: u64,
}

/// The records and a bell that is rung when there are more.
#[derive(Debug)]
pub struct Exits {
    records: File,
    bell: OwnedFd,
}

impl Exits {
    /// Empty records.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            records: File::from(memfd_create("exits", MemfdFlags::CLOEXEC)?),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// What an earlier program left in these descriptors.
    pub fn of(records: OwnedFd, bell: OwnedFd) -> Self {
        Self {
            records: File::from(records),
            bell,
        }
    }

    /// The records and the bell.
    pub fn files(&self) -> [BorrowedFd<'_>; 2] {
        [self.records.as_fd(), self.bell.as_fd()]
    }

    /// Adds one.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn append(&self, end: End) -> io::Result<()> {
        let mut record = [0; RECORD];
        let how = match end.exit {
            Exit::Code(code) => code,
            Exit::Signal(number) => -number,
        };
        record[..4].copy_from_slice(&end.pid.to_le_bytes());
        record[4..8].copy_from_slice(&how.to_le_bytes());
        record[8..].copy_from_slice(&end.mark.to_le_bytes());
        (&self.records).write_all(&record)
    }

    /// Rings the bell: there is something to read.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn ring(&self) -> io::Result<()> {
        rustix::io::write(&self.bell, &1_u64.to_ne_bytes())?;
        Ok(())
    }

    /// The record at this place, if there is one yet, and the place of the next.
    pub fn read(&self, place: u64) -> Option<(End, u64)> {
        let mut record = [0; RECORD];
        self.records.read_exact_at(&mut record, place).ok()?;
        let (first, mark) = record.split_first_chunk::<8>()?;
        let [a, b, c, d, how @ ..] = *first;
        let how = i32::from_le_bytes(how);
        let end = End {
            pid: u32::from_le_bytes([a, b, c, d]),
            exit: if how < 0 { Exit::Signal(-how) } else { Exit::Code(how) },
            mark: u64::from_le_bytes(*mark.first_chunk()?),
        };
        Some((end, place + RECORD as u64))
    }

    /// True at the places up to which it is time to forget what was read, see [`Exits::forget_before`].
    pub fn ends_piece(place: u64) -> bool {
        place.is_multiple_of(PIECE)
    }

    /// Nobody will read what is before this place again: its memory is given back.
    pub fn forget_before(&self, place: u64) {
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // Only memory is lost when this fails.
        let _ = fallocate(&self.records, how, 0, place);
    }

    /// Makes the bell silent until the next record.
    pub fn hear(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.bell, &mut count);
    }
}

impl AsFd for Exits {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_in_order_from_any_place() {
        let exits = Exits::new().expect("memory");
        let end = |pid, exit, mark| End { pid, exit, mark };
        let all = [
            end(7, Exit::Code(0), 0),
            end(8, Exit::Signal(9), u64::MAX),
            end(9, Exit::Code(255), 258),
        ];
        for one in all {
            exits.append(one).expect("room");
        }
        let mut place = 0;
        for one in all {
            let (read, next) = exits.read(place).expect("a record");
            assert_eq!(read, one);
            place = next;
        }
        assert_eq!(exits.read(place), None);
        exits.append(all[1]).expect("room");
        assert_eq!(exits.read(place).map(|(read, _)| read), Some(all[1]));
    }

    #[test]
    fn what_was_read_costs_no_memory() {
        use std::os::unix::fs::MetadataExt as _;
        let exits = Exits::new().expect("memory");
        for pid in 0..20_000 {
            let exit = Exit::Code(0);
            exits.append(End { pid, exit, mark: 0 }).expect("room");
        }
        exits.forget_before(4 * PIECE);
        let blocks = exits.records.metadata().expect("its size").blocks();
        assert!(blocks * 512 < PIECE, "{blocks} blocks");
    }
}

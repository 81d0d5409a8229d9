//! The first bytes of a log's file: what is not in the bytes that follow.
//!
//! | at | what |
//! |---|---|
//! | 0 | when the log was made, in microseconds since 1970: tells it from another one of the same name |
//! | 8 | how many of its bytes are gone |
//! | 16 | how far it was written to a file, how long that was then, its inode, and how many bytes were never written |
//! | 48 | the last record of the kernel that is in it or about to be, and where |
//! | 64 | marks, see [`super::marks`] |
//! | 2048 | the log's own bytes begin |
//!
//! Each field is written by one system call that stays within one page, so it is there as a whole or not at all, whoever
//! is killed when. The file of a log that was never printed to has no page at all.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Where the log's own bytes begin.
pub const BYTES: u64 = 2048;
/// Where the marks are.
pub const MARKS: u64 = 64;
/// How long they are.
pub const MARKS_LENGTH: usize = 2048 - 64;

const BORN: u64 = 0;
const GONE: u64 = 8;
const WRITTEN: u64 = 16;
const RECORD: u64 = 48;

/// When the log was made; 0 when that was never written.
pub fn born(file: &File) -> u64 {
    number(file, BORN)
}

/// Notes when the log was made.
///
/// # Errors
/// Whatever the system says.
pub fn set_born(file: &File, microseconds: u64) -> io::Result<()> {
    file.write_all_at(&microseconds.to_le_bytes(), BORN)
}

/// How many bytes are gone.
pub fn gone(file: &File) -> u64 {
    number(file, GONE)
}

/// Notes how many bytes are about to be gone.
///
/// # Errors
/// Whatever the system says.
pub fn set_gone(file: &File, count: u64) -> io::Result<()> {
    file.write_all_at(&count.to_le_bytes(), GONE)
}

/// The record of the kernel that was noted last, and the place in the log that it has, if it came to that.
pub fn record(file: &File) -> (u64, u64) {
    (number(file, RECORD), number(file, RECORD + 8))
}

/// Notes a record of the kernel that is about to be at a place in the log.
///
/// # Errors
/// Whatever the system says.
pub fn set_record(file: &File, record: u64, place: u64) -> io::Result<()> {
    file.write_all_at(&[record, place].map(u64::to_le_bytes).concat(), RECORD)
}

/// How far a log has come to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// How many bytes of the log: those that are in the file, and those that never will be.
    pub place: u64,
    /// How long the file was after the last one of them.
    pub length: u64,
    /// The file's inode; 0 when there was none yet.
    pub inode: u64,
    /// How many bytes never will be.
    pub lost: u64,
}

/// How far the log has come to a file.
pub fn written(file: &File) -> Written {
    let mut numbers = [0; 4];
    for (index, number) in numbers.iter_mut().enumerate() {
        *number = self::number(file, WRITTEN + 8 * index as u64);
    }
    let [place, length, inode, lost] = numbers;
    Written {
        place,
        length,
        inode,
        lost,
    }
}

/// Notes how far the log has come to a file.
///
/// # Errors
/// Whatever the system says.
pub fn set_written(file: &File, written: &Written) -> io::Result<()> {
    let numbers = [written.place, written.length, written.inode, written.lost];
    file.write_all_at(&numbers.map(u64::to_le_bytes).concat(), WRITTEN)
}

/// A file that ends before it says 0.
fn number(file: &File, at: u64) -> u64 {
    let mut bytes = [0; 8];
    match file.read_exact_at(&mut bytes, at) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => 0,
    }
}

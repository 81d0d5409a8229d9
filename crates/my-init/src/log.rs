//! What a service printed last, bounded in bytes.
//!
//! A file in memory to which the kernel moves what the service's pipe holds: the bytes are never in this process, and
//! there is no moment at which they are in neither place, so a supervisor that is killed loses none. How much was ever
//! printed is the file's own position, which outlives the process too. Old parts are given back to the system.

use std::fs::File;
use std::io::{self, Seek as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use rustix::pipe::{SpliceFlags, splice};

/// So much is taken from a pipe at a time, in bytes: all that a pipe holds (pipe(7)).
const TAKE: usize = 64 * 1024;
/// Memory is given back when this many bytes too many are kept.
const SLACK: u64 = 16 * 1024;

/// The newest bytes of a log.
#[derive(Debug)]
pub struct Log {
    file: File,
    capacity: u64,
    /// How many bytes were ever printed.
    end: u64,
    /// How many of them are no longer there.
    gone: u64,
}

impl Log {
    /// An empty log that keeps at least `capacity` bytes, and little more.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn new(capacity: usize) -> io::Result<Self> {
        Self::resume(memfd_create("log", MemfdFlags::CLOEXEC)?, capacity)
    }

    /// A log as an earlier supervisor left it.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn resume(file: OwnedFd, capacity: usize) -> io::Result<Self> {
        let mut file = File::from(file);
        let end = file.stream_position()?;
        let mut log = Self {
            file,
            capacity: capacity as u64,
            end,
            gone: 0,
        };
        log.gone = log.start();
        Ok(log)
    }

    /// Its descriptor, for the successor.
    pub fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Changes how much is kept.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity as u64;
    }

    /// Takes what a pipe holds now. Returns how many bytes that was; 0 when the other end was closed by everybody.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing now, or whatever the system says.
    pub fn take_from(&mut self, pipe: impl AsFd) -> io::Result<usize> {
        let count = splice(pipe, None, &self.file, None, TAKE, SpliceFlags::NONBLOCK)?;
        self.end += count as u64;
        self.give_back();
        Ok(count)
    }

    fn give_back(&mut self) {
        let start = self.start();
        if start > self.gone + SLACK {
            let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // Only memory is lost when this fails; what is too old is not shown in any case.
            let _ = fallocate(&self.file, how, 0, start);
            self.gone = start;
        }
    }

    /// The first byte that is kept.
    fn start(&self) -> u64 {
        self.end.saturating_sub(self.capacity)
    }

    /// How many bytes are gone for good.
    pub fn dropped(&self) -> u64 {
        self.start()
    }

    /// The last `count` bytes, or as many as there are.
    pub fn last_bytes(&self, count: usize) -> Vec<u8> {
        let start = self.end.saturating_sub(count as u64).max(self.start());
        let mut bytes = vec![0; usize::try_from(self.end - start).unwrap_or(0)];
        match self.file.read_exact_at(&mut bytes, start) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }

    /// The last `count` lines, oldest first. What is not UTF-8 is replaced; the rest of a line whose beginning is gone
    /// is only shown when it is all there is.
    pub fn tail(&self, count: usize) -> Vec<String> {
        let kept = self.last_bytes(usize::try_from(self.capacity).unwrap_or(usize::MAX));
        let mut bytes = kept.strip_suffix(b"\n").unwrap_or(&kept);
        if self.start() > 0
            && let Some(first) = bytes.iter().position(|byte| *byte == b'\n')
        {
            bytes = &bytes[first + 1..];
        }
        if bytes.is_empty() {
            return Vec::new();
        }
        let lines: Vec<&[u8]> = bytes.rsplit(|byte| *byte == b'\n').take(count).collect();
        let text = |line: &&[u8]| String::from_utf8_lossy(line).into_owned();
        lines.iter().rev().map(text).collect()
    }

    /// The last line that is not empty, cut to a length that suits a console.
    pub fn last_line(&self) -> Option<String> {
        const LINES: usize = 8;
        const LENGTH: usize = 300;
        let lines = self.tail(LINES);
        let mut lines = lines.iter().rev().map(|line| line.trim());
        let line = lines.find(|line| !line.is_empty())?;
        let shown = line.chars().filter(|character| !character.is_control());
        Some(shown.take(LENGTH).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;
    use std::os::unix::fs::MetadataExt as _;

    fn log(capacity: usize) -> Log {
        Log::new(capacity).expect("memory")
    }

    fn print(log: &mut Log, bytes: &[u8]) {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        writer.write_all(bytes).expect("room");
        assert_eq!(log.take_from(&reader).expect("what was written"), bytes.len());
    }

    #[test]
    fn the_newest_whole_lines_stay() {
        let mut log = log(11);
        print(&mut log, b"one\ntwo\n");
        print(&mut log, b"three\n");
        assert_eq!(log.tail(9), ["two", "three"]);
        assert_eq!(log.dropped(), 3);
        assert_eq!(log.tail(1), ["three"]);
        assert_eq!(log.tail(0), Vec::<String>::new());
        assert_eq!(log.last_line().as_deref(), Some("three"));
    }

    #[test]
    fn a_line_longer_than_the_log_keeps_its_end() {
        let mut log = log(4);
        print(&mut log, b"a\n");
        print(&mut log, b"123456");
        assert_eq!(log.tail(3), ["3456"]);
        assert_eq!(log.dropped(), 4);
    }

    #[test]
    fn an_empty_log_has_no_lines() {
        let mut log = log(4);
        assert_eq!((log.tail(5), log.last_line()), (Vec::new(), None));
        print(&mut log, b"\n");
        assert_eq!((log.tail(5), log.last_line()), (Vec::new(), None));
    }

    #[test]
    fn a_pipe_without_anything_is_told_from_one_that_was_closed() {
        let mut log = log(4);
        let (reader, writer) = io::pipe().expect("a pipe");
        let nothing = log.take_from(&reader).expect_err("nothing there");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        drop(writer);
        assert_eq!(log.take_from(&reader).expect("the end"), 0);
    }

    #[test]
    fn memory_is_given_back_and_a_successor_finds_the_same() {
        let mut log = log(8 * 1024);
        for number in 0..2000 {
            print(&mut log, format!("{number:0>99}\n").repeat(10).as_bytes());
        }
        let blocks = log.file.metadata().expect("its size").blocks();
        assert!(blocks * 512 <= 8 * 1024 + SLACK + 8 * 1024, "{blocks} blocks");
        let successor = Log::resume(log.file.try_clone().expect("a copy").into(), 8 * 1024).expect("a log");
        assert_eq!(successor.tail(50), log.tail(50));
        assert_eq!(
            (successor.dropped(), log.dropped()),
            (2_000_000 - 8192, 2_000_000 - 8192)
        );
    }

    proptest! {
        #[test]
        fn it_shows_what_the_last_bytes_are(capacity in 1..40_usize, writes in proptest::collection::vec("[a\n]{1,50}", 1..20)) {
            let mut log = log(capacity);
            let mut all = Vec::new();
            for write in &writes {
                print(&mut log, write.as_bytes());
                all.extend(write.bytes());
                let start = all.len().saturating_sub(capacity);
                prop_assert_eq!(log.dropped(), start as u64);
                prop_assert_eq!(log.last_bytes(usize::MAX), &all[start..]);
            }
        }
    }
}

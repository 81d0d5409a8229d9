//! What a service printed last, bounded in bytes.
//!
//! A file in memory to which the kernel moves what the service's pipe holds: the bytes are never in this process, and
//! there is no moment at which they are in neither place, so a supervisor that is killed loses none. How much was ever
//! printed is the file's own position, which outlives the process too. Old parts are given back to the system.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use rustix::pipe::{SpliceFlags, splice};
use rustix::time::{ClockId, clock_gettime};

use super::marks::{self, Mark, Marks};
use super::{head, lines};
use crate::clock::Millis;

/// So much is taken from a pipe at a time, in bytes: all that a pipe holds (pipe(7)).
const TAKE: usize = 64 * 1024;
/// Memory is given back when this many bytes too many are kept.
const SLACK: u64 = 16 * 1024;
/// So many bytes more are kept when they have not come to the log's file yet.
const LAG: u64 = 1024 * 1024;
/// Memory comes in pieces of this size, in bytes.
const PAGE: u64 = 4096;

/// The newest bytes of a log.
#[derive(Debug)]
pub struct Log {
    /// Made when there is something to keep: most services never say anything.
    file: Option<File>,
    capacity: u64,
    /// How many bytes were ever printed.
    end: u64,
    /// How many of them are no longer there.
    gone: u64,
    /// It is written to a file too, for which bytes wait that are not there yet.
    filed: bool,
    /// When it was made, in microseconds since 1970.
    born: u64,
    /// None before anything was printed.
    marks: Option<Box<Marks>>,
}

impl Log {
    /// An empty log that keeps at least `capacity` bytes, and little more. It has no file yet, see [`Log::open`].
    pub fn new(capacity: usize) -> Self {
        Self {
            file: None,
            capacity: capacity as u64,
            end: 0,
            gone: 0,
            filed: false,
            born: 0,
            marks: None,
        }
    }

    /// Makes the file if there is none; true when there was none. Whoever wants a successor to find what comes into it
    /// has to note its number before anything does.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn open(&mut self) -> io::Result<bool> {
        if self.file.is_some() {
            return Ok(false);
        }
        let mut file = File::from(memfd_create("log", MemfdFlags::CLOEXEC)?);
        file.seek(io::SeekFrom::Start(head::BYTES))?;
        self.file = Some(file);
        Ok(true)
    }

    /// A log as an earlier supervisor left it.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn resume(file: OwnedFd, capacity: usize) -> io::Result<Self> {
        let mut file = File::from(file);
        let end = file.stream_position()?.saturating_sub(head::BYTES);
        Ok(Self {
            end,
            capacity: capacity as u64,
            gone: head::gone(&file).min(end),
            filed: false,
            born: head::born(&file),
            marks: Some(Box::new(Marks::resume(&file))),
            file: Some(file),
        })
    }

    /// Its descriptor, for the successor; `None` when nothing ever came.
    pub fn number(&self) -> Option<RawFd> {
        self.file.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// What it is kept in; `None` when nothing ever came.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// Changes how much is kept.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity as u64;
    }

    /// Takes what a pipe holds now. Returns how many bytes that was; 0 when the other end was closed by everybody.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing now, or whatever the system says.
    pub fn take_from(&mut self, pipe: BorrowedFd<'_>, now: Millis) -> io::Result<usize> {
        match state_of(pipe)? {
            PipeState::Empty => return Err(io::ErrorKind::WouldBlock.into()),
            PipeState::Closed => return Ok(0),
            PipeState::Filled => {}
        }
        self.open()?;
        self.mark(now);
        let Some(file) = &self.file else { return Ok(0) };
        let count = splice(pipe, None, file, None, TAKE, SpliceFlags::NONBLOCK)?;
        self.end += count as u64;
        self.give_back();
        Ok(count)
    }

    /// Adds bytes that are not in a pipe.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn append(&mut self, bytes: &[u8], now: Millis) -> io::Result<()> {
        self.open()?;
        self.mark(now);
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = file.write_all(bytes);
        self.end = file.stream_position()?.saturating_sub(head::BYTES);
        self.give_back();
        written
    }

    /// The number of the record of the kernel that comes next; 0 when that is not known.
    pub fn expected_record(&self) -> u64 {
        match self.file.as_ref().map_or((0, 0), head::record) {
            (number, place) if place < self.end => number + 1,
            // It was noted, and is not there.
            (number, _) => number,
        }
    }

    /// Notes that this record of the kernel is added next.
    ///
    /// # Errors
    /// Whatever the system says; then a successor adds it again.
    pub fn note_record(&self, number: u64) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        head::set_record(file, number, self.end)
    }

    /// Without a mark bytes have the time of those before: never a reason not to take them.
    fn mark(&mut self, now: Millis) {
        let Some(file) = &self.file else { return };
        if self.born == 0 {
            self.born = now_since_1970();
            let _ = head::set_born(file, self.born);
        }
        let mark = Mark {
            place: self.end,
            time: now,
        };
        let _ = self.marks.get_or_insert_default().note(file, mark, self.gone);
    }

    /// Says whether the log is written to a file too, from what is there now on.
    pub fn set_filed(&mut self, filed: bool) {
        self.filed = filed;
        let Some(file) = &self.file else { return };
        let mut written = head::written(file);
        if filed && written.inode == 0 && written.place < self.gone {
            written.place = self.gone;
            // If that fails, more is counted as lost than could have been written.
            let _ = head::set_written(file, &written);
        }
    }

    /// True when the log is written to a file too.
    pub fn is_filed(&self) -> bool {
        self.filed
    }

    /// How far it has come to a file.
    pub fn written(&self) -> head::Written {
        self.file.as_ref().map(head::written).unwrap_or_default()
    }

    fn give_back(&mut self) {
        let mut start = self.end.saturating_sub(self.capacity);
        if self.filed && start > self.gone {
            let latest = start.saturating_sub(LAG);
            start = start.min(self.written().place.max(latest));
        }
        if start > self.gone + SLACK.min(self.capacity / 4) {
            self.drop_before(start);
        }
    }

    /// Forgets what is oldest until it takes no more than so much memory, or two pages.
    pub fn shrink_to_memory(&mut self, bytes: u64) {
        let bytes = bytes.max(2 * PAGE);
        if self.memory() > bytes {
            // One page is the head's; what is left ends where a page does, at most a page behind the last byte.
            let pages = (head::BYTES + self.end).div_ceil(PAGE) - (bytes / PAGE - 1);
            self.drop_before((pages * PAGE).saturating_sub(head::BYTES));
        }
    }

    fn drop_before(&mut self, start: u64) {
        // Noted first: nobody is to read what is not there.
        let Some(file) = &self.file else { return };
        if head::set_gone(file, start).is_err() {
            return;
        }
        self.gone = start;
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // Only memory is lost when this fails; what is gone is not shown in any case.
        let _ = fallocate(file, how, head::BYTES, start);
    }

    /// The memory that it takes, in bytes.
    pub fn memory(&self) -> u64 {
        match self.born {
            0 => 0,
            _ => {
                let first = (head::BYTES + self.gone) / PAGE;
                let bytes = (head::BYTES + self.end).div_ceil(PAGE).saturating_sub(first) * PAGE;
                // The page of the head stays.
                bytes + if first > 0 { PAGE } else { 0 }
            }
        }
    }

    /// How many bytes are gone for good: also the number of the first one that is kept.
    pub fn dropped(&self) -> u64 {
        self.gone
    }

    /// How many bytes were ever printed.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Tells this log from another one of the same name; 0 before anything was printed.
    pub fn born(&self) -> u64 {
        self.born
    }

    /// When its bytes came.
    pub fn marks(&self) -> Vec<Mark> {
        self.file.as_ref().map(marks::read).unwrap_or_default()
    }

    /// Bytes from a place on, at most as many as there is room for. Returns how many; none behind the end, and what is
    /// gone must not be asked for.
    pub fn read_at(&self, place: u64, buffer: &mut [u8]) -> usize {
        let left = usize::try_from(self.end.saturating_sub(place)).unwrap_or(usize::MAX);
        let length = left.min(buffer.len());
        let Some(file) = &self.file else { return 0 };
        match file.read_exact_at(&mut buffer[..length], head::BYTES + place.max(self.gone)) {
            Ok(()) => length,
            Err(_) => 0,
        }
    }

    /// The last `count` bytes, or as many as there are.
    pub fn last_bytes(&self, count: usize) -> Vec<u8> {
        let start = self.end.saturating_sub(count as u64).max(self.gone);
        let mut bytes = vec![0; usize::try_from(self.end - start).unwrap_or(0)];
        let count = self.read_at(start, &mut bytes);
        bytes.truncate(count);
        bytes
    }

    /// The last `count` lines, oldest first. What is not UTF-8 is replaced; the rest of a line whose beginning is gone
    /// is only shown when it is all there is.
    pub fn tail(&self, count: usize) -> Vec<String> {
        let start = lines::start_of_last(self, count);
        let mut kept = self.last_bytes(usize::try_from(self.end - start).unwrap_or(usize::MAX));
        if kept.last() == Some(&b'\n') {
            kept.pop();
        }
        if kept.is_empty() || count == 0 {
            return Vec::new();
        }
        let lines = kept.split(|byte| *byte == b'\n');
        lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect()
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

/// What there is in a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipeState {
    /// Nothing, and somebody may still write.
    Empty,
    /// Something.
    Filled,
    /// Nothing, and nobody is left who could write.
    Closed,
}

/// Looks at a pipe without touching it.
///
/// # Errors
/// Whatever the system says.
pub fn state_of(pipe: BorrowedFd<'_>) -> io::Result<PipeState> {
    let mut events = [PollFd::from_borrowed_fd(pipe, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut events, Some(&Timespec::default())))?;
    let flags = events[0].revents();
    Ok(if flags.contains(PollFlags::IN) {
        PipeState::Filled
    } else if flags.is_empty() {
        PipeState::Empty
    } else {
        PipeState::Closed
    })
}

fn now_since_1970() -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    (seconds * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::MetadataExt as _;

    fn log(capacity: usize) -> Log {
        Log::new(capacity)
    }

    fn blocks(log: &Log) -> u64 {
        let file = log.file.as_ref().expect("a file");
        file.metadata().expect("its size").blocks()
    }

    fn print(log: &mut Log, bytes: &[u8], now: Millis) {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        writer.write_all(bytes).expect("room");
        assert_eq!(
            log.take_from(reader.as_fd(), now).expect("what was written"),
            bytes.len()
        );
    }

    #[test]
    fn the_newest_whole_lines_stay() {
        let mut log = log(8);
        print(&mut log, b"one\ntwo\n", 1);
        print(&mut log, b"three\n", 2);
        assert_eq!((log.tail(9), log.dropped()), (vec!["three".to_owned()], 6));
        assert_eq!(log.tail(0), Vec::<String>::new());
        assert_eq!(log.last_line().as_deref(), Some("three"));
        log.append(b"4\n", 3).expect("room");
        // Memory is given back a piece at a time.
        assert_eq!(
            (log.tail(9), log.dropped()),
            (vec!["three".to_owned(), "4".to_owned()], 6)
        );
        assert_eq!(log.tail(1), ["4"]);
    }

    #[test]
    fn a_line_longer_than_the_log_keeps_its_end() {
        let mut log = log(3);
        print(&mut log, b"a\n", 1);
        print(&mut log, b"123456", 1);
        assert_eq!(log.tail(3), ["456"]);
        assert_eq!(log.dropped(), 5);
    }

    #[test]
    fn an_empty_log_has_no_lines_and_takes_no_memory() {
        let mut log = log(4);
        assert_eq!((log.tail(5), log.last_line(), log.memory()), (Vec::new(), None, 0));
        assert_eq!(log.number(), None);
        assert_eq!(
            (log.open().expect("memory"), log.open().expect("memory")),
            (true, false)
        );
        assert_eq!(blocks(&log), 0);
        print(&mut log, b"\n", 1);
        assert_eq!((log.tail(5), log.last_line()), (Vec::new(), None));
        // The head and the first bytes are one page.
        assert_eq!((log.memory(), blocks(&log)), (PAGE, 8));
    }

    #[test]
    fn a_pipe_without_anything_is_told_from_one_that_was_closed() {
        let mut log = log(4);
        let (reader, writer) = io::pipe().expect("a pipe");
        let nothing = log.take_from(reader.as_fd(), 1).expect_err("nothing there");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        drop(writer);
        assert_eq!(log.take_from(reader.as_fd(), 1).expect("the end"), 0);
    }

    #[test]
    fn memory_is_given_back_and_a_successor_finds_the_same() {
        let mut log = log(8 * 1024);
        for number in 0..2000 {
            print(&mut log, format!("{number:0>99}\n").repeat(10).as_bytes(), number);
            let taken = blocks(&log) * 512;
            assert!(
                taken <= log.memory() && log.memory() <= 10 * 1024 + 3 * PAGE,
                "{taken} bytes"
            );
        }
        let successor = Log::resume(
            log.file().expect("a file").try_clone_to_owned().expect("a copy"),
            8 * 1024,
        )
        .expect("a log");
        assert_eq!(successor.tail(50), log.tail(50));
        assert_eq!((successor.dropped(), successor.end()), (log.dropped(), 2_000_000));
        assert_eq!((successor.born(), successor.marks()), (log.born(), log.marks()));
        assert!(log.end() - log.dropped() >= 8 * 1024 && log.born() > 0);
        log.shrink_to_memory(0);
        assert_eq!(log.tail(50).last(), Some(&format!("{:0>99}", 1999)));
        assert_eq!((log.memory(), blocks(&log) * 512), (2 * PAGE, 2 * PAGE));
    }

    #[test]
    fn times_take_less_than_16_bytes_a_line() {
        let mut log = log(64 * 1024);
        for number in 0..4000_u64 {
            log.append(format!("{number:0>99}\n").as_bytes(), number * 7 + 1)
                .expect("room");
        }
        let lines = log.tail(usize::MAX).len();
        let taken = usize::try_from(log.memory() - (log.end() - log.dropped())).expect("small");
        assert!(
            lines >= 655 && taken <= 16 * lines,
            "{taken} bytes more for {lines} lines"
        );
        // And they are right to within a few lines.
        let place = log.end() - 300 * 100;
        let time = marks::time_of(&log.marks(), place).expect("a time");
        assert!((3700 * 7 + 1 - 16 * 7..=3700 * 7 + 1).contains(&time), "{time}");
    }

    proptest! {
        #[test]
        fn it_shows_what_the_last_bytes_are(capacity in 1..40_usize, writes in proptest::collection::vec("[a\n]{1,50}", 1..20)) {
            let mut log = log(capacity);
            let mut all = Vec::new();
            for write in &writes {
                print(&mut log, write.as_bytes(), 1);
                all.extend(write.bytes());
                let kept = all.len() - usize::try_from(log.dropped()).expect("small");
                prop_assert!(kept >= capacity.min(all.len()) && kept <= capacity + capacity / 4);
                prop_assert_eq!(log.last_bytes(usize::MAX), &all[all.len() - kept..]);
            }
        }
    }
}

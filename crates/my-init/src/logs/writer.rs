//! The process that writes logs to files: `my_init --log-writer`.
//!
//! A disk may be slow, full, or hang for ever; so a process of its own waits for it. It is handed the files in memory in
//! which logs are, and needs nothing else: their position says how much there is, and how much of it has come to the
//! disk is noted in them too ([`super::head`]). Whoever is killed in between, the writer or the supervisor, the next one
//! goes on at the same byte. What the log had to forget before it came to the disk is counted, and said in the file.
//!
//! On its standard input is a socket (seqpacket) on which the supervisor says what to write where, and rings when there
//! is something new; on the same socket go complaints the other way. Its end is the end of work: what is left is written,
//! as far as that succeeds at once.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use mos_sys::signals::Signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use serde_json::{Value, json};

use super::file::Files;
use super::head::{self, Written};

/// The option with which the program becomes this process.
pub const OPTION: &str = "--log-writer";
/// The message that only says that there is something new.
pub const BELL: &[u8] = b"!";
/// The longest message, in bytes.
const MESSAGE_MAX: usize = 16 * 1024;
/// Written at a time, in bytes.
const PIECE: usize = 64 * 1024;
/// So many pieces a log is given to come to its end before it is let go: more than one holds.
const PIECES: usize = 1000;
/// Between two attempts at what has failed.
const RETRY: Duration = Duration::from_secs(1);
/// After the supervisor's end.
const FAREWELL: Duration = Duration::from_secs(2);
/// SIGTERM (signal(7)).
const TERMINATE: i32 = 15;

/// A log and where it is written.
#[derive(Debug)]
struct Target {
    name: String,
    memory: File,
    path: String,
    /// When the file is this long, another one is begun.
    bytes: u64,
    count: u32,
    files: Option<Files>,
    written: Written,
    /// What was complained about last, so that it is said once.
    complaint: String,
}

/// What has become of a piece of work.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// There is more to write.
    More,
    Done,
}

impl Target {
    fn new(message: &Value, memory: File) -> Option<Self> {
        Some(Self {
            name: message["name"].as_str()?.to_owned(),
            path: message["path"].as_str()?.to_owned(),
            bytes: message["bytes"].as_u64()?.max(1),
            count: u32::try_from(message["count"].as_u64()?).ok()?,
            written: head::written(&memory),
            memory,
            files: None,
            complaint: String::new(),
        })
    }

    /// Opens the file, and finds out what came to it without being noted.
    fn open(&mut self) -> io::Result<&mut Files> {
        let files = Files::open(&self.path, self.count)?;
        if self.written.inode == files.inode() {
            self.written.place += files.length().saturating_sub(self.written.length);
        }
        (self.written.inode, self.written.length) = (files.inode(), files.length());
        head::set_written(&self.memory, &self.written)?;
        Ok(self.files.insert(files))
    }

    fn end(&self) -> io::Result<u64> {
        Ok(rustix::fs::tell(&self.memory)?.saturating_sub(head::BYTES))
    }

    /// Writes the next piece.
    fn advance(&mut self, buffer: &mut [u8]) -> io::Result<Progress> {
        if self.end()? <= self.written.place {
            return Ok(Progress::Done);
        }
        if self.files.as_ref().is_none_or(Files::is_removed) {
            self.open()?;
        }
        let left = self.end()?.saturating_sub(self.written.place);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let bytes = &mut buffer[..length];
        self.memory.read_exact_at(bytes, head::BYTES + self.written.place)?;
        // Looked at afterwards: what was forgotten meanwhile was not read.
        let gone = head::gone(&self.memory);
        if gone > self.written.place {
            return self.skip_to(gone);
        }
        let count = self.put(&buffer[..length])?;
        self.written.place += count as u64;
        self.note()?;
        Ok(Progress::More)
    }

    /// Says in the file what is missing in it.
    fn skip_to(&mut self, place: u64) -> io::Result<Progress> {
        let lost = place - self.written.place;
        let line = format!("[my_init: {lost} bytes are missing here]\n");
        self.put(line.as_bytes())?;
        self.written.lost += lost;
        self.written.place = place;
        self.note()?;
        Ok(Progress::More)
    }

    fn note(&mut self) -> io::Result<()> {
        if let Some(files) = &self.files {
            (self.written.inode, self.written.length) = (files.inode(), files.length());
        }
        head::set_written(&self.memory, &self.written)
    }

    /// Writes as much as belongs into this file, and begins the next one when it is full.
    fn put(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let limit = self.bytes;
        let Some(files) = &mut self.files else { return Ok(0) };
        let room = usize::try_from(limit.saturating_sub(files.length())).unwrap_or(usize::MAX);
        if bytes.len() <= room {
            return files.write(bytes);
        }
        match bytes[..room].iter().rposition(|byte| *byte == b'\n') {
            Some(last) => return files.write(&bytes[..=last]),
            // A line that is longer than a whole file is cut.
            None if files.length() == 0 => return files.write(&bytes[..room]),
            None => {}
        }
        files.rotate()?;
        self.note()?;
        self.put(bytes)
    }

    fn total(&self) -> u64 {
        self.files.as_ref().map_or(0, Files::total)
    }

    /// Gives room on the disk; true when there was something to give.
    fn make_room(&mut self) -> io::Result<bool> {
        let before = self.total();
        if let Some(files) = &mut self.files {
            files.make_room()?;
            self.note()?;
        }
        Ok(self.total() < before)
    }
}

/// The process.
#[derive(Debug)]
struct Writer<'a> {
    socket: BorrowedFd<'a>,
    targets: Vec<Target>,
    /// What all files together may take, in bytes.
    limit: u64,
    buffer: Vec<u8>,
    ended: bool,
}

/// Does the work until the supervisor says that there is none any more. `limit` is what all files together may take, in
/// bytes.
///
/// # Errors
/// When there is nothing to wait with.
pub fn run(limit: u64) -> io::Result<()> {
    let signals = Signals::new(&[TERMINATE])?;
    let input = io::stdin();
    rustix::io::ioctl_fionbio(&input, true)?;
    let mut writer = Writer {
        socket: input.as_fd(),
        targets: Vec::new(),
        limit,
        buffer: vec![0; PIECE],
        ended: false,
    };
    let mut deadline = None;
    loop {
        while let Ok(Some(_)) = signals.next() {
            writer.ended = true;
        }
        writer.read_messages();
        let (more, failed) = writer.write_pieces();
        if writer.ended {
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + FAREWELL);
            if !more || Instant::now() > deadline {
                return Ok(());
            }
        }
        let wait = match (more, failed) {
            (true, _) => Some(Duration::ZERO),
            (_, true) => Some(RETRY),
            _ => None,
        };
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let socket = if writer.ended {
            PollFlags::empty()
        } else {
            PollFlags::IN
        };
        let mut files = [PollFd::new(&input, socket), PollFd::new(&signals, PollFlags::IN)];
        match poll(&mut files, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl Writer<'_> {
    fn read_messages(&mut self) {
        while !self.ended {
            match self.receive() {
                Ok(Some((message, file))) => self.take(&message, file),
                Ok(None) => self.ended = true,
                Err(_) => return,
            }
        }
    }

    /// A message with what came with it; `None` at the end.
    fn receive(&self) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
        let mut bytes = vec![0; MESSAGE_MAX];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = recvmsg(self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
        if received.bytes == 0 {
            return Ok(None);
        }
        bytes.truncate(received.bytes);
        let mut file = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                file = files.into_iter().next().or(file);
            }
        }
        Ok(Some((bytes, file)))
    }

    fn take(&mut self, message: &[u8], file: Option<OwnedFd>) {
        if message == BELL {
            return;
        }
        let Ok(message) = serde_json::from_slice::<Value>(message) else {
            return;
        };
        let name = message["name"].as_str().unwrap_or_default();
        // What is left of the one before is written before it is let go.
        if let Some(index) = self.targets.iter().position(|target| target.name == name) {
            let mut before = self.targets.swap_remove(index);
            for _ in 0..PIECES {
                if !matches!(before.advance(&mut self.buffer), Ok(Progress::More)) {
                    break;
                }
            }
        }
        let Some(mut target) = file.and_then(|file| Target::new(&message, File::from(file))) else {
            return;
        };
        if target.written.inode != 0 {
            // What it has takes room, also when nothing more comes. If it cannot be opened, that is said when it does.
            let _ = target.open();
        }
        match self.targets.iter().find(|other| other.path == target.path) {
            Some(other) => {
                let text = format!("{}: {} is the file of {} already", target.name, target.path, other.name);
                self.say(&text);
            }
            None => self.targets.push(target),
        }
        self.keep_to_limit();
    }

    /// Writes a piece of every log that has one. Returns whether there is more, and whether something has failed.
    fn write_pieces(&mut self) -> (bool, bool) {
        let (mut more, mut failed) = (false, false);
        for index in 0..self.targets.len() {
            match self.write_piece(index) {
                Ok(Progress::More) => more = true,
                Ok(Progress::Done) => {}
                Err(error) => {
                    failed = true;
                    self.complain(index, &error);
                }
            }
        }
        (more, failed)
    }

    fn write_piece(&mut self, index: usize) -> io::Result<Progress> {
        match self.targets[index].advance(&mut self.buffer) {
            Ok(Progress::More) => {
                self.targets[index].complaint.clear();
                self.keep_to_limit();
                Ok(Progress::More)
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull && self.drop_an_old_one() => Ok(Progress::More),
            Err(error) => {
                // Whatever it was, the next attempt looks for the file anew.
                self.targets[index].files = None;
                Err(error)
            }
            Ok(done) => Ok(done),
        }
    }

    /// The log that takes most gives room until all together are within the limit.
    fn keep_to_limit(&mut self) {
        while self.targets.iter().map(Target::total).sum::<u64>() > self.limit {
            let largest = self.targets.iter_mut().max_by_key(|target| target.total());
            if !largest.is_some_and(|target| matches!(target.make_room(), Ok(true))) {
                return;
            }
        }
    }

    /// The disc is full: what is old is worth less than what is new.
    fn drop_an_old_one(&mut self) -> bool {
        let old = |target: &Target| target.files.as_ref().map_or(0, |files| files.total() - files.length());
        let largest = self.targets.iter_mut().max_by_key(|target| old(target));
        let files = largest.and_then(|target| target.files.as_mut());
        files.is_some_and(|files| matches!(files.drop_oldest(), Ok(true)))
    }

    fn complain(&mut self, index: usize, error: &io::Error) {
        let target = &mut self.targets[index];
        let text = format!(
            "{}: {}: {error}; what it prints is tried again",
            target.name, target.path
        );
        if text != target.complaint {
            target.complaint.clone_from(&text);
            self.say(&text);
        }
    }

    /// Tells the supervisor something. It is lost when it does not listen.
    fn say(&self, text: &str) {
        let message = json!({ "say": text }).to_string();
        let _ = send(
            self.socket,
            message.as_bytes(),
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        );
    }
}

//! The console: lines that are never waited for.
//!
//! A serial line may take 90 µs per byte, or stand still. What it does not take at once waits in a bounded queue; what
//! does not fit there is dropped and counted.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::fs::OFlags;
use rustix::net::{SendFlags, send};

use crate::clock::Millis;
use crate::lossy::printable;

/// What may wait to be written, in bytes.
const QUEUE_MAX: usize = 64 * 1024;

/// Where lines for people go.
#[derive(Debug)]
pub struct Console {
    file: File,
    /// Opening anew is impossible for a socket, but each write can say that it will not wait.
    socket: bool,
    queue: VecDeque<u8>,
    dropped: u64,
}

impl Console {
    /// The machine's console.
    ///
    /// # Errors
    /// When there is none.
    pub fn machine() -> io::Result<Self> {
        Self::open("/dev/console")
    }

    /// Our own standard output. Opened anew where possible, so that not waiting for it is our own affair and not that of
    /// others who write there; a plain file never makes anybody wait, and is shared with its place.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn standard_output() -> io::Result<Self> {
        let shared = File::from(rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?);
        match shared.metadata()?.is_file() {
            true => Ok(Self::new(shared)),
            false => Self::open("/proc/self/fd/1").or_else(|_| Ok(Self::new(shared))),
        }
    }

    fn open(path: &str) -> io::Result<Self> {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        Ok(Self::new(
            OpenOptions::new().append(true).custom_flags(flags).open(path)?,
        ))
    }

    fn new(file: File) -> Self {
        let socket =
            rustix::fs::fstat(&file).is_ok_and(|file| rustix::fs::FileType::from_raw_mode(file.st_mode).is_socket());
        Self {
            file,
            socket,
            queue: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Prints a line of our own, with the time since the kernel started.
    pub fn say(&mut self, now: Millis, text: &str) {
        self.line(&stamp(now, &printable(text)));
    }

    /// Prints a line of a service.
    pub fn relay(&mut self, name: &str, text: &[u8]) {
        let text: String = String::from_utf8_lossy(text)
            .chars()
            .filter(|one| !one.is_control() || *one == '\t')
            .collect();
        self.line(&format!("{name}: {text}\n"));
    }

    fn line(&mut self, line: &str) {
        let note = match self.dropped {
            0 => String::new(),
            dropped => format!("my_init: {dropped} lines were not printed, the console is too slow\n"),
        };
        if self.queue.len() + note.len() + line.len() > QUEUE_MAX {
            self.dropped += 1;
            return;
        }
        self.dropped = 0;
        self.queue.extend(note.bytes().chain(line.bytes()));
        self.flush();
    }

    /// Writes what the console takes now.
    pub fn flush(&mut self) {
        while !self.queue.is_empty() {
            let (part, _) = self.queue.as_slices();
            let written = match self.socket {
                true => send(&self.file, part, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map_err(io::Error::from),
                false => self.file.write(part),
            };
            match written {
                Ok(0) => break,
                Ok(count) => drop(self.queue.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Nobody is there to read: what cannot be said is dropped.
                Err(_) => self.queue.clear(),
            }
        }
    }

    /// True while something waits to be written.
    pub fn is_behind(&self) -> bool {
        !self.queue.is_empty()
    }
}

impl AsFd for Console {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// `my_init: [   3.214] text`.
fn stamp(now: Millis, text: &str) -> String {
    format!("my_init: [{:>4}.{:03}] {text}\n", now / 1000, now % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_carry_the_time_since_the_kernel_started() {
        assert_eq!(stamp(3214, "ready"), "my_init: [   3.214] ready\n");
        assert_eq!(stamp(12_345_006, "x"), "my_init: [12345.006] x\n");
    }

    #[test]
    fn a_socket_that_nobody_reads_blocks_nobody_either() {
        let (reader, writer) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let mut console = Console::new(File::from(std::os::fd::OwnedFd::from(writer)));
        let line = "x".repeat(1000);
        for _ in 0..1000 {
            console.say(1, &line);
        }
        assert!(console.is_behind() && console.dropped > 0);
        drop(reader);
        console.flush();
        assert!(!console.is_behind());
    }

    #[test]
    fn a_console_that_stands_still_blocks_nobody_and_loses_the_newest() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        rustix::io::ioctl_fionbio(&writer, true).expect("non-blocking");
        let mut console = Console::new(File::from(std::os::fd::OwnedFd::from(writer)));
        let line = "x".repeat(1000);
        for _ in 0..1000 {
            console.say(1, &line);
        }
        assert!(console.is_behind() && console.queue.len() <= QUEUE_MAX);
        assert!(console.dropped > 500, "{}", console.dropped);
        drop(reader);
        console.flush();
        assert!(!console.is_behind());
    }
}

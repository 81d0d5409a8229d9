//! What a supervisor knows, kept for its successor: lines in memory that outlive the process.
//!
//! The last line of a name counts. A line that is not whole was being written when its writer ended; what it would have
//! said is then found out anew. When most lines are old the journal is written anew and takes the old one's place.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::Value;

/// Below this size it is never written anew, in bytes.
const SMALL: u64 = 256 * 1024;
/// A draft is written in pieces of this size, in bytes.
const PIECE: usize = 16 * 1024;
/// It is written anew when it is this many times as long as after the last time.
const GROWTH: u64 = 4;

/// The journal. Its descriptor stays the same for ever.
#[derive(Debug)]
pub struct Journal {
    file: OwnedFd,
    length: u64,
    rewrite_at: u64,
    /// Lines that are not written yet.
    waiting: Vec<u8>,
}

impl Journal {
    /// An empty one.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn new() -> io::Result<Self> {
        Ok(Self::of(memfd_create("journal", MemfdFlags::CLOEXEC)?))
    }

    /// What an earlier program left in this descriptor.
    pub fn of(file: OwnedFd) -> Self {
        Self {
            file,
            length: 0,
            rewrite_at: SMALL,
            waiting: Vec::new(),
        }
    }

    /// What it is kept in.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// True when anything was ever noted, by this process or another.
    pub fn has_begun(&self) -> bool {
        rustix::fs::fstat(&self.file).is_ok_and(|file| file.st_size > 0)
    }

    /// Adds a line, which counts from the next [`Journal::commit`] on.
    pub fn add(&mut self, name: &str, value: &Value) {
        line(&mut self.waiting, name, value);
    }

    /// Writes the lines that were added, in one step as far as the system allows.
    ///
    /// # Errors
    /// Whatever the system says; the lines are lost then.
    pub fn commit(&mut self) -> io::Result<()> {
        let written = write(&self.file, &self.waiting);
        self.length += self.waiting.len() as u64;
        self.waiting.clear();
        written
    }

    /// Adds a line and writes it.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn note(&mut self, name: &str, value: &Value) -> io::Result<()> {
        self.add(name, value);
        self.commit()
    }

    /// Ends a line that its writer did not come to end, so that the next one is not lost with it.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn end_line(&self) -> io::Result<()> {
        write(&self.file, b"\n")
    }

    /// True when it is time to write it anew, see [`Journal::replace`].
    pub fn is_long(&self) -> bool {
        self.length > self.rewrite_at
    }

    /// What was noted last under each name.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn read(&self) -> io::Result<BTreeMap<String, Value>> {
        let length = rustix::fs::fstat(&self.file)?.st_size;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let mut done = 0;
        // Without another descriptor: there may be none to be had.
        while done < bytes.len() {
            match rustix::io::pread(&self.file, &mut bytes[done..], done as u64)? {
                0 => break,
                count => done += count,
            }
        }
        Ok(bytes[..done]
            .split_inclusive(|byte| *byte == b'\n')
            .filter_map(understood)
            .collect())
    }

    /// Puts a draft in place of all that was noted, in one step.
    ///
    /// # Errors
    /// Whatever the system says; then nothing has changed.
    pub fn replace(&mut self, mut draft: Draft) -> io::Result<()> {
        draft.write_out()?;
        rustix::io::dup3(&draft.file, &mut self.file, rustix::io::DupFlags::CLOEXEC)?;
        self.length = draft.length;
        self.rewrite_at = SMALL.max(self.length * GROWTH);
        Ok(())
    }
}

/// A journal that is being written anew.
#[derive(Debug)]
pub struct Draft {
    file: OwnedFd,
    length: u64,
    waiting: Vec<u8>,
}

impl Draft {
    /// An empty one.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            file: memfd_create("journal", MemfdFlags::CLOEXEC)?,
            length: 0,
            waiting: Vec::new(),
        })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn add(&mut self, name: &str, value: &Value) -> io::Result<()> {
        line(&mut self.waiting, name, value);
        match self.waiting.len() < PIECE {
            true => Ok(()),
            false => self.write_out(),
        }
    }

    fn write_out(&mut self) -> io::Result<()> {
        write(&self.file, &self.waiting)?;
        self.length += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

fn write(file: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::write(file, bytes))?;
        bytes = &bytes[count..];
    }
    Ok(())
}

fn line(to: &mut Vec<u8>, name: &str, value: &Value) {
    to.push(b'[');
    // Memory takes everything.
    let _ = serde_json::to_writer(&mut *to, name);
    to.push(b',');
    let _ = serde_json::to_writer(&mut *to, value);
    to.extend_from_slice(b"]\n");
}

fn understood(line: &[u8]) -> Option<(String, Value)> {
    match serde_json::from_slice(line.strip_suffix(b"\n")?).ok()? {
        Value::Array(pair) => {
            let [name, value] = <[Value; 2]>::try_from(pair).ok()?;
            Some((name.as_str()?.to_owned(), value))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn replace(journal: &mut Journal, name: &str, value: &Value) {
        let mut draft = Draft::new().expect("memory");
        draft.add(name, value).expect("room");
        journal.replace(draft).expect("room");
    }

    fn read(journal: &Journal) -> Vec<(String, Value)> {
        journal.read().expect("readable").into_iter().collect()
    }

    #[test]
    fn the_last_line_of_a_name_counts_and_half_a_line_does_not() {
        let mut journal = Journal::new().expect("memory");
        for (name, value) in [("web", json!(1)), ("db", json!({"a": "b\nc"})), ("web", json!(2))] {
            journal.note(name, &value).expect("room");
        }
        write(&journal.file, b"[\"db\",{\"a").expect("room");
        journal.end_line().expect("room");
        journal.note("new", &json!(5)).expect("room");
        let known = [("db", json!({"a": "b\nc"})), ("new", json!(5)), ("web", json!(2))];
        let expected = known.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(read(&journal), expected);
        replace(&mut journal, "db", &json!(3));
        assert_eq!(read(&journal), [("db".to_owned(), json!(3))]);
        journal.note("db", &json!(4)).expect("room");
        assert_eq!(read(&journal), [("db".to_owned(), json!(4))]);
    }

    #[test]
    fn it_asks_to_be_rewritten_when_most_of_it_is_old() {
        let mut journal = Journal::new().expect("memory");
        let value = json!("x".repeat(1000));
        let mut lines = 0;
        while !journal.is_long() {
            journal.note("web", &value).expect("room");
            lines += 1;
        }
        assert_eq!(lines, SMALL / 1009 + 1);
        replace(&mut journal, "web", &value);
        assert!(!journal.is_long());
    }
}

//! What a supervisor knows, kept for its successor: notes in memory that outlives the process.
//!
//! The file begins with what tells its version. Then follow entries: the length of the rest, the length of a name, the
//! name, a [`Note`]. The last entry of a name counts, and one with an empty note says that there is nothing any more. An
//! entry that is not whole was being written when its writer ended; it is cut off, and what it would have said is found
//! out anew. When most entries are old the journal is written anew and takes the old one's place.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, memfd_create};

use crate::note::{Note, put, take_bytes};

/// What every journal of this version begins with. Another version of the format is another number here and in the mark
/// of what can take over (`upgrade`), so that no program ever finds one that it cannot read.
const VERSION: &[u8] = b"my_init 3\n";
/// Below this size it is never written anew, in bytes.
const SMALL: u64 = 256 * 1024;
/// What is written is written in pieces of this size, in bytes.
const PIECE: usize = 16 * 1024;
/// It is written anew when it is this many times as long as after the last time.
const GROWTH: u64 = 4;

/// The journal. Its descriptor stays the same for ever.
#[derive(Debug)]
pub struct Journal {
    file: OwnedFd,
    length: u64,
    rewrite_at: u64,
    /// Entries that are not written yet.
    waiting: Vec<u8>,
}

/// What was noted last under each name.
pub type Notes = BTreeMap<String, Note>;

impl Journal {
    /// An empty one.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn new() -> io::Result<Self> {
        Ok(Self::of(begin()?))
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
        let begun = VERSION.len() as u64;
        rustix::fs::fstat(&self.file).is_ok_and(|file| file.st_size.cast_unsigned() > begun)
    }

    /// Adds an entry, which counts from the next [`Journal::commit`] on.
    pub fn add(&mut self, name: &str, note: &Note) {
        entry(&mut self.waiting, name, note);
    }

    /// True when so much was added that it is to be written soon.
    pub fn is_much_waiting(&self) -> bool {
        self.waiting.len() >= PIECE
    }

    /// Writes the entries that were added, in one step as far as the system allows: whoever is killed meanwhile has
    /// written the first ones of them.
    ///
    /// # Errors
    /// Whatever the system says; the entries are lost then, until all is written anew, for which it is time.
    pub fn commit(&mut self) -> io::Result<()> {
        let end = rustix::fs::fstat(&self.file)?.st_size.cast_unsigned();
        let written = write(&self.file, &self.waiting);
        self.length += self.waiting.len() as u64;
        self.waiting.clear();
        if written.is_err() {
            self.rewrite_at = 0;
            // A part of an entry would spoil all that come behind it.
            let _ = rustix::fs::ftruncate(&self.file, end);
        }
        written
    }

    /// Adds an entry and writes it.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn note(&mut self, name: &str, note: &Note) -> io::Result<()> {
        self.add(name, note);
        self.commit()
    }

    /// Cuts off an entry that its writer did not come to end, so that the next one is not lost with it.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn cut_off_torn(&self) -> io::Result<()> {
        let bytes = self.bytes()?;
        let whole = bytes.len() - entries(&bytes)?.fold(bytes.len() - VERSION.len(), |_, (_, rest)| rest);
        Ok(rustix::fs::ftruncate(&self.file, whole as u64)?)
    }

    /// True when it is time to write it anew, see [`Journal::replace`].
    pub fn is_long(&self) -> bool {
        self.length > self.rewrite_at
    }

    /// What was noted last under each name.
    ///
    /// # Errors
    /// When it is of another version, or whatever the system says.
    pub fn read(&self) -> io::Result<Notes> {
        let bytes = self.bytes()?;
        let all = entries(&bytes)?.filter_map(|(entry, _)| understood(entry));
        Ok(all.collect())
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
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
        bytes.truncate(done);
        Ok(bytes)
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
            file: begin()?,
            length: 0,
            waiting: Vec::new(),
        })
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn add(&mut self, name: &str, note: &Note) -> io::Result<()> {
        entry(&mut self.waiting, name, note);
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

/// Memory that says its version. All that is written to it comes at its end, wherever that is by then.
fn begin() -> io::Result<OwnedFd> {
    let file = memfd_create("journal", MemfdFlags::CLOEXEC)?;
    fcntl_setfl(&file, OFlags::APPEND)?;
    write(&file, VERSION)?;
    Ok(file)
}

fn write(file: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::write(file, bytes))?;
        bytes = &bytes[count..];
    }
    Ok(())
}

fn entry(to: &mut Vec<u8>, name: &str, note: &Note) {
    let mut length = Vec::new();
    put(&mut length, name.len() as u64);
    put(to, (length.len() + name.len() + note.bytes().len()) as u64);
    for part in [&length, name.as_bytes(), note.bytes()] {
        to.extend_from_slice(part);
    }
}

/// The whole entries, and how much there is behind each.
fn entries(bytes: &[u8]) -> io::Result<impl Iterator<Item = (&[u8], usize)>> {
    let mut rest = bytes
        .strip_prefix(VERSION)
        .ok_or_else(|| io::Error::other("was noted by another version of my_init"))?;
    Ok(std::iter::from_fn(move || {
        let mut after = rest;
        let entry = take_bytes(&mut after)?;
        rest = after;
        Some((entry, rest.len()))
    }))
}

fn understood(mut entry: &[u8]) -> Option<(String, Note)> {
    let name = take_bytes(&mut entry)?;
    Some((String::from_utf8(name.to_vec()).ok()?, Note::of(entry)))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{SealFlags, fcntl_add_seals};

    use super::*;

    fn said(number: u64) -> Note {
        let mut note = Note::default();
        note.add(1, number);
        note
    }

    #[test]
    fn what_could_not_be_written_is_a_reason_to_write_all_anew() {
        let file = memfd_create("journal", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("memory");
        write(&file, VERSION).expect("room");
        let mut journal = Journal::of(file);
        journal.note("a", &said(1)).expect("room");
        assert!(!journal.is_long());
        fcntl_add_seals(journal.file(), SealFlags::GROW).expect("sealed");
        assert!(journal.note("b", &said(2)).is_err());
        assert!(journal.is_long());
        let mut draft = Draft::new().expect("memory");
        draft.add("a", &said(1)).expect("room");
        draft.add("b", &said(2)).expect("room");
        journal.replace(draft).expect("replaced");
        assert!(!journal.is_long());
        journal.note("c", &said(3)).expect("room");
        let names: Vec<String> = journal.read().expect("read").into_keys().collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    fn replace(journal: &mut Journal, name: &str, note: &Note) {
        let mut draft = Draft::new().expect("memory");
        draft.add(name, note).expect("room");
        journal.replace(draft).expect("room");
    }

    fn read(journal: &Journal) -> Vec<(String, u64)> {
        let notes = journal.read().expect("readable").into_iter();
        notes.map(|(name, note)| (name, note.count(1))).collect()
    }

    #[test]
    fn the_last_entry_of_a_name_counts_and_half_an_entry_does_not() {
        let mut journal = Journal::new().expect("memory");
        assert!(!journal.has_begun());
        for (name, number) in [("web", 1), ("db", 2), ("web", 3)] {
            journal.note(name, &said(number)).expect("room");
        }
        assert!(journal.has_begun());
        let known = [("db".to_owned(), 2), ("web".to_owned(), 3)];
        assert_eq!(read(&journal), known);
        let mut torn = Vec::new();
        entry(&mut torn, "db", &said(1 << 40));
        for kept in 0..torn.len() {
            write(&journal.file, &torn[..kept]).expect("room");
            assert_eq!(read(&journal), known, "{kept} bytes");
            journal.cut_off_torn().expect("cut off");
            journal.note("db", &said(2)).expect("room");
            assert_eq!(read(&journal), known, "{kept} bytes");
        }
        replace(&mut journal, "db", &said(5));
        assert_eq!(read(&journal), [("db".to_owned(), 5)]);
        journal.note("db", &said(6)).expect("room");
        assert_eq!(read(&journal), [("db".to_owned(), 6)]);
    }

    #[test]
    fn it_asks_to_be_rewritten_when_most_of_it_is_old() {
        let mut journal = Journal::new().expect("memory");
        let mut note = Note::default();
        note.add_text(1, &"x".repeat(1000));
        let mut entries = 0;
        while !journal.is_long() {
            journal.note("web", &note).expect("room");
            entries += 1;
        }
        assert_eq!(entries, SMALL / 1009 + 1);
        replace(&mut journal, "web", &note);
        assert!(!journal.is_long());
    }

    #[test]
    fn what_another_version_noted_is_not_read() {
        let file = memfd_create("journal", MemfdFlags::CLOEXEC).expect("memory");
        write(&file, b"[\"web\",{}]\n").expect("room");
        let error = Journal::of(file).read().expect_err("another version");
        assert_eq!(error.to_string(), "was noted by another version of my_init");
    }
}

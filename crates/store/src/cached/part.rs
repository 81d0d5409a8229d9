//! Parts of objects, and their files.
//!
//! ```text
//! [BLAKE3 of the rest: 32][start in the object: u64, little-endian][bytes]
//! ```

use mos_sys::durable;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Bytes of an object that share a file: a read that hits verifies no more than this around what is wanted, and a request
/// brings no more than this on top.
pub(super) const BLOCK: u64 = 256 << 10;
/// Blocks of the largest range that is looked for: 16 GiB, more than any object has.
pub(super) const MOST_BLOCKS: u64 = (16 << 30) / BLOCK;
const DIGEST: usize = 32;
const HEAD: usize = DIGEST + size_of::<u64>();
/// The time of a file's last use is not written more often than this.
const TOUCH_AFTER: Duration = Duration::from_secs(60);

/// Bytes of an object, from `start` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    start: u64,
    bytes: Vec<u8>,
}

/// What is under the name of a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Damaged,
    Whole(Part),
}

impl Part {
    pub(super) fn new(start: u64, bytes: Vec<u8>) -> Self {
        Self { start, bytes }
    }

    pub(super) fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn range(&self) -> Range<u64> {
        self.start..self.start + self.bytes.len() as u64
    }

    /// Reads a file, and notes that it was used.
    pub(super) fn read(path: &Path) -> io::Result<Found> {
        let file = match File::open(path) {
            Err(error) if is_absent(&error) => return Ok(Found::Nothing),
            other => other?,
        };
        let mut content = Vec::new();
        (&file).take(HEAD as u64 + BLOCK + 1).read_to_end(&mut content)?;
        let found = decode(&content).map_or(Found::Damaged, Found::Whole);
        let used = file.metadata()?.modified()?;
        if used.elapsed().is_ok_and(|age| age > TOUCH_AFTER) {
            // On a disk that cannot be written, the order of last use does not matter either.
            let _ = File::options()
                .write(true)
                .open(path)
                .and_then(|file| file.set_modified(SystemTime::now()));
        }
        Ok(found)
    }

    /// Writes the file; returns how many bytes it takes.
    pub(super) fn write(&self, path: &Path) -> io::Result<u64> {
        let content = encode(self);
        replace(path, &content)?;
        Ok(content.len() as u64)
    }

    /// Both parts as one, when they touch; else the newer one.
    pub(super) fn join(self, newer: Self) -> Self {
        let (old, new) = (self.range(), newer.range());
        if old.end < new.start || new.end < old.start {
            return newer;
        }
        let (first, second) = if old.start <= new.start {
            (self, newer)
        } else {
            (newer, self)
        };
        let known = (first.range().end - second.start) as usize;
        let mut bytes = first.bytes;
        bytes.extend_from_slice(second.bytes.get(known..).unwrap_or_default());
        Self {
            start: first.start,
            bytes,
        }
    }
}

/// Cuts bytes of an object at the bounds of its blocks.
pub(super) fn cut(start: u64, bytes: &[u8]) -> Vec<(u64, Part)> {
    let (mut at, mut rest, mut parts) = (start, bytes, Vec::new());
    while !rest.is_empty() {
        let room = (BLOCK - at % BLOCK) as usize;
        let (part, later) = rest.split_at(room.min(rest.len()));
        parts.push((at / BLOCK, Part::new(at, part.to_vec())));
        at += part.len() as u64;
        rest = later;
    }
    parts
}

/// The wanted range, when these parts have all of it; the order does not matter.
pub(super) fn assemble(parts: &[Part], wanted: &Range<u64>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut at = wanted.start;
    while at < wanted.end {
        let part = parts.iter().find(|part| part.range().contains(&at))?;
        let end = part.range().end.min(wanted.end);
        bytes.extend_from_slice(&part.bytes[(at - part.start) as usize..(end - part.start) as usize]);
        at = end;
    }
    Some(bytes)
}

/// What to fetch when these parts, at most one of each block and in order, have not all of a range: from the first
/// missing byte to the last, and in the outermost blocks the way to what is already kept there, so that what is kept of a
/// block stays in one piece.
pub(super) fn missing(parts: &[Part], wanted: &Range<u64>) -> Range<u64> {
    let mut missing = wanted.clone();
    for part in parts {
        let kept = part.range();
        if kept.contains(&missing.start) {
            missing.start = kept.end.min(missing.end);
        } else if kept.end < missing.start && kept.end / BLOCK == missing.start / BLOCK {
            missing.start = kept.end;
        }
    }
    for part in parts.iter().rev() {
        let kept = part.range();
        if kept.start < missing.end && missing.end <= kept.end {
            missing.end = kept.start.max(missing.start);
        } else if kept.start > missing.end && (missing.end - 1) / BLOCK == kept.start / BLOCK {
            missing.end = kept.start;
        }
    }
    missing
}

fn encode(part: &Part) -> Vec<u8> {
    let mut content = vec![0; DIGEST];
    content.extend_from_slice(&part.start.to_le_bytes());
    content.extend_from_slice(&part.bytes);
    let digest = blake3::hash(&content[DIGEST..]);
    content[..DIGEST].copy_from_slice(digest.as_bytes());
    content
}

fn decode(content: &[u8]) -> Option<Part> {
    let (digest, rest) = content.split_first_chunk::<DIGEST>()?;
    if blake3::hash(rest) != *digest {
        return None;
    }
    let (start, bytes) = rest.split_first_chunk()?;
    let start = u64::from_le_bytes(*start);
    start.checked_add(bytes.len() as u64)?;
    Some(Part::new(start, bytes.to_vec()))
}

/// Replaces a file in one step; nothing is synced.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = durable::temporary_beside(path)?;
    let folder = path.parent().unwrap_or(path);
    let write = || fs::create_dir_all(folder).and_then(|()| fs::write(&temporary, content));
    // Whoever makes room may remove the empty folder just now.
    let written = write().or_else(|error| if is_absent(&error) { write() } else { Err(error) });
    let written = written.and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to report; a leftover goes when room is made.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Removes a file; one that is gone counts as removed.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if is_absent(&error) => Ok(()),
        other => other,
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(range: Range<u64>) -> Part {
        Part::new(range.start, range.map(|at| (at % 251) as u8).collect())
    }

    #[test]
    fn a_changed_bit_is_noticed() {
        let content = encode(&object(5..50));
        assert_eq!(decode(&content), Some(object(5..50)));
        for at in 0..content.len() {
            let mut bad = content.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), None, "{at}");
            assert_eq!(decode(&content[..at]), None, "{at}");
        }
    }

    #[test]
    fn gaps_within_a_block_are_bridged() {
        assert_eq!(missing(&[object(0..10)], &(20..30)), 10..30);
        assert_eq!(missing(&[object(40..50)], &(20..30)), 20..40);
        assert_eq!(missing(&[object(15..25)], &(20..30)), 25..30);
        assert_eq!(missing(&[object(25..35)], &(20..30)), 20..25);
        assert_eq!(missing(&[object(22..25)], &(20..30)), 20..30);
        let next = object(BLOCK..BLOCK + 10);
        assert_eq!(missing(&[next], &(BLOCK - 10..BLOCK + 20)), BLOCK - 10..BLOCK + 20);
    }

    proptest! {
        #[test]
        fn what_is_kept_and_what_is_missing_make_the_whole(
            kept in prop::collection::vec((0..BLOCK, 1..BLOCK), 3), start in 0..2 * BLOCK, length in 1..BLOCK,
        ) {
            let parts: Vec<Part> = kept.iter().enumerate().map(|(block, (start, length))| {
                let first = block as u64 * BLOCK;
                object(first + start..first + (start + length).min(BLOCK))
            }).collect();
            let wanted = start..start + length;
            let of_blocks: Vec<Part> = parts.into_iter()
                .filter(|part| (wanted.start / BLOCK..wanted.end.div_ceil(BLOCK)).contains(&(part.start / BLOCK)))
                .collect();
            if assemble(&of_blocks, &wanted).is_none() {
                let missing = missing(&of_blocks, &wanted);
                prop_assert!(missing.start < missing.end);
                let fetched = object(missing.clone());
                for (block, new) in cut(missing.start, &fetched.bytes) {
                    if let Some(old) = of_blocks.iter().find(|part| part.start / BLOCK == block) {
                        let joined = old.clone().join(new.clone());
                        prop_assert_eq!(&joined, &object(joined.range()));
                        prop_assert!(joined.range().start <= old.start.min(new.start));
                        prop_assert!(joined.range().end >= old.range().end.max(new.range().end));
                    }
                }
                let mut all = of_blocks;
                all.push(fetched);
                prop_assert_eq!(assemble(&all, &wanted), Some(object(wanted).bytes));
            }
        }
    }
}

//! Sparse files, as `tar --sparse` takes them apart: a map of what is no hole, and the data without the holes.
//!
//! | format | map | size, name |
//! |---|---|---|
//! | old GNU (entry type `S`) | in the header and blocks behind it | in the header |
//! | pax 0.0 | `GNU.sparse.offset` and `GNU.sparse.numbytes`, over and over | `GNU.sparse.size` |
//! | pax 0.1 | `GNU.sparse.map`, separated by commas | `GNU.sparse.size`, `GNU.sparse.name` |
//! | pax 1.0 | lines of decimal numbers before the data, filled up to a block | `GNU.sparse.realsize`, `GNU.sparse.name` |
//!
//! (GNU tar manual, "Storing Sparse Files".)

use std::io::{self, BufRead as _, BufReader, Read};

use tar::{GnuExtSparseHeader, GnuHeader, GnuSparseHeader};

use super::invalid;
use super::window::MAX_HEADERS;

/// How the records begin.
const PREFIX: &[u8] = b"GNU.sparse.";
/// Bytes of which everything in an archive is a multiple.
const BLOCK: u64 = 512;
/// Most digits of a number of 64 bits.
const MAX_DIGITS: u64 = 20;
/// Most pieces of all sparse files of an archive. Each takes 24 bytes of memory and may take 4 in the archive.
const MAX_PIECES: usize = 1 << 20;
/// Most bytes of all sparse files of an archive, holes included. Holes cost nothing in an archive, and time in every reader.
const MAX_SIZE: u64 = 1 << 40;

/// What pax records say of a sparse file.
#[derive(Debug, Default)]
pub(super) struct Records {
    version: (u64, u64),
    size: Option<u64>,
    /// What it is called, where the entry has another name.
    pub(super) name: Option<Vec<u8>>,
    /// Positions and lengths in turns.
    numbers: Vec<u64>,
}

/// Where the data of a sparse file belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Map {
    /// Bytes, holes included.
    pub(super) size: u64,
    /// Position and length of each piece; in the archive they follow each other.
    pub(super) pieces: Vec<(u64, u64)>,
    /// Bytes of the map that stand where data is expected.
    pub(super) before: u64,
}

/// What an archive may still ask for.
#[derive(Debug)]
pub(super) struct Allowance {
    pieces: usize,
    size: u64,
}

impl Records {
    /// Takes a record that is one of these; false when it is another.
    pub(super) fn take(found: &mut Option<Self>, key: &[u8], value: &[u8]) -> io::Result<bool> {
        let Some(what) = key.strip_prefix(PREFIX) else {
            return Ok(false);
        };
        let records = found.get_or_insert_default();
        match what {
            b"major" => records.version.0 = number(value)?,
            b"minor" => records.version.1 = number(value)?,
            b"size" | b"realsize" => records.size = Some(number(value)?),
            b"name" => records.name = Some(value.to_vec()),
            b"offset" | b"numbytes" => records.numbers.push(number(value)?),
            b"map" => {
                let numbers = value.split(|byte| *byte == b',').map(number);
                records.numbers = numbers.collect::<io::Result<_>>()?;
            }
            // It is seen how many there are.
            b"numblocks" => {}
            other => return Err(wrong(&format!("{} is unknown", String::from_utf8_lossy(other)))),
        }
        Ok(true)
    }

    /// The map, which for pax 1.0 is read from where the data is expected; `stored` is how much there is of that.
    pub(super) fn map(self, data: impl Read, stored: u64) -> io::Result<Map> {
        let size = self.size.ok_or_else(|| wrong("its size is missing"))?;
        let (numbers, before) = match self.version {
            (0, _) => (self.numbers, 0),
            (1, 0) => numbers_before(data.take(MAX_HEADERS.min(stored)))?,
            (major, minor) => return Err(wrong(&format!("version {major}.{minor} is unknown"))),
        };
        let stored = stored.checked_sub(before).ok_or_else(|| wrong("its map has no end"))?;
        Map::new(size, &numbers, before, stored)
    }
}

impl Map {
    fn new(size: u64, numbers: &[u64], before: u64, stored: u64) -> io::Result<Self> {
        let (pairs, rest) = numbers.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(wrong("a piece has no length"));
        }
        let (mut end, mut sum) = (0_u64, 0_u64);
        for [position, length] in pairs {
            let next = position.checked_add(*length).filter(|next| *next <= size);
            if *position < end || next.is_none() {
                return Err(wrong("pieces overlap, or lie beyond its end"));
            }
            end = next.unwrap_or(size);
            // It cannot overflow: all of them are different bytes of one file.
            sum += length;
        }
        if sum != stored {
            return Err(wrong(&format!("its pieces have {sum} bytes, and the archive {stored}")));
        }
        let pieces = pairs.iter().filter(|[_, length]| *length > 0);
        Ok(Self {
            size,
            pieces: pieces.map(|[position, length]| (*position, *length)).collect(),
            before,
        })
    }

    /// The map of the old format; `behind` is what follows the header, and `stored` how much data there is.
    pub(super) fn old(header: &GnuHeader, mut behind: impl Read, stored: u64) -> io::Result<Self> {
        let mut numbers = Vec::new();
        let mut before = 0;
        push(&mut numbers, &header.sparse)?;
        let mut more = header.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            behind.read_exact(block.as_mut_bytes())?;
            before += BLOCK;
            if before > MAX_HEADERS {
                return Err(wrong("its map has no end"));
            }
            push(&mut numbers, block.sparse())?;
            more = block.is_extended();
        }
        Self::new(header.real_size()?, &numbers, before, stored)
    }

    /// Puts the pieces in their places in memory. `stored` is all that the archive has of the file.
    pub(super) fn expand(&self, stored: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.size).map_err(io::Error::other)?];
        let mut data = usize::try_from(self.before)
            .ok()
            .and_then(|before| stored.get(before..));
        for (position, length) in &self.pieces {
            let (at, length) = (*position as usize, *length as usize);
            let (piece, rest) = data
                .and_then(|data| data.split_at_checked(length))
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            bytes[at..at + length].copy_from_slice(piece);
            data = Some(rest);
        }
        Ok(bytes)
    }
}

fn push(numbers: &mut Vec<u64>, list: &[GnuSparseHeader]) -> io::Result<()> {
    for piece in list.iter().filter(|piece| !piece.is_empty()) {
        numbers.extend([piece.offset()?, piece.length()?]);
    }
    Ok(())
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            pieces: MAX_PIECES,
            size: MAX_SIZE,
        }
    }
}

impl Allowance {
    /// Takes what a sparse file needs.
    pub(super) fn take(&mut self, map: &Map) -> io::Result<()> {
        let pieces = self.pieces.checked_sub(map.pieces.len());
        let size = self.size.checked_sub(map.size);
        (self.pieces, self.size) = pieces.zip(size).ok_or_else(|| {
            invalid(format!(
                "sparse files of more than {MAX_SIZE} bytes, or {MAX_PIECES} pieces, in all"
            ))
        })?;
        Ok(())
    }
}

/// The numbers of pax 1.0, and how many bytes they take.
fn numbers_before(data: impl Read) -> io::Result<(Vec<u64>, u64)> {
    let mut data = BufReader::new(data);
    let mut before = 0;
    let mut next = || -> io::Result<u64> {
        let mut line = Vec::new();
        (&mut data).take(MAX_DIGITS + 1).read_until(b'\n', &mut line)?;
        before += line.len() as u64;
        number(line.strip_suffix(b"\n").ok_or_else(|| wrong("its map has no end"))?)
    };
    let count = next()?;
    let mut numbers = Vec::new();
    for _ in 0..count.saturating_mul(2) {
        numbers.push(next()?);
    }
    Ok((numbers, before.next_multiple_of(BLOCK)))
}

fn number(text: &[u8]) -> io::Result<u64> {
    let text = std::str::from_utf8(text).ok();
    let digits = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| wrong("a number in its map is none"))
}

fn wrong(why: &str) -> io::Error {
    invalid(format!("a sparse file: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(pairs: &[(&str, &str)]) -> io::Result<Records> {
        let mut found = None;
        for (key, value) in pairs {
            assert!(Records::take(
                &mut found,
                format!("GNU.sparse.{key}").as_bytes(),
                value.as_bytes()
            )?);
        }
        assert!(!Records::take(&mut found, b"path", b"x")?);
        Ok(found.unwrap_or_default())
    }

    #[test]
    fn maps_that_make_no_sense_are_refused() {
        let refused = |pairs: &[(&str, &str)], data: &str, stored: u64| {
            let map = records(pairs).and_then(|records| records.map(data.as_bytes(), stored));
            map.unwrap_err().to_string()
        };
        let one = [("major", "1"), ("realsize", "9")];
        for (pairs, data, stored, why) in [
            (&[("map", "0,1")][..], "", 1, "its size is missing"),
            (&[("size", "9"), ("map", "0,1,2")], "", 1, "has no length"),
            (&[("size", "9"), ("map", "4,2,5,1")], "", 3, "overlap"),
            (&[("size", "9"), ("map", "8,2")], "", 2, "beyond its end"),
            (
                &[("size", "9"), ("map", "18446744073709551615,2")],
                "",
                2,
                "beyond its end",
            ),
            (&[("size", "9"), ("map", "1,2")], "", 3, "2 bytes, and the archive 3"),
            (&[("size", "-9")], "", 0, "is none"),
            (&[("size", "")], "", 0, "is none"),
            (&[("surprise", "1")], "", 0, "surprise is unknown"),
            (&[("size", "1"), ("major", "2")], "", 0, "version 2.0"),
            (&one, "1\n0\n1", 512, "no end"),
            (&one, "18446744073709551615\n0\n1\n", 512, "no end"),
            (&one, "1\n0\n000000000000000000000000001\n", 512, "no end"),
            (&one, "1\n0\n1\n", 511, "no end"),
        ] {
            let error = refused(pairs, data, stored);
            assert!(error.contains(why), "{pairs:?}: {error}");
        }
    }

    #[test]
    fn an_archive_may_not_ask_for_more_than_it_is_allowed() {
        let map = |size, count| Map {
            size,
            pieces: vec![(0, 0); count],
            before: 0,
        };
        let mut allowance = Allowance::default();
        allowance.take(&map(MAX_SIZE - 1, MAX_PIECES - 1)).unwrap();
        assert!(allowance.take(&map(2, 0)).is_err());
        assert!(allowance.take(&map(0, 2)).is_err());
        allowance.take(&map(1, 1)).unwrap();
    }
}

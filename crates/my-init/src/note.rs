//! What is known of something, as bytes: numbers, texts, and other notes, each under a key.
//!
//! Written after every change and read once in a supervisor's life, so writing is what has to cost nothing. A field is a
//! number `key << 1 | kind`, and then, for kind 0, a number; for kind 1 the length of what follows, and that. Numbers have
//! 7 bits in a byte, the low ones first, with the high bit in all but the last (LEB128). A reader skips keys that it does
//! not know, and takes a key that is not there for what says nothing: so versions that know more and less understand each
//! other, as long as no key ever means something else than it did.

use std::os::fd::RawFd;

/// A field's value is a number.
const NUMBER: u64 = 0;
/// A field's value is bytes.
const BYTES: u64 = 1;
/// Of a number in a byte.
const BITS: u32 = 7;
const MORE: u8 = 1 << BITS;

/// Fields, in the order in which they were written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Note(Vec<u8>);

/// What is under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field<'n> {
    Number(u64),
    Bytes(&'n [u8]),
}

impl Note {
    /// What was written by [`Note::bytes`]. Where it cannot be understood it ends.
    pub fn of(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// For whom it is written.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// True when it says nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a number, if there is one.
    pub fn add(&mut self, key: u8, number: impl Into<Option<u64>>) {
        if let Some(number) = number.into() {
            put(&mut self.0, u64::from(key) << 1 | NUMBER);
            put(&mut self.0, number);
        }
    }

    /// Adds a number that may be negative, if there is one.
    pub fn add_signed(&mut self, key: u8, number: impl Into<Option<i64>>) {
        // Small ones of both signs are short so (zigzag).
        let number = number.into();
        self.add(key, number.map(|number| (number << 1 ^ number >> 63).cast_unsigned()));
    }

    /// Adds the number of a descriptor, if there is one.
    pub fn add_file(&mut self, key: u8, file: Option<RawFd>) {
        self.add(key, file.and_then(|number| u64::try_from(number).ok()));
    }

    /// Adds a count, if there is anything to count.
    pub fn add_count(&mut self, key: u8, count: u64) {
        self.add(key, Some(count).filter(|count| *count > 0));
    }

    /// Adds that something is so, if it is.
    pub fn add_flag(&mut self, key: u8, truth: bool) {
        self.add_count(key, truth.into());
    }

    /// Adds a text, if it is not empty.
    pub fn add_text(&mut self, key: u8, text: &str) {
        if !text.is_empty() {
            self.add_bytes(key, text.as_bytes());
        }
    }

    /// Adds another note, also when that is empty.
    pub fn add_part(&mut self, key: u8, part: &Self) {
        self.add_bytes(key, &part.0);
    }

    fn add_bytes(&mut self, key: u8, bytes: &[u8]) {
        put(&mut self.0, u64::from(key) << 1 | BYTES);
        put(&mut self.0, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn fields(&self) -> impl Iterator<Item = (u64, Field<'_>)> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let head = take(&mut rest)?;
            let field = match head & 1 {
                NUMBER => Field::Number(take(&mut rest)?),
                _ => Field::Bytes(take_bytes(&mut rest)?),
            };
            Some((head >> 1, field))
        })
    }

    fn all(&self, key: u8) -> impl Iterator<Item = Field<'_>> {
        self.fields()
            .filter(move |(one, _)| *one == u64::from(key))
            .map(|(_, field)| field)
    }

    /// The number under this key.
    pub fn number(&self, key: u8) -> Option<u64> {
        self.all(key).find_map(|field| match field {
            Field::Number(number) => Some(number),
            Field::Bytes(_) => None,
        })
    }

    /// The number under this key, if it fits.
    pub fn small<N: TryFrom<u64>>(&self, key: u8) -> Option<N> {
        N::try_from(self.number(key)?).ok()
    }

    /// The number under this key, which may be negative.
    pub fn signed(&self, key: u8) -> Option<i64> {
        let number = self.number(key)?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// The count under this key: 0 when there is none.
    pub fn count(&self, key: u8) -> u64 {
        self.number(key).unwrap_or(0)
    }

    /// Whether what is under this key is so.
    pub fn flag(&self, key: u8) -> bool {
        self.count(key) > 0
    }

    /// The text under this key: empty when there is none.
    pub fn text(&self, key: u8) -> String {
        let bytes = self.all(key).find_map(Field::bytes).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// The note under this key.
    pub fn part(&self, key: u8) -> Option<Self> {
        self.parts(key).next()
    }

    /// All notes under this key.
    pub fn parts(&self, key: u8) -> impl Iterator<Item = Self> {
        self.all(key).filter_map(Field::bytes).map(Self::of)
    }
}

impl<'n> Field<'n> {
    fn bytes(self) -> Option<&'n [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Number(_) => None,
        }
    }
}

/// Writes a number.
pub fn put(to: &mut Vec<u8>, mut number: u64) {
    while number >= u64::from(MORE) {
        to.push(number as u8 | MORE);
        number >>= BITS;
    }
    to.push(number as u8);
}

/// Reads a number and goes on behind it; `None` when there is no whole one, or one that is too large.
pub fn take(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for (index, byte) in from.iter().enumerate().take(u64::BITS.div_ceil(BITS) as usize) {
        let shift = BITS * index as u32;
        let bits = u64::from(byte & !MORE);
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & MORE == 0 {
            *from = &from[index + 1..];
            return Some(number);
        }
    }
    None
}

/// Reads a length and so many bytes, and goes on behind them; `None` when they are not all there.
pub fn take_bytes<'b>(from: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::try_from(take(from)?).ok()?;
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_says_nothing_takes_nothing() {
        let mut note = Note::default();
        note.add(1, None);
        note.add_count(2, 0);
        note.add_flag(3, false);
        note.add_text(4, "");
        assert!(note.is_empty());
        assert_eq!((note.number(1), note.count(2), note.flag(3)), (None, 0, false));
        assert_eq!((note.text(4), note.part(5)), (String::new(), None));
        note.add(1, 0);
        note.add_part(5, &Note::default());
        assert_eq!((note.number(1), note.part(5)), (Some(0), Some(Note::default())));
    }

    #[test]
    fn unknown_keys_and_kinds_are_passed_over() {
        let mut note = Note::default();
        note.add(60, 7);
        note.add_text(61, "what a later version knows");
        note.add_text(1, "a number in another version");
        note.add_flag(2, true);
        assert_eq!((note.number(1), note.flag(2)), (None, true));
    }

    #[test]
    fn numbers_are_as_short_as_they_are_small() {
        for (number, length) in [(0, 1), (127, 1), (128, 2), (u64::MAX, 10)] {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            assert_eq!((bytes.len(), take(&mut &bytes[..])), (length, Some(number)));
        }
        // 65 bits.
        let large = [&[0xFF; 9][..], &[3]].concat();
        assert_eq!((take(&mut &large[..]), take(&mut &[0x80; 20][..])), (None, None));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(number: u64, signed: i64, text: String, inner: u64, cut in 0..99_usize) {
            let (mut note, mut part) = (Note::default(), Note::default());
            part.add(1, inner);
            note.add(1, number);
            note.add_signed(2, signed);
            note.add_text(3, &text);
            note.add_part(4, &part);
            note.add_part(4, &Note::default());
            let read = Note::of(note.bytes());
            prop_assert_eq!((read.number(1), read.signed(2), read.text(3)), (Some(number), Some(signed), text));
            prop_assert_eq!(read.parts(4).collect::<Vec<_>>(), [part, Note::default()]);
            // Half of it is at worst less.
            let half = Note::of(&note.bytes()[..cut.min(note.bytes().len())]);
            prop_assert!(half.fields().count() <= 5);
        }

        #[test]
        fn any_bytes_are_a_note(bytes: Vec<u8>) {
            let note = Note::of(&bytes);
            let _ = (note.number(1), note.signed(1), note.text(1), note.parts(1).count());
            prop_assert!(note.fields().count() <= bytes.len());
        }
    }
}

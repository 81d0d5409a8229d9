//! When which byte of a log came: what lets lines have times although no byte of them is ever in this process.
//!
//! A mark says: what follows from this place on came at this time or later. It is written before anything is read, so
//! that whoever is killed in between leaves a mark without bytes, and never bytes without a mark. Marks of the same
//! millisecond are one. There is room for a fixed number; when it is used up, those of bytes that are gone are dropped,
//! and if that is not enough every second one: an old line's time is then less exact, and never too late.
//!
//! In the file: place and time of the first one (8 bytes each, little-endian), then 8 bytes for each with both as
//! differences from the first, 28 bits of place and 36 bits of time. The list ends where they stop to grow.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::head::{MARKS, MARKS_LENGTH};
use crate::clock::Millis;

/// Bytes of the first place and time.
const BASE: usize = 16;
/// Bytes of a mark.
const SIZE: usize = 8;
/// So many marks there may be.
const MAX: usize = (MARKS_LENGTH - BASE) / SIZE;
/// When they are thinned, so many stay at most, so that it does not happen all the time.
const STAY: usize = MAX / 4 * 3;
const PLACE_BITS: u32 = 28;
const TIME_BITS: u32 = 36;

/// From here on the bytes came at this time or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The number of the first byte that it is about.
    pub place: u64,
    /// When.
    pub time: Millis,
}

/// The writer's side.
#[derive(Debug, Default)]
pub struct Marks {
    count: usize,
    base: Option<Mark>,
    last: Option<Mark>,
}

impl Marks {
    /// Goes on where another writer was.
    pub fn resume(file: &File) -> Self {
        let marks = read(file);
        Self {
            count: marks.len(),
            base: marks.first().copied(),
            last: marks.last().copied(),
        }
    }

    /// Notes that what is read next comes now. `gone` is how many bytes are no longer there.
    ///
    /// # Errors
    /// Whatever the system says; then the next bytes are taken to have come with those before.
    pub fn note(&mut self, file: &File, mark: Mark, gone: u64) -> io::Result<()> {
        if let Some(last) = self.last {
            if last.time == mark.time {
                return Ok(());
            }
            if last.place == mark.place && self.count > 0 {
                // Nothing came after the last one.
                self.count -= 1;
            }
        }
        let base = self.base.filter(|_| self.count > 0).unwrap_or(mark);
        match pack(base, mark).filter(|_| self.count > 0 && self.count < MAX) {
            Some(packed) => {
                file.write_all_at(&packed.to_le_bytes(), MARKS + (BASE + self.count * SIZE) as u64)?;
                self.count += 1;
            }
            None => self.write_anew(file, mark, gone)?,
        }
        self.last = Some(mark);
        Ok(())
    }

    fn write_anew(&mut self, file: &File, mark: Mark, gone: u64) -> io::Result<()> {
        let mut marks = read(file);
        marks.truncate(self.count);
        marks.push(mark);
        let marks = thin(marks, gone);
        let bytes = encode(&marks);
        file.write_all_at(&bytes, MARKS)?;
        (self.count, self.base) = (marks.len(), marks.first().copied());
        Ok(())
    }
}

/// All marks, by place and time.
pub fn read(file: &File) -> Vec<Mark> {
    let mut bytes = [0; MARKS_LENGTH];
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], MARKS + length as u64) {
            Ok(count) if count > 0 => length += count,
            _ => break,
        }
    }
    decode(&bytes[..length])
}

/// When the byte at a place came; `None` when that is before every mark.
pub fn time_of(marks: &[Mark], place: u64) -> Option<Millis> {
    let after = marks.partition_point(|mark| mark.place <= place);
    Some(marks.get(after.checked_sub(1)?)?.time)
}

/// A place before which nothing came at this time or later; `None` when that is before every mark.
pub fn place_before(marks: &[Mark], time: Millis) -> Option<u64> {
    let after = marks.partition_point(|mark| mark.time <= time);
    Some(marks.get(after.checked_sub(1)?)?.place)
}

/// Drops marks that concern only what is gone, then every second one until few enough are left.
fn thin(mut marks: Vec<Mark>, gone: u64) -> Vec<Mark> {
    let first = marks.partition_point(|mark| mark.place <= gone).saturating_sub(1);
    marks.drain(..first);
    let fits = |marks: &[Mark]| match (marks.first(), marks.last()) {
        (Some(first), Some(last)) => pack(*first, *last).is_some(),
        _ => true,
    };
    while marks.len() > 1 && !fits(&marks) {
        marks.remove(0);
    }
    while marks.len() > STAY {
        let last = marks.len() - 1;
        let mut index = 0;
        marks.retain(|_| {
            index += 1;
            (index - 1) % 2 == 0 || index - 1 == last
        });
    }
    marks
}

/// `None` when the mark is too far from the first one.
fn pack(base: Mark, mark: Mark) -> Option<u64> {
    let place = mark.place.checked_sub(base.place)?;
    let time = mark.time.checked_sub(base.time)?;
    (place >> PLACE_BITS == 0 && time >> TIME_BITS == 0).then_some(place << TIME_BITS | time)
}

/// As long as there is room, whatever was there before.
fn encode(marks: &[Mark]) -> [u8; MARKS_LENGTH] {
    let mut bytes = [0; MARKS_LENGTH];
    let Some(base) = marks.first() else { return bytes };
    bytes[..8].copy_from_slice(&base.place.to_le_bytes());
    bytes[8..BASE].copy_from_slice(&base.time.to_le_bytes());
    let places = bytes[BASE..].chunks_exact_mut(SIZE);
    for (place, packed) in places.zip(marks.iter().filter_map(|mark| pack(*base, *mark))) {
        place.copy_from_slice(&packed.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Vec<Mark> {
    let mut numbers = bytes.chunks_exact(8).map(|chunk| {
        let mut number = [0; 8];
        number.copy_from_slice(chunk);
        u64::from_le_bytes(number)
    });
    let (Some(place), Some(time)) = (numbers.next(), numbers.next()) else {
        return Vec::new();
    };
    let mut marks: Vec<Mark> = Vec::new();
    for packed in numbers {
        let mark = Mark {
            place: place.saturating_add(packed >> TIME_BITS),
            time: time.saturating_add(packed & ((1 << TIME_BITS) - 1)),
        };
        // A place that is used again is overwritten, and what was behind it is not taken for more.
        let grows = |last: &Mark| last.place < mark.place && last.time < mark.time;
        if mark.time == 0 || !marks.last().is_none_or(grows) {
            break;
        }
        marks.push(mark);
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::fd::OwnedFd;

    fn file() -> File {
        let file: OwnedFd = rustix::fs::memfd_create("marks", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
        File::from(file)
    }

    fn mark(place: u64, time: Millis) -> Mark {
        Mark { place, time }
    }

    #[test]
    fn marks_of_one_millisecond_are_one_and_one_without_bytes_is_replaced() {
        let (file, mut marks) = (file(), Marks::default());
        for (place, time) in [(0, 5), (10, 5), (20, 7), (20, 9), (30, 11)] {
            marks.note(&file, mark(place, time), 0).expect("room");
        }
        assert_eq!(read(&file), [mark(0, 5), mark(20, 9), mark(30, 11)]);
        assert_eq!(time_of(&read(&file), 25), Some(9));
        let since = |time| place_before(&read(&file), time);
        assert_eq!(
            (since(4), since(5), since(10), since(12)),
            (None, Some(0), Some(20), Some(30))
        );
    }

    #[test]
    fn a_mark_too_far_from_the_first_makes_that_the_first() {
        let (file, mut marks) = (file(), Marks::default());
        marks.note(&file, mark(0, 5), 0).expect("room");
        marks.note(&file, mark(1 << 40, 6), (1 << 40) - 9).expect("room");
        marks.note(&file, mark((1 << 40) + 3, 1 << 39), 1 << 40).expect("room");
        let last = read(&file);
        assert_eq!(last.last(), Some(&mark((1 << 40) + 3, 1 << 39)));
    }

    proptest! {
        #[test]
        fn times_are_never_too_late_and_order_is_kept(
            steps in proptest::collection::vec((0..5000_u64, 1..90_u64), 1..900),
            kept in 1000..200_000_u64,
            restart in 0..900_usize,
        ) {
            let (file, mut marks) = (file(), Marks::default());
            let (mut place, mut time) = (0, 1);
            let mut came = Vec::new();
            for (index, (bytes, pause)) in steps.iter().enumerate() {
                if index == restart {
                    marks = Marks::resume(&file);
                }
                time += pause;
                marks.note(&file, mark(place, time), place.saturating_sub(kept)).expect("room");
                came.push((place, time, *bytes));
                place += bytes;
            }
            let read = read(&file);
            prop_assert!(read.len() <= MAX && read.is_sorted());
            prop_assert_eq!(read.last().map(|mark| mark.time), Some(time));
            let gone = place.saturating_sub(kept);
            for (place, time, bytes) in came {
                if place >= gone && bytes > 0 {
                    prop_assert!(time_of(&read, place).is_none_or(|found| found <= time), "{place}");
                }
            }
            // Nothing that is kept is without a time, but for what was dropped before the thinning knew of it.
            prop_assert!(time_of(&read, place).is_some());
        }
    }
}

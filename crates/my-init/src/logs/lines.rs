//! Bytes to lines with times.

use super::log::Log;
use super::marks::{self, Mark};
use crate::clock::Millis;

/// Read backwards at a time, in bytes.
const STEP: u64 = 16 * 1024;

/// A line of a log, or a piece of one that is too long to be had at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The number of its first byte in the log.
    pub place: u64,
    /// When its first byte came, to within a read; 0 when that is too long ago to be known.
    pub time: Millis,
    /// What it says, without its end. What is not UTF-8 is replaced.
    pub text: String,
    /// The line goes on in the next piece.
    pub goes_on: bool,
}

/// The place where the last `count` lines begin, an unfinished one included. The rest of a line whose beginning is gone
/// is only one when it is all there is.
pub fn start_of_last(log: &Log, count: usize) -> u64 {
    let (gone, end) = (log.dropped(), log.end());
    let mut buffer = vec![0; usize::try_from(STEP.min(end - gone)).unwrap_or(0)];
    let mut earliest = None;
    let mut found = 0;
    let mut place = end;
    while place > gone {
        let from = place.saturating_sub(STEP).max(gone);
        let length = usize::try_from(place - from).unwrap_or(0);
        let read = log.read_at(from, &mut buffer[..length]);
        for index in (0..read).rev() {
            let next = from + index as u64 + 1;
            // The end of the last line begins no other one.
            if buffer[index] == b'\n' && next < end {
                found += 1;
                earliest = Some(next);
                if found >= count.max(1) {
                    return if count == 0 { end } else { next };
                }
            }
        }
        place = from;
    }
    match (gone, earliest) {
        _ if count == 0 => end,
        (0, _) | (_, None) => gone,
        (_, Some(earliest)) => earliest,
    }
}

/// The beginning of the line that the byte at a place belongs to, or would belong to.
pub fn start_of_line(log: &Log, place: u64) -> u64 {
    let mut place = place.min(log.end());
    let mut buffer = vec![0; usize::try_from(STEP.min(place.saturating_sub(log.dropped()))).unwrap_or(0)];
    while place > log.dropped() {
        let from = place.saturating_sub(STEP).max(log.dropped());
        let length = usize::try_from(place - from).unwrap_or(0);
        let read = log.read_at(from, &mut buffer[..length]);
        if let Some(index) = buffer[..read].iter().rposition(|byte| *byte == b'\n') {
            return from + index as u64 + 1;
        }
        place = from;
    }
    place
}

/// Splits bytes that begin at a place. Returns the lines and how many bytes they are; an unfinished line at the end is
/// left for later unless `all` is wanted.
pub fn split(bytes: &[u8], place: u64, marks: &[Mark], all: bool) -> (Vec<Line>, usize) {
    let mut lines = Vec::new();
    let mut used = 0;
    let line = |from: usize, text: &[u8], goes_on| Line {
        place: place + from as u64,
        time: marks::time_of(marks, place + from as u64).unwrap_or(0),
        text: String::from_utf8_lossy(text).into_owned(),
        goes_on,
    };
    for whole in bytes.split_inclusive(|byte| *byte == b'\n') {
        match whole.strip_suffix(b"\n") {
            Some(text) => lines.push(line(used, text, false)),
            None if all => lines.push(line(used, whole, true)),
            None => break,
        }
        used += whole.len();
    }
    (lines, used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_unfinished_line_waits_unless_it_is_all_there_is() {
        let marks = [Mark { place: 100, time: 7 }, Mark { place: 104, time: 9 }];
        let line = |place, time, text: &str, goes_on| Line {
            place,
            time,
            text: text.to_owned(),
            goes_on,
        };
        let (lines, used) = split(b"one\ntwo\nthr", 100, &marks, false);
        assert_eq!(lines, [line(100, 7, "one", false), line(104, 9, "two", false)]);
        assert_eq!(used, 8);
        assert_eq!(split(b"thr", 99, &marks, false), (vec![], 0));
        assert_eq!(split(b"thr", 99, &marks, true), (vec![line(99, 0, "thr", true)], 3));
        assert_eq!(split(b"a\nb", 104, &marks, true).1, 3);
        assert_eq!(
            split(b"a\xff\n", 104, &marks, false).0,
            [line(104, 9, "a\u{fffd}", false)]
        );
    }

    proptest! {
        #[test]
        fn the_last_lines_are_found_from_behind(
            texts in proptest::collection::vec("[ab]{0,9000}", 0..12), ended: bool, count in 0..14_usize,
        ) {
            let mut bytes = texts.join("\n").into_bytes();
            if ended && !bytes.is_empty() {
                bytes.push(b'\n');
            }
            let mut log = Log::new(1 << 20);
            log.append(&bytes, 1).expect("room");
            let start = usize::try_from(start_of_last(&log, count)).expect("small");
            let rest = bytes[start..].strip_suffix(b"\n").unwrap_or(&bytes[start..]);
            let whole = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            let lines: Vec<&[u8]> = match whole.is_empty() && !ended {
                true => Vec::new(),
                false => whole.split(|byte| *byte == b'\n').collect(),
            };
            let last = &lines[lines.len() - count.min(lines.len())..];
            prop_assert_eq!(rest, last.join(&b'\n'));
            prop_assert!(count == 0 || start_of_line(&log, start as u64) == start as u64);
        }
    }
}

//! The guest's serial console: bytes to lines with the time at which they came.
//!
//! Firmware and kernels paint the console with control sequences (ECMA-48); those are removed from the text that is
//! matched, and left in what is echoed and logged.

use std::fmt::Write as _;
use std::time::Duration;

/// Characters of a line that are kept; a guest that never ends its line must not fill the host's memory.
const LONGEST_LINE: usize = 4096;
/// Lines that are kept; older ones are dropped.
const MOST_LINES: usize = 100_000;
/// Lines shown with an error.
const SHOWN_LINES: usize = 20;
const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

/// One line of the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Host time since QEMU started, at the line's first visible character.
    pub at: Duration,
    /// The text without control sequences.
    pub text: String,
}

/// Where in a control sequence the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    Escape,
    /// `ESC [` up to a final byte from `@` to `~`.
    Sequence,
    /// `ESC ]`, `ESC P` and the like, up to BEL or `ESC \`.
    Str,
    /// `ESC (` and the like: one more byte.
    OneMore,
}

/// Takes bytes as they come and gives lines.
#[derive(Debug)]
pub struct Console {
    lines: Vec<Line>,
    /// Lines that were dropped before the first one kept.
    dropped: usize,
    partial: Option<PartialLine>,
    state: State,
}

#[derive(Debug)]
struct PartialLine {
    at: Duration,
    bytes: Vec<u8>,
}

impl PartialLine {
    fn line(&self) -> Line {
        Line {
            at: self.at,
            text: String::from_utf8_lossy(&self.bytes).into_owned(),
        }
    }
}

impl Default for Console {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            dropped: 0,
            partial: None,
            state: State::Text,
        }
    }
}

impl Console {
    /// Takes what came at this host time.
    pub fn push(&mut self, at: Duration, bytes: &[u8]) {
        for &byte in bytes {
            self.byte(at, byte);
        }
    }

    fn byte(&mut self, at: Duration, byte: u8) {
        self.state = match (self.state, byte) {
            (State::Text, ESCAPE) => State::Escape,
            (State::Text, _) => {
                self.text(at, byte);
                State::Text
            }
            (State::Escape, b'[') => State::Sequence,
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => State::Str,
            (State::Escape, b'(' | b')' | b'#' | b'%') => State::OneMore,
            (State::Escape | State::OneMore, _) => State::Text,
            (State::Sequence, b'@'..=b'~') => State::Text,
            (State::Str, BELL) => State::Text,
            (State::Str | State::Sequence, ESCAPE) => State::Escape,
            // A line's end inside a sequence is a broken sequence; text is worth more than it.
            (State::Sequence | State::Str, b'\n') => {
                self.end_line();
                State::Text
            }
            (state, _) => state,
        };
    }

    fn text(&mut self, at: Duration, byte: u8) {
        match byte {
            b'\n' => self.end_line(),
            0..=8 | 11..=31 | 127 => {}
            _ => {
                let partial = self
                    .partial
                    .get_or_insert_with(|| PartialLine { at, bytes: Vec::new() });
                if partial.bytes.len() < LONGEST_LINE {
                    partial.bytes.push(byte);
                }
            }
        }
    }

    fn end_line(&mut self) {
        if let Some(partial) = self.partial.take() {
            if self.lines.len() == MOST_LINES {
                self.lines.drain(..MOST_LINES / 2);
                self.dropped += MOST_LINES / 2;
            }
            self.lines.push(partial.line());
        }
    }

    /// All lines that are kept, the unfinished one last.
    pub fn lines(&self) -> Vec<Line> {
        self.lines
            .iter()
            .cloned()
            .chain(self.partial.as_ref().map(PartialLine::line))
            .collect()
    }

    /// The first finished line from number `from` on (counted from the start of the machine) that contains the
    /// pattern, with the number after it.
    pub fn find(&self, pattern: &str, from: usize) -> Option<(Line, usize)> {
        let skipped = from.saturating_sub(self.dropped);
        let mut whole = self.lines.iter().enumerate().skip(skipped);
        let (index, line) = whole.find(|(_, line)| line.text.contains(pattern))?;
        Some((line.clone(), self.dropped + index + 1))
    }

    /// How many lines were finished since the start of the machine.
    pub fn finished(&self) -> usize {
        self.dropped + self.lines.len()
    }

    /// The unfinished line, if it is number `from` or later and contains the pattern: a prompt, or a line that is
    /// still being written.
    pub fn find_unfinished(&self, pattern: &str, from: usize) -> Option<(Line, usize)> {
        let next = self.finished();
        let partial = self.partial.as_ref().filter(|_| from <= next)?.line();
        partial.text.contains(pattern).then_some((partial, next + 1))
    }

    /// The last lines, for an error message.
    pub fn tail(&self) -> String {
        let lines = self.lines();
        if lines.is_empty() {
            return "the console is empty".to_owned();
        }
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        let mut text = format!("the last {} lines of the console:", shown.len());
        for line in shown {
            // Writing to a String does not fail.
            let _ = write!(text, "\n  {:8.3} {}", line.at.as_secs_f64(), line.text);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn texts(bytes: &[u8]) -> Vec<String> {
        let mut console = Console::default();
        console.push(at(0), bytes);
        console.lines().into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn firmware_paint_is_removed() {
        assert_eq!(
            texts(b"\x1b[2J\x1b[01;01H\x1b[=3h\x1b[0m\x1b[37m\x1b[40mBdsDxe: starting\r\n\x1b]0;title\x07\x1b(Bok\tyes\r\n"),
            ["BdsDxe: starting", "ok\tyes"]
        );
        assert_eq!(texts(b"\x1b[12\nnext\n"), ["next"]);
        assert_eq!(texts("gr\u{fc}n\n".as_bytes()), ["gr\u{fc}n"]);
    }

    #[test]
    fn lines_carry_the_time_of_their_first_character() {
        let mut console = Console::default();
        console.push(at(10), b"\r\n");
        console.push(at(20), b"my_");
        console.push(at(30), b"init\nlogin: ");
        let expected = [
            Line {
                at: at(20),
                text: "my_init".to_owned(),
            },
            Line {
                at: at(30),
                text: "login: ".to_owned(),
            },
        ];
        assert_eq!(console.lines(), expected);
    }

    #[test]
    fn search_goes_on_after_the_last_find() {
        let mut console = Console::default();
        console.push(at(0), b"ready\nother\nready\nlogin: ");
        let (_, next) = console.find("ready", 0).unwrap();
        let (_, next) = console.find("ready", next).unwrap();
        assert_eq!(next, 3);
        assert_eq!(console.find("ready", next), None);
        let (_, next) = console.find_unfinished("login:", next).unwrap();
        assert_eq!(console.find_unfinished("login:", next), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut console = Console::default();
        console.push(at(0), &vec![b'x'; LONGEST_LINE * 2]);
        console.push(at(0), b"\n");
        for _ in 0..MOST_LINES {
            console.push(at(0), b"a\n");
        }
        console.push(at(0), b"the end\n");
        assert_eq!(console.lines().len(), MOST_LINES / 2 + 2);
        assert_eq!(console.find("the end", 0).unwrap().1, MOST_LINES + 2);
        assert!(console.lines().iter().all(|line| line.text.len() <= LONGEST_LINE));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_same_lines(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let mut pieces = Console::default();
            pieces.push(at(0), first);
            pieces.push(at(0), second);
            let joined: Vec<String> = pieces.lines().into_iter().map(|line| line.text).collect();
            prop_assert_eq!(joined, texts(&bytes));
        }
    }
}

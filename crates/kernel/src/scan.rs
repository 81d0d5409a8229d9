//! Finds the `.modinfo` of a compressed module without decompressing all of it.
//!
//! Where the section is stands in the section headers, which are the last thing in the file; the section itself is
//! in its first part, and three quarters of a module lie behind it. So the strings are looked for: every module has
//! `vermagic=`, and the section is the longest run of `key=value` strings around that, each with its NUL. A stray string
//! of the section before may come along, which is why whoever keeps a module compares this with what
//! [`ModuleInfo::parse`](crate::ModuleInfo::parse) finds in the whole file.

use std::io::{self, Read};

use mos_packages::compression::Compression;

/// A string that the kernel's build puts into the `.modinfo` of every module (`include/linux/module.h`).
const MARK: &[u8] = b"vermagic=";
/// Bytes decompressed at once: few, as what lies behind the section is decompressed for nothing.
const STEP: usize = 4096;
/// NULs between strings where objects were linked: no alignment is larger. More are the end of the section.
const PADDING: usize = 64;

/// The keys that the kernel's build and `MODULE_*` macros write.
const KEYS: [&[u8]; 21] = [
    b"alias=",
    b"author=",
    b"depends=",
    b"description=",
    b"file=",
    b"firmware=",
    b"import_ns=",
    b"intree=",
    b"license=",
    b"livepatch=",
    b"name=",
    b"parm=",
    b"parmtype=",
    b"retpoline=",
    b"scmversion=",
    b"softdep=",
    b"srcversion=",
    b"staging=",
    b"vermagic=",
    b"version=",
    b"weakdep=",
];

/// What a scan came to.
pub(crate) enum Scanned {
    /// The strings of the section, with NULs between them.
    Section(Vec<u8>),
    /// There is no mark: the whole file, decompressed.
    Whole(Vec<u8>),
}

/// Reads as much of a compressed module as it takes, `limit` bytes at most.
pub(crate) fn scan(reader: impl Read, compression: Compression, limit: u64) -> io::Result<Scanned> {
    let mut reader = compression.reader(reader)?;
    let mut bytes = Vec::with_capacity(16 * STEP);
    let mut mark = None;
    loop {
        let from = bytes.len();
        if from as u64 > limit {
            let text = format!("more than {limit} bytes when decompressed");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let read = reader.by_ref().take(STEP as u64).read_to_end(&mut bytes)?;
        mark = mark.or_else(|| find(&bytes, from.saturating_sub(MARK.len())));
        match mark {
            Some(mark) => {
                if let Some(end) = end(&bytes, mark, read == 0) {
                    let start = start(&bytes, mark);
                    return Ok(Scanned::Section(bytes[start..end].to_vec()));
                }
            }
            None if read == 0 => return Ok(Scanned::Whole(bytes)),
            None => {}
        }
    }
}

/// The mark at the beginning of a string, from a position on.
fn find(bytes: &[u8], from: usize) -> Option<usize> {
    let begins = |at: &usize| *at == 0 || bytes[at - 1] == 0;
    memchr::memmem::find_iter(&bytes[from..], MARK)
        .map(|at| from + at)
        .find(begins)
}

/// The beginning of the run of strings that the mark is in.
fn start(bytes: &[u8], mark: usize) -> usize {
    let mut start = mark;
    loop {
        // Before `start` is the NUL of the string before, and perhaps padding.
        let text_end = bytes[..start]
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        let text_start = memchr::memrchr(0, &bytes[..text_end]).map_or(0, |at| at + 1);
        let padding = start - text_end;
        if text_end == 0 || padding > PADDING {
            return start + glued(&bytes[start..=mark]).unwrap_or(0);
        }
        let text = &bytes[text_start..text_end];
        if !is_entry(text) {
            let first = || start + glued(&bytes[start..=mark]).unwrap_or(0);
            return glued(text).map_or_else(first, |at| text_start + at);
        }
        start = text_start;
    }
}

/// Where the first string begins in one that has the end of the section before in front of it: nothing needs to be between
/// the two, not even a NUL.
fn glued(text: &[u8]) -> Option<usize> {
    let text = text.split(|byte| *byte == 0).next()?;
    let sound = |at: &usize| text[*at..].iter().all(|byte| is_text(*byte));
    let begins = KEYS
        .iter()
        .filter_map(|key| memchr::memmem::find_iter(text, key).find(sound));
    begins.min()
}

/// The end of the run; `None` when more has to be read to know it.
fn end(bytes: &[u8], mark: usize, complete: bool) -> Option<usize> {
    let mut end = mark;
    loop {
        let zeros = bytes[end..].iter().take_while(|byte| **byte == 0).count();
        let rest = &bytes[end + zeros..];
        if zeros > PADDING || (complete && rest.is_empty()) {
            return Some(end);
        }
        let Some(length) = memchr::memchr(0, rest) else {
            // Something is cut off here, or there is something that is no string.
            return (complete || rest.first().is_some_and(|byte| !is_text(*byte))).then_some(end);
        };
        if !is_entry(&rest[..length]) {
            return Some(end);
        }
        end += zeros + length;
    }
}

/// `key=value`, where the key is of letters, digits, `_`, `.` and `-`.
fn is_entry(text: &[u8]) -> bool {
    let Some(equals) = memchr::memchr(b'=', text) else {
        return false;
    };
    let key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    equals > 0 && text[..equals].iter().all(key) && text[equals..].iter().all(|byte| is_text(*byte))
}

/// Letters of any language, and what descriptions have between them.
fn is_text(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f || matches!(byte, b'\n' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(bytes: &[u8]) -> Option<String> {
        match scan(bytes, Compression::None, 1 << 20).unwrap() {
            Scanned::Section(section) => Some(String::from_utf8_lossy(&section).replace('\0', "|")),
            Scanned::Whole(_) => None,
        }
    }

    #[test]
    fn the_section_is_the_run_of_strings_around_the_mark() {
        let before = b"\x7fELF\x02\x01%s vermagic=no\n\0text\0".as_slice();
        let section = b"license=GPL\0\0\0alias=x:y*\0vermagic=6.12 SMP \0depends=\0".as_slice();
        let whole = [before, section, b"\0\0\x07\0".as_slice(), &[1; 9000]].concat();
        let expected = "license=GPL|||alias=x:y*|vermagic=6.12 SMP |depends=";
        assert_eq!(found(&whole).as_deref(), Some(expected));
        let alone = [section, b"\0\0".as_slice()].concat();
        assert_eq!(found(&alone).as_deref(), Some(expected));
        let far = [&vec![1; 12_285][..], b"\0", section, &[0; 300], b"alias=no\0"].concat();
        assert_eq!(found(&far).as_deref(), Some(expected));
        assert_eq!(found(b"\x7fELF nothing here"), None);
        for glue in [b"\0\x7f".as_slice(), b"\0ABC", b"\0x=1 \x02A", b""] {
            let bytes = [glue, b"firmware=a b\0alias=c\0vermagic=6.12\0\x01\0"].concat();
            assert_eq!(
                found(&bytes).as_deref(),
                Some("firmware=a b|alias=c|vermagic=6.12"),
                "{glue:?}"
            );
        }
    }

    #[test]
    fn memory_is_bounded() {
        assert!(scan(io::repeat(b'a'), Compression::None, 100_000).is_err());
        let endless = b"vermagic=".chain(io::repeat(b'a'));
        assert!(scan(endless, Compression::None, 100_000).is_err());
    }

    proptest! {
        #[test]
        fn whatever_it_is_it_ends(bytes in prop::collection::vec(prop::sample::select(b"a=\0v\x01".to_vec()), 0..200)) {
            let bytes = [&bytes[..], b"\0vermagic=1\0", &bytes].concat();
            prop_assert!(found(&bytes).unwrap().contains("vermagic=1"));
        }
    }
}

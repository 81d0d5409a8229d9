//! What is mounted where: `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What the sources of our mounts begin with in the mount table.
const MARK: &[u8] = b"mos:";
/// How many digits of an flist's digest stand behind its name.
const DIGITS: usize = 16;

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) place: PathBuf,
    pub(crate) kind: Vec<u8>,
    pub(crate) source: Vec<u8>,
}

impl Entry {
    /// True for one that this crate made.
    pub(crate) fn is_ours(&self) -> bool {
        self.source.starts_with(MARK)
    }

    pub(crate) fn is_fuse(&self) -> bool {
        self.kind.starts_with(b"fuse")
    }

    /// The first digits of the digest of the flist that the kernel serves.
    pub(crate) fn digits(&self) -> Option<&[u8]> {
        let place = self.source.iter().rposition(|byte| *byte == b'#')?;
        self.is_ours().then(|| &self.source[place + 1..])
    }
}

/// The source of a mount in the table, for an image with this name, and digest if the kernel serves it.
pub(crate) fn source(name: &str, digest: Option<&mos_store::Digest>) -> String {
    // Commas separate options in what fusermount3 reads, and a control character ends a line.
    let clean = |letter: char| match letter {
        ',' | '#' | '\\' => '_',
        letter if letter.is_control() => '_',
        letter => letter,
    };
    let name: String = name.chars().map(clean).collect();
    let mark = String::from_utf8_lossy(MARK).into_owned();
    match digest {
        Some(digest) => format!("{mark}{name}#{}", digits(&digest.to_string())),
        None => format!("{mark}{name}"),
    }
}

/// The digits of a digest that stand in the mount table.
pub(crate) fn digits(digest: &str) -> &str {
    digest.get(..DIGITS).unwrap_or(digest)
}

/// Every mount of this process's view, in the order in which they were made.
pub(crate) fn all() -> io::Result<Vec<Entry>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

/// Every mount that the first process sees; none when we may not look.
pub(crate) fn of_first_process() -> Vec<Entry> {
    fs::read("/proc/1/mountinfo")
        .map(|table| parse(&table))
        .unwrap_or_default()
}

/// The mounts at a directory, the uppermost last.
pub(crate) fn at(place: &Path) -> io::Result<Vec<Entry>> {
    Ok(all()?.into_iter().filter(|entry| entry.place == place).collect())
}

fn parse(table: &[u8]) -> Vec<Entry> {
    table.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let place = fields.nth(4)?;
    let mut behind = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = behind.next()?.to_vec();
    Some(Entry {
        place: OsString::from_vec(unescape(place)).into(),
        kind,
        source: unescape(behind.next()?),
    })
}

/// Spaces and the like stand in the table as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| behind.get(..3)).flatten();
        let byte = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &behind[3..] } else { behind };
    }
    plain
}

/// The absolute path of a directory as the mount table has it, also when what is mounted there does not answer: its
/// last name is not looked at, unless it is a symbolic link to elsewhere.
pub(crate) fn resolve(directory: &Path) -> io::Result<PathBuf> {
    match directory.canonicalize() {
        Ok(path) => Ok(path),
        Err(error) => {
            let absolute = std::path::absolute(directory)?;
            match (absolute.parent(), absolute.file_name()) {
                (Some(parent), Some(name)) if name.as_bytes() != b".." => Ok(parent.canonicalize()?.join(name)),
                _ => Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whatever_stands_in_their_middle() {
        let table = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
            40 35 0:40 / /a\\040b\\134c ro shared:2 master:3 - fuse.mos mos:web\\040x.fl ro\n\
            41 35 0:41 / /k ro - overlay mos:k#0123456789abcdef ro\nhalf a line";
        let entries = parse(table);
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[0].place, Path::new("/mnt2"));
        assert_eq!(entries[1].place, Path::new("/a b\\c"));
        assert!(entries[1].is_ours() && entries[1].is_fuse() && !entries[0].is_ours());
        assert_eq!(entries[1].source, b"mos:web x.fl");
        assert_eq!(entries[2].digits().unwrap(), b"0123456789abcdef");
    }

    #[test]
    fn names_cannot_break_out_of_the_table() {
        assert_eq!(source("a,rw#1\n", None), "mos:a_rw_1_");
        let digest = mos_store::Digest::of(b"");
        let entry = Entry {
            place: PathBuf::new(),
            kind: Vec::new(),
            source: source("x", Some(&digest)).into_bytes(),
        };
        assert_eq!(entry.digits().unwrap(), digits(&digest.to_string()).as_bytes());
    }

    #[test]
    fn a_directory_that_cannot_be_looked_at_still_has_a_path() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap();
        assert_eq!(resolve(&directory.path().join("gone")).unwrap(), real.join("gone"));
        assert_eq!(
            resolve(&directory.path().join("..").join(real.file_name().unwrap())).unwrap(),
            real
        );
        assert!(resolve(&directory.path().join("gone/..")).is_err());
    }
}

//! tar archives as trees.
//!
//! Ustar, GNU and pax archives, as the `tar` crate reads them: long names, hard links, devices, extended attributes
//! (`SCHILY.xattr.` records). A leading `/` or `./` does not count; a name with `..`, or one below a symbolic link, is
//! refused: a package that needs either is broken or hostile. Sparse files keep their holes ([`sparse`]).

mod sparse;
mod window;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use tar::{Archive, EntryType};

use self::sparse::{Allowance, Map, Records};
use self::window::{Headers, MAX_HEADERS, Window};
use crate::{Content, Inode, Kind, Metadata, Timestamp, Tree, TreeError};

/// How a pax record names an extended attribute.
const PAX_XATTR: &str = "SCHILY.xattr.";
/// How it names a time with a fraction of a second.
const PAX_MTIME: &[u8] = b"mtime";
/// Longest path of an entry in bytes: what Linux lets a program name at once (`PATH_MAX`). Each `/` may make a directory.
const MAX_PATH: usize = 4096;
/// How much of such a path is shown, in bytes.
const MAX_SHOWN: usize = 100;
/// Most entries of an archive, and most files of a tree made of archives. Each takes about 250 bytes of memory and may
/// take next to nothing in a compressed archive.
const MAX_ENTRIES: usize = 1 << 23;

/// Why an archive could not become a tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// The archive is damaged or unreadable.
    #[error("cannot read the tar archive: {0}")]
    Read(#[from] io::Error),
    /// An entry that has no place in a tree.
    #[error("tar archive: {0}")]
    Tree(#[from] TreeError),
    /// A hard link to something that is not in the archive before it, or is a directory.
    #[error("tar archive: {path}: hard link to {target}, which is no file of the archive before it")]
    Link {
        /// The link.
        path: String,
        /// What it should be a link to.
        target: String,
    },
    /// An entry of a type that no file system has.
    #[error("tar archive: {path}: unknown entry type {entry_type:?}")]
    Unknown {
        /// The entry.
        path: String,
        /// The type as a character.
        entry_type: char,
    },
    /// More entries than an honest archive has.
    #[error("tar archive: {path}: more than {MAX_ENTRIES} entries")]
    TooMany {
        /// The entry that went over the limit.
        path: String,
    },
    /// A path that no program could open.
    #[error("tar archive: {start}…: the path is longer than {MAX_PATH} bytes")]
    LongPath {
        /// How it begins.
        start: String,
    },
    /// More content than the caller allowed.
    #[error("tar archive: {path}: more than {limit} bytes of content in all")]
    TooLarge {
        /// The entry that went over the limit.
        path: String,
        /// The limit in bytes.
        limit: u64,
    },
}

/// Reads an archive from a stream, its content into memory: at most `limit` bytes of it.
///
/// # Errors
/// See [`TarError`].
pub fn read(reader: impl Read, limit: u64) -> Result<Tree, TarError> {
    let mut remaining = limit;
    let mut tree = Tree::default();
    let mut archive = Archive::new(reader);
    add(&mut tree, archive.entries()?, as_named, |entry, records| {
        let bytes = in_memory(entry, records, remaining)?;
        let left = bytes
            .as_ref()
            .and_then(|bytes| remaining.checked_sub(bytes.len() as u64));
        remaining = left.ok_or_else(|| TarError::TooLarge {
            path: shown(&entry.path_bytes()),
            limit,
        })?;
        Ok(bytes.unwrap_or_default().into())
    })?;
    Ok(tree)
}

/// The content of an entry; `None` when it is clear already that there is more than `limit`.
fn in_memory(
    entry: &mut tar::Entry<'_, impl Read>,
    records: Option<Records>,
    limit: u64,
) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let Some(records) = records else {
        // What the `tar` crate reads of a sparse file of the old kind has its holes already.
        entry.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        return Ok(Some(bytes));
    };
    let stored = entry.size();
    if stored > limit.saturating_add(MAX_HEADERS) {
        return Ok(None);
    }
    entry.read_to_end(&mut bytes)?;
    let map = records.map(&bytes[..], stored)?;
    match map.size <= limit {
        true => map.expand(&bytes).map(Some),
        false => Ok(None),
    }
}

/// Reads an uncompressed archive on disk; the content of the tree refers to the file, which must not change while
/// the tree lives.
///
/// # Errors
/// See [`TarError`].
pub fn read_file(path: &Path) -> Result<Tree, TarError> {
    let mut tree = Tree::default();
    add_file(&mut tree, &Content::file(path)?, as_named)?;
    Ok(tree)
}

/// Every entry goes where its path says.
fn as_named(_: &Tree, path: &[u8]) -> Result<Option<Vec<u8>>, TreeError> {
    Ok(Some(path.to_vec()))
}

/// Adds to a tree what an archive on disk holds. `place` says where the entry of a path goes, and that it goes nowhere.
pub(crate) fn add_file(
    tree: &mut Tree,
    archive: &Content,
    place: impl Fn(&Tree, &[u8]) -> Result<Option<Vec<u8>>, TreeError>,
) -> Result<(), TarError> {
    let window = Window::of(archive)?;
    let mut allowance = Allowance::default();
    let content = |entry: &mut tar::Entry<'_, Headers<'_>>, records: Option<Records>| {
        let (offset, path) = (entry.raw_file_position(), shown(&entry.path_bytes()));
        let of_file = |error: io::Error| invalid(format!("{path}: {error}"));
        let map = map(&window, entry, records).map_err(of_file)?;
        let content = match map {
            None => window.part(offset, entry.size()),
            Some(map) => {
                allowance.take(&map).map_err(of_file)?;
                offset
                    .checked_add(map.before)
                    .and_then(|start| window.pieces(start, &map))
            }
        };
        content.ok_or_else(|| TarError::Read(invalid(format!("{path}: the file is cut off"))))
    };
    window.entries(|entries| add(tree, entries, place, content))
}

/// Where the data of an entry belongs when it is sparse.
fn map(window: &Window, entry: &tar::Entry<'_, Headers<'_>>, records: Option<Records>) -> io::Result<Option<Map>> {
    let behind = window.reader(entry.raw_file_position());
    if let Some(records) = records {
        return records.map(behind, entry.size()).map(Some);
    }
    let header = entry.header();
    match header.as_gnu().filter(|_| header.entry_type() == EntryType::GNUSparse) {
        // The size that the `tar` crate gives has the holes in it.
        Some(old) => Map::old(old, behind, header.entry_size()?).map(Some),
        None => Ok(None),
    }
}

/// Hands the path of each entry of an archive on disk on, and whether it is a directory.
pub(crate) fn each_path(
    archive: &Content,
    mut take: impl FnMut(&[u8], bool) -> Result<(), TarError>,
) -> Result<(), TarError> {
    Window::of(archive)?.entries(|entries| {
        for entry in entries {
            let entry = entry?;
            take(&entry.path_bytes(), entry.header().entry_type() == EntryType::Directory)?;
        }
        Ok(())
    })
}

fn add<'a, R: Read + 'a>(
    tree: &mut Tree,
    entries: impl Iterator<Item = io::Result<tar::Entry<'a, R>>>,
    place: impl Fn(&Tree, &[u8]) -> Result<Option<Vec<u8>>, TreeError>,
    mut content: impl FnMut(&mut tar::Entry<'_, R>, Option<Records>) -> Result<Content, TarError>,
) -> Result<(), TarError> {
    for (count, entry) in entries.enumerate() {
        let mut entry = entry?;
        let mut pax = Pax::of(&mut entry)?;
        let path = match pax.sparse.as_mut().and_then(|sparse| sparse.name.take()) {
            Some(name) => name,
            None => entry.path_bytes().into_owned(),
        };
        check(&path, count.max(tree.inode_count()))?;
        let Some(path) = place(tree, &path)? else {
            continue;
        };
        match entry.header().entry_type() {
            EntryType::Link => link(tree, &path, &entry, &place)?,
            EntryType::XGlobalHeader => {}
            _ => {
                let sparse = pax.sparse.take();
                let metadata = metadata(&entry, pax)?;
                let kind = kind(&path, &mut entry, |entry| content(entry, sparse))?;
                tree.insert(&path, Inode { metadata, kind })?;
            }
        }
    }
    Ok(())
}

fn check(path: &[u8], count: usize) -> Result<(), TarError> {
    if path.len() > MAX_PATH {
        let start = shown(&path[..MAX_SHOWN]);
        return Err(TarError::LongPath { start });
    }
    match count < MAX_ENTRIES {
        true => Ok(()),
        false => Err(TarError::TooMany { path: shown(path) }),
    }
}

fn link<R: Read>(
    tree: &mut Tree,
    path: &[u8],
    entry: &tar::Entry<'_, R>,
    place: impl Fn(&Tree, &[u8]) -> Result<Option<Vec<u8>>, TreeError>,
) -> Result<(), TarError> {
    let target = entry.link_name_bytes().unwrap_or_default();
    let found = place(tree, &target)?
        .and_then(|target| tree.find(target))
        .filter(|id| !matches!(tree.inode(*id).kind, Kind::Directory(_)));
    let id = found.ok_or_else(|| TarError::Link {
        path: shown(path),
        target: shown(&target),
    })?;
    Ok(tree.link(path, id)?)
}

fn kind<R: Read>(
    path: &[u8],
    entry: &mut tar::Entry<'_, R>,
    content: impl FnOnce(&mut tar::Entry<'_, R>) -> Result<Content, TarError>,
) -> Result<Kind, TarError> {
    let header = entry.header();
    let major = header.device_major().ok().flatten().unwrap_or(0);
    let minor = header.device_minor().ok().flatten().unwrap_or(0);
    Ok(match header.entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File(content(entry)?),
        EntryType::Directory => Kind::Directory(BTreeMap::new()),
        EntryType::Symlink => Kind::Symlink(entry.link_name_bytes().unwrap_or_default().into_owned()),
        EntryType::Char => Kind::CharacterDevice { major, minor },
        EntryType::Block => Kind::BlockDevice { major, minor },
        EntryType::Fifo => Kind::Fifo,
        other => {
            return Err(TarError::Unknown {
                path: shown(path),
                entry_type: char::from(other.as_byte()),
            });
        }
    })
}

/// What the pax records of an entry say, as far as it matters.
#[derive(Default)]
struct Pax {
    mtime: Option<Timestamp>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    sparse: Option<Records>,
}

impl Pax {
    fn of<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Self> {
        let mut pax = Self::default();
        let path = shown(&entry.path_bytes());
        let Some(records) = entry.pax_extensions()? else {
            return Ok(pax);
        };
        for record in records {
            let record = record?;
            let (key, value) = (record.key_bytes(), record.value_bytes());
            if key == PAX_MTIME {
                let wrong = || invalid(format!("{path}: the time `{}` is none", shown(value).escape_debug()));
                pax.mtime = Some(pax_time(value).ok_or_else(wrong)?);
            } else if let Some(name) = key.strip_prefix(PAX_XATTR.as_bytes()) {
                pax.xattrs.insert(name.to_vec(), value.to_vec());
            } else {
                Records::take(&mut pax.sparse, key, value).map_err(|error| invalid(format!("{path}: {error}")))?;
            }
        }
        Ok(pax)
    }
}

fn metadata<R: Read>(entry: &tar::Entry<'_, R>, pax: Pax) -> Result<Metadata, TarError> {
    let header = entry.header();
    let whole_seconds = || -> io::Result<Timestamp> {
        Ok(Timestamp {
            // A time before 1970, as GNU tar writes it, comes as the two's complement.
            seconds: header.mtime()?.cast_signed(),
            nanoseconds: 0,
        })
    };
    Ok(Metadata {
        mode: header.mode()? & 0o7777,
        uid: owner(&header.as_old().uid, header.uid(), "owner")?,
        gid: owner(&header.as_old().gid, header.gid(), "group")?,
        mtime: pax.mtime.map_or_else(whole_seconds, Ok)?,
        xattrs: pax.xattrs,
    })
}

/// A time as pax writes it: seconds with or without a fraction, perhaps before 1970 (POSIX pax, "mtime"). What is finer
/// than nanoseconds is dropped.
fn pax_time(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nanoseconds = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanoseconds) {
        (false, _) => Timestamp { seconds, nanoseconds },
        (true, 0) => Timestamp {
            seconds: -seconds,
            nanoseconds: 0,
        },
        (true, _) => Timestamp {
            seconds: -seconds - 1,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
    })
}

/// Archives that keep no owners, such as those of the Rust registry, leave the field empty: root, as for GNU tar.
fn owner(field: &[u8], value: io::Result<u64>, what: &str) -> io::Result<u32> {
    if field.iter().all(|byte| *byte == 0) {
        return Ok(0);
    }
    number(value?, what)
}

fn number(value: u64, what: &str) -> io::Result<u32> {
    let text = format!("the {what} {value} does not fit in 32 bits");
    u32::try_from(value).map_err(|_| invalid(text))
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::process::Command;

    fn archive(entries: &[(EntryType, &[u8], &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (entry_type, path, rest) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*entry_type);
            header.set_mode(0o640);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.as_old_mut().name[..path.len()].copy_from_slice(path);
            let content = if *entry_type == EntryType::Regular { *rest } else { b"" };
            if content.is_empty() && !rest.is_empty() {
                header.as_old_mut().linkname[..rest.len()].copy_from_slice(rest);
            }
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn an_empty_owner_is_root_and_a_damaged_one_an_error() {
        let with_owner = |field: &[u8; 8]| {
            let mut bytes = archive(&[(EntryType::Regular, b"a", b"x")]);
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes().copy_from_slice(&bytes[..512]);
            header.as_old_mut().uid = *field;
            header.set_cksum();
            bytes[..512].copy_from_slice(header.as_bytes());
            read(&bytes[..], 99)
        };
        assert_eq!(with_owner(&[0; 8]).unwrap().get("a").unwrap().metadata.uid, 0);
        assert_eq!(with_owner(b"0001750\0").unwrap().get("a").unwrap().metadata.uid, 1000);
        assert!(matches!(with_owner(b"nonsense"), Err(TarError::Read(_))));
    }

    #[test]
    fn hostile_names_and_links_are_refused() {
        let escape = archive(&[(EntryType::Regular, b"a/../../etc/passwd", b"x")]);
        assert!(matches!(
            read(&escape[..], 99),
            Err(TarError::Tree(TreeError::BadPath(_)))
        ));
        let through = archive(&[
            (EntryType::Symlink, b"l", b"/etc"),
            (EntryType::Regular, b"l/passwd", b"x"),
        ]);
        assert!(matches!(
            read(&through[..], 99),
            Err(TarError::Tree(TreeError::NotADirectory(_)))
        ));
        let dangling = archive(&[(EntryType::Link, b"l", b"/etc/passwd")]);
        assert!(matches!(read(&dangling[..], 99), Err(TarError::Link { .. })));
        let large = archive(&[
            (EntryType::Regular, b"a", b"12345"),
            (EntryType::Regular, b"b", b"12345"),
        ]);
        assert!(matches!(read(&large[..], 9), Err(TarError::TooLarge { limit: 9, .. })));
        assert!(read(&large[..], 10).is_ok());
        assert!(read(&large[..700], 10).is_err());
    }

    #[test]
    fn headers_cannot_fill_the_memory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let long = |entry_type: EntryType, length: u64| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(entry_type);
            header.set_size(length);
            header.set_cksum();
            let mut builder = tar::Builder::new(file.reopen().unwrap());
            builder.append(&header, io::repeat(b'n').take(length)).unwrap();
            builder.finish().unwrap();
            read_file(file.path()).unwrap_err().to_string()
        };
        for entry_type in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
            let error = long(entry_type, MAX_HEADERS + 1);
            assert!(error.contains("more than 4194304 bytes of names"), "{error}");
        }
    }

    #[test]
    fn paths_and_entries_have_a_limit() {
        assert!(check(&[b'/'; MAX_PATH], MAX_ENTRIES - 1).is_ok());
        let error = check(&[b'a'; MAX_PATH + 1], 0).unwrap_err().to_string();
        assert!(error.len() < 200 && error.contains("longer than 4096 bytes"), "{error}");
        assert!(matches!(check(b"a", MAX_ENTRIES), Err(TarError::TooMany { .. })));
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        let deep = "a/".repeat(2100);
        builder.append_data(&mut header, deep, io::empty()).unwrap();
        let bytes = builder.into_inner().unwrap();
        assert!(matches!(read(&bytes[..], 0), Err(TarError::LongPath { .. })));
    }

    #[test]
    fn agrees_with_tar_about_owners_devices_and_times() {
        let host = tempfile::tempdir().unwrap();
        let at = |name: &str| host.path().join(name);
        std::fs::create_dir(at("tree")).unwrap();
        let system = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command
                .args(arguments)
                .current_dir(host.path())
                .status()
                .is_ok_and(|status| status.success())
        };
        std::fs::write(at("tree/old"), "x").unwrap();
        assert!(system(
            "touch",
            &["-d", "1960-01-02 03:04:05.123456789 UTC", "tree/old"]
        ));
        let root =
            system("mknod", &["tree/null", "c", "1", "3"]) && system("mknod", &["tree/disk", "b", "259", "70000"]);
        if !root {
            eprintln!("SKIPPED in part: devices need root");
        }
        assert!(system("mkfifo", &["tree/pipe"]));
        for format in ["--format=gnu", "--format=pax"] {
            let owner = ["--owner=:3000000000", "--group=:4294967294"];
            assert!(system(
                "tar",
                &["-C", "tree", owner[0], owner[1], format, "-cf", "archive.tar", "."]
            ));
            let tree = read_file(&at("archive.tar")).unwrap();
            let old = &tree.get("old").unwrap().metadata;
            assert_eq!((old.uid, old.gid), (3_000_000_000, 4_294_967_294), "{format}");
            let nanoseconds = if format == "--format=pax" { 123_456_789 } else { 0 };
            let expected = Timestamp {
                seconds: -315_521_755,
                nanoseconds,
            };
            assert_eq!(old.mtime, expected, "{format}");
            assert_eq!(tree.get("pipe").unwrap().kind, Kind::Fifo);
            if root {
                assert_eq!(
                    tree.get("null").unwrap().kind,
                    Kind::CharacterDevice { major: 1, minor: 3 }
                );
                let disk = Kind::BlockDevice {
                    major: 259,
                    minor: 70_000,
                };
                assert_eq!(tree.get("disk").unwrap().kind, disk, "{format}");
            }
        }
    }

    #[test]
    fn times_of_pax() {
        let time = |text: &str| pax_time(text.as_bytes()).map(|time| (time.seconds, time.nanoseconds));
        assert_eq!(time("1.5"), Some((1, 500_000_000)));
        assert_eq!(time("7"), Some((7, 0)));
        assert_eq!(time("-7"), Some((-7, 0)));
        assert_eq!(time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time("1.0000000019"), Some((1, 1)));
        for bad in ["", "-", ".5", "+1", "1.x", "1e5", "99999999999999999999"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    #[test]
    fn agrees_with_tar_about_links_long_names_and_attributes() {
        let host = tempfile::tempdir().unwrap();
        let long = "n".repeat(180);
        std::fs::write(host.path().join(&long), "long").unwrap();
        std::fs::hard_link(host.path().join(&long), host.path().join("hard")).unwrap();
        std::os::unix::fs::symlink("hard", host.path().join("soft")).unwrap();
        for format in ["gnu", "pax"] {
            let path = host
                .path()
                .join("../")
                .join(format!("mos-tree-{}-{format}.tar", std::process::id()));
            let format = format!("--format={format}");
            let made = Command::new("tar")
                .args(["--sort=name", "--owner=3", "--group=4", &format, "-C"])
                .arg(host.path())
                .arg("-cf")
                .arg(&path)
                .arg(".")
                .status();
            if !made.is_ok_and(|status| status.success()) {
                eprintln!("skipped: tar is not installed");
                return;
            }
            let in_memory = read(File::open(&path).unwrap(), 1 << 20).unwrap();
            let referenced = read_file(&path).unwrap();
            assert_eq!(in_memory, referenced);
            std::fs::remove_file(&path).unwrap();
            assert_eq!(in_memory.find(&long), in_memory.find("hard"));
            let file = in_memory.get("hard").unwrap();
            assert_eq!(file.kind, Kind::File("long".into()));
            assert_eq!((file.metadata.uid, file.metadata.gid), (3, 4));
            assert_eq!(in_memory.get("soft").unwrap().kind, Kind::Symlink(b"hard".to_vec()));
        }
    }
}

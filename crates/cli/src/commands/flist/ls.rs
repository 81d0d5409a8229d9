//! `mos flist ls`.

use std::path::PathBuf;

use mos_flist::{Entry, EntryKind};
use mos_tree::Timestamp;
use serde::Serialize;

use super::open::{Opened, show};
use crate::error::Result;
use crate::output;

/// List what an flist holds
///
/// Reads nothing but the file: no store is needed.
///
/// Examples: mos flist ls web.fl; mos flist ls -l web.fl usr/bin; mos flist ls -R web.fl --json
#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// The flist
    #[arg(value_name = "F")]
    file: PathBuf,

    /// A path in it; a directory is listed, anything else shown
    #[arg(default_value = "/")]
    path: String,

    /// Mode, owner, size, time and link target as well
    #[arg(long, short)]
    long: bool,

    /// Everything below, with paths
    #[arg(long, short = 'R')]
    recursive: bool,

    /// Print as JSON, with all details
    #[arg(long)]
    json: bool,
}

/// One entry as JSON. Names that are not UTF-8 are shown with U+FFFD where they are not.
#[derive(Serialize)]
struct Row {
    path: String,
    #[serde(rename = "type")]
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    mtime: String,
    inode: u64,
    links: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<(u32, u32)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    xattrs: Vec<String>,
}

pub(crate) fn run(args: &LsArgs) -> Result<()> {
    let flist = Opened::open(&args.file)?;
    let base = flist.find(&args.path, &args.file)?.path;
    let listed = flist.entries().filter(|entry| is_listed(entry, &base, args.recursive));
    let mut entries: Vec<Entry<'_>> = listed.collect();
    if entries.is_empty() {
        // Not a directory, or an empty one.
        let own = flist.find(&args.path, &args.file)?;
        entries.extend(Some(own).filter(|own| own.kind != EntryKind::Directory));
    }
    if args.json {
        return output::json(&entries.iter().map(row).collect::<Vec<_>>());
    }
    let skip = if args.recursive || base.is_empty() {
        0
    } else {
        parent_length(&base, &entries)
    };
    entries.iter().try_for_each(|entry| {
        let name = show(entry.path.get(skip..).unwrap_or(&entry.path));
        output::line(if args.long { long(entry, &name) } else { name })
    })
}

/// Bytes of a path that go without saying: the directory that is listed.
fn parent_length(base: &[u8], entries: &[Entry<'_>]) -> usize {
    let below = entries.iter().all(|entry| entry.path.len() > base.len());
    if below { base.len() + 1 } else { 0 }
}

fn is_listed(entry: &Entry<'_>, base: &[u8], recursive: bool) -> bool {
    let rest = match entry.path.strip_prefix(base) {
        Some(rest) if base.is_empty() => rest,
        Some([b'/', rest @ ..]) => rest,
        _ => return false,
    };
    !rest.is_empty() && (recursive || !rest.contains(&b'/'))
}

/// A line as `ls -l` has it, with numeric owners: names of owners belong to a system, not to an flist.
fn long(entry: &Entry<'_>, name: &str) -> String {
    let size = match entry.kind {
        EntryKind::File { size, .. } => size.to_string(),
        EntryKind::CharacterDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            format!("{major}, {minor}")
        }
        EntryKind::Symlink(target) => target.len().to_string(),
        _ => "0".to_owned(),
    };
    let target = match entry.kind {
        EntryKind::Symlink(target) => format!(" -> {}", show(target)),
        _ => String::new(),
    };
    let metadata = entry.metadata;
    let time = time(metadata.mtime);
    let (mode, links) = (mode(entry), entry.links);
    let (uid, gid) = (metadata.uid, metadata.gid);
    format!("{mode} {links:>3} {uid:>5} {gid:>5} {size:>11} {time} {name}{target}")
}

/// `-rwsr-xr-x`.
fn mode(entry: &Entry<'_>) -> String {
    let kind = match entry.kind {
        EntryKind::Directory => 'd',
        EntryKind::File { .. } => '-',
        EntryKind::Symlink(_) => 'l',
        EntryKind::CharacterDevice { .. } => 'c',
        EntryKind::BlockDevice { .. } => 'b',
        EntryKind::Fifo => 'p',
        EntryKind::Socket => 's',
    };
    let mode = entry.metadata.mode;
    // Shift of the class, its extra bit (set-user-id, set-group-id, sticky), and the letter of that.
    let classes = [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')];
    let mut text = kind.to_string();
    for (shift, extra, letter) in classes {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & extra != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
        });
    }
    text
}

/// In seconds, or the number when no calendar has it.
fn time(time: Timestamp) -> String {
    match jiff::Timestamp::from_second(time.seconds) {
        Ok(time) => time.to_string(),
        Err(_) => time.seconds.to_string(),
    }
}

fn row(entry: &Entry<'_>) -> Row {
    let kind = match entry.kind {
        EntryKind::Directory => "directory",
        EntryKind::File { .. } => "file",
        EntryKind::Symlink(_) => "symlink",
        EntryKind::CharacterDevice { .. } => "character device",
        EntryKind::BlockDevice { .. } => "block device",
        EntryKind::Fifo => "fifo",
        EntryKind::Socket => "socket",
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let metadata = entry.metadata;
    Row {
        path: text(&entry.path),
        kind,
        mode: format!("{:04o}", metadata.mode),
        uid: metadata.uid,
        gid: metadata.gid,
        size: entry.size(),
        mtime: precise(metadata.mtime),
        inode: entry.inode,
        links: entry.links,
        target: match entry.kind {
            EntryKind::Symlink(target) => Some(text(target)),
            _ => None,
        },
        device: match entry.kind {
            EntryKind::CharacterDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
                Some((major, minor))
            }
            _ => None,
        },
        object: entry.object().map(|object| object.to_string()),
        xattrs: metadata.xattrs.keys().map(|name| text(name)).collect(),
    }
}

fn precise(stamp: Timestamp) -> String {
    let nanoseconds = i32::try_from(stamp.nanoseconds).unwrap_or(0);
    jiff::Timestamp::new(stamp.seconds, nanoseconds).map_or_else(|_| time(stamp), |time| time.to_string())
}

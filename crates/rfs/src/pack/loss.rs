//! What the format cannot hold.

use std::collections::BTreeMap;
use std::fmt;

use mos_flist::show;
use mos_tree::{Entry, InodeId, Kind, Tree};

/// Something of a tree that is not in the flist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Path in the tree.
    pub path: Vec<u8>,
    /// What is lost.
    pub what: Lost,
}

/// What can be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// Extended attributes, by name: capabilities, access control lists, labels.
    Attributes(Vec<String>),
    /// That it is the same file as an earlier path: it becomes a copy.
    HardLink(Vec<u8>),
    /// The part of its time below a second.
    SubSecondTime,
    /// Its name, which is not UTF-8: other bytes are replaced by U+FFFD.
    Name,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = show(&self.path);
        match &self.what {
            Lost::Attributes(names) => write!(f, "{path}: the extended attributes {}", names.join(", ")),
            Lost::HardLink(first) => write!(f, "{path}: the hard link to {}, it becomes a copy", show(first)),
            Lost::SubSecondTime => write!(f, "{path}: the part of its time below a second"),
            Lost::Name => write!(f, "{path}: the bytes of its name that are not UTF-8"),
        }
    }
}

/// One line for each kind of loss, with how many there are and the first: a tree fresh from a disk loses the fraction of
/// every time.
pub fn summary(losses: &[Loss]) -> Vec<String> {
    let mut kinds: BTreeMap<u8, (usize, &Loss)> = BTreeMap::new();
    for loss in losses {
        kinds.entry(loss.what.rank()).or_insert((0, loss)).0 += 1;
    }
    let line = |(count, first): &(usize, &Loss)| match count {
        1 => format!("not in the flist: {first}"),
        _ => format!("not in the flist, {count} times: {first}"),
    };
    kinds.values().map(line).collect()
}

impl Lost {
    /// What matters most comes first.
    fn rank(&self) -> u8 {
        match self {
            Self::Name => 0,
            Self::Attributes(_) => 1,
            Self::HardLink(_) => 2,
            Self::SubSecondTime => 3,
        }
    }
}

/// Everything that is lost, by path.
pub(super) fn losses(tree: &Tree) -> Vec<Loss> {
    let mut first: BTreeMap<InodeId, Vec<u8>> = BTreeMap::new();
    let mut losses = Vec::new();
    for entry in tree.walk() {
        let link = match &entry.inode.kind {
            Kind::Directory(_) => None,
            _ => first.get(&entry.id).cloned().map(Lost::HardLink),
        };
        let new = link.is_none();
        let all = [link, attributes(&entry), time(&entry), name(&entry)];
        losses.extend(all.into_iter().flatten().map(|what| Loss {
            path: entry.path.clone(),
            what,
        }));
        if new {
            first.insert(entry.id, entry.path);
        }
    }
    losses
}

fn attributes(entry: &Entry<'_>) -> Option<Lost> {
    let xattrs = &entry.inode.metadata.xattrs;
    let names = xattrs.keys().map(|name| String::from_utf8_lossy(name).into_owned());
    (!xattrs.is_empty()).then(|| Lost::Attributes(names.collect()))
}

fn time(entry: &Entry<'_>) -> Option<Lost> {
    (entry.inode.metadata.mtime.nanoseconds > 0).then_some(Lost::SubSecondTime)
}

fn name(entry: &Entry<'_>) -> Option<Lost> {
    let name = entry.path.rsplit(|byte| *byte == b'/').next()?;
    std::str::from_utf8(name).is_err().then_some(Lost::Name)
}

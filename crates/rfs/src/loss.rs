//! What one of the formats has no place for: this one when a tree is packed, or the newer one when an flist is converted.

use std::collections::BTreeMap;
use std::fmt;

use mos_flist::show;
use mos_tree::{Entry, InodeId, Kind, Tree};

use crate::catalogue::Rfs;

/// Something of a tree, or of an flist, that is not in the new flist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Path in the tree; empty also for what belongs to no file.
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
    /// The time of its last change (ctime), which is another than that of its content.
    ChangeTime,
    /// A tag of the flist: its key.
    Tag(String),
    /// A store that the flist names, without password.
    Store(String),
}

/// How often one kind of thing was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossCount {
    /// A word for the kind: `name`, `attributes`, `hard-link`, `sub-second-time`, `change-time`, `tag`, `store`.
    pub kind: &'static str,
    /// How often.
    pub count: u64,
    /// The first one.
    pub first: Loss,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = show(&self.path);
        match &self.what {
            Lost::Attributes(names) => write!(f, "{path}: the extended attributes {}", names.join(", ")),
            Lost::HardLink(first) => write!(f, "{path}: the hard link to {}, it becomes a copy", show(first)),
            Lost::SubSecondTime => write!(f, "{path}: the part of its time below a second"),
            Lost::Name => write!(f, "{path}: the bytes of its name that are not UTF-8"),
            Lost::ChangeTime => write!(f, "{path}: the time of its last change (ctime)"),
            Lost::Tag(key) => write!(f, "the tag `{}`", key.escape_debug()),
            Lost::Store(url) => write!(f, "the store {}, which the flist named", url.escape_debug()),
        }
    }
}

impl fmt::Display for LossCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => write!(f, "not in the flist: {}", self.first),
            count => write!(f, "not in the flist, {count} times: {}", self.first),
        }
    }
}

/// Each kind of loss, with how many there are and the first: a tree fresh from a disk loses the fraction of every time.
/// What matters most comes first.
pub fn summary(losses: &[Loss]) -> Vec<LossCount> {
    let mut kinds: BTreeMap<u8, LossCount> = BTreeMap::new();
    for loss in losses {
        let (rank, kind) = loss.what.kind();
        let first = || LossCount {
            kind,
            count: 0,
            first: loss.clone(),
        };
        kinds.entry(rank).or_insert_with(first).count += 1;
    }
    kinds.into_values().collect()
}

impl Lost {
    /// What matters most comes first.
    fn kind(&self) -> (u8, &'static str) {
        match self {
            Self::Name => (0, "name"),
            Self::Attributes(_) => (1, "attributes"),
            Self::HardLink(_) => (2, "hard-link"),
            Self::SubSecondTime => (3, "sub-second-time"),
            Self::ChangeTime => (4, "change-time"),
            Self::Tag(_) => (5, "tag"),
            Self::Store(_) => (6, "store"),
        }
    }
}

impl Rfs {
    /// What a conversion of this flist leaves behind, into either format: an flist of the newer one names no stores and
    /// has no tags; either has its own stores afterwards, and the time of the last change is not handed on.
    pub fn left_behind(&self) -> Vec<Loss> {
        let changed = |inode| {
            let record = self.record(inode);
            record.is_some_and(|record| record.ctime != record.metadata.mtime.seconds)
        };
        let times = self.entries().filter(|entry| changed(entry.inode));
        let times = times.map(|entry| (entry.path, Lost::ChangeTime));
        let tags = self.tags().keys().map(|key| Lost::Tag(key.clone()));
        let stores = self.routes().iter().map(|route| Lost::Store(route.to_string()));
        let own = tags.chain(stores).map(|what| (Vec::new(), what));
        times.chain(own).map(|(path, what)| Loss { path, what }).collect()
    }
}

/// Everything that is lost, by path.
pub(crate) fn losses(tree: &Tree) -> Vec<Loss> {
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

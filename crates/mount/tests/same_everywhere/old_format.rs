//! What a tree is after a journey through the format of rfs, from what packing says of its losses.

use std::collections::{BTreeMap, BTreeSet};

use mos_rfs::{Loss, Lost};

use crate::snapshot::{Snapshot, join};

/// Bytes of the longest name.
const NAME_LIMIT: usize = 255;
/// Bytes of the longest path.
const PATH_LIMIT: usize = 4095;

/// Whether every name is one of its own after its bytes that are not UTF-8 were replaced, and not too long.
pub fn fits(tree: &Snapshot) -> bool {
    let lossy: Vec<_> = tree
        .keys()
        .map(|path| path.split(|byte| *byte == b'/').map(replaced).collect::<Vec<_>>())
        .collect();
    let long =
        |path: &Vec<Vec<u8>>| path.iter().any(|name| name.len() > NAME_LIMIT) || path.join(&b'/').len() > PATH_LIMIT;
    !lossy.iter().any(long) && lossy.iter().collect::<BTreeSet<_>>().len() == tree.len()
}

fn replaced(name: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(name).into_owned().into_bytes()
}

/// Takes from a tree what was lost, and nothing else. Each loss must have been there.
pub fn without(tree: &Snapshot, losses: &[Loss]) -> Snapshot {
    let mut left = tree.clone();
    let mut renamed = BTreeSet::new();
    for loss in losses {
        let stat = left.get_mut(&loss.path).expect("a loss of a path that is there");
        match &loss.what {
            Lost::Attributes(names) => names.iter().for_each(|name| {
                stat.xattrs
                    .remove(name.as_ref() as &std::ffi::OsStr)
                    .expect("an attribute that is there");
            }),
            Lost::HardLink(first) => {
                assert!(stat.first == *first && *first != loss.path, "{loss}");
                stat.first = loss.path.clone();
            }
            Lost::SubSecondTime => {
                assert!(stat.mtime.1 > 0, "{loss}");
                stat.mtime.1 = 0;
            }
            Lost::Name => assert!(renamed.insert(loss.path.clone()), "{loss}, twice"),
            other => panic!("{other:?} is new: say here what it means"),
        }
    }
    recount(rename(left, &renamed))
}

/// Replaces what is not UTF-8 in the last part of each of these paths.
fn rename(tree: Snapshot, renamed: &BTreeSet<Vec<u8>>) -> Snapshot {
    // Parents come before what is below them.
    let mut new: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for path in tree.keys() {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = slash.map_or((&b""[..], &path[..]), |slash| (&path[..slash], &path[slash + 1..]));
        let lossy = replaced(name);
        let name = if renamed.contains(path) {
            assert!(lossy != name, "a name that was lost is UTF-8");
            &lossy
        } else {
            name
        };
        let path_now = if path.is_empty() {
            Vec::new()
        } else {
            join(&new[parent], name)
        };
        new.insert(path.clone(), path_now);
    }
    let moved = tree.into_iter().map(|(path, mut stat)| {
        stat.first = new[&stat.first].clone();
        (new[&path].clone(), stat)
    });
    moved.collect()
}

/// Counts the names of files anew.
fn recount(mut tree: Snapshot) -> Snapshot {
    let mut links: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    tree.values()
        .for_each(|stat| *links.entry(stat.first.clone()).or_default() += 1);
    for stat in tree.values_mut().filter(|stat| stat.mode & 0o170_000 != 0o040_000) {
        stat.links = links[&stat.first];
    }
    tree
}

//! Paths through symbolic links, as a process sees them whose root is that of the tree.

use std::collections::VecDeque;

use crate::tree::{lossy, parts};
use crate::{InodeId, Kind, Name, Tree, TreeError};

/// Most symbolic links on the way to a file: as many as Linux follows (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;
/// Longest target that is followed, in bytes: as long as Linux keeps (`PATH_MAX`).
const MAX_TARGET: usize = 4096;

impl Tree {
    /// Finds a path and follows symbolic links, the last one too.
    pub fn follow(&self, path: impl AsRef<[u8]>) -> Option<InodeId> {
        self.find(self.resolve(path).ok()?)
    }

    /// The same path without symbolic links. An absolute target begins at the root of the tree, and `..` in a target
    /// leads no further up than that: nothing leaves the tree. What is missing stands for itself.
    ///
    /// # Errors
    /// [`TreeError::BadPath`] for a path with `..` of its own, [`TreeError::TooManyLinks`].
    pub fn resolve(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>, TreeError> {
        let path = path.as_ref();
        let mut left: VecDeque<Vec<u8>> = VecDeque::new();
        for part in parts(path) {
            Name::new(part).map_err(|_| TreeError::BadPath(lossy(path)))?;
            left.push_back(part.to_vec());
        }
        let mut place = Place::default();
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            let Some(target) = place.enter(self, part) else {
                continue;
            };
            links += 1;
            if links > MAX_LINKS || target.len() > MAX_TARGET {
                return Err(TreeError::TooManyLinks(lossy(path)));
            }
            if target.starts_with(b"/") {
                place = Place::default();
            }
            for part in parts(target).collect::<Vec<_>>().into_iter().rev() {
                left.push_front(part.to_vec());
            }
        }
        Ok(place.names.join(&b'/'))
    }

    /// As [`Tree::resolve`], but the last name stands for itself, also when it is that of a symbolic link.
    ///
    /// # Errors
    /// As [`Tree::resolve`].
    pub fn resolve_parent(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>, TreeError> {
        let path = path.as_ref();
        let mut all: Vec<&[u8]> = parts(path).collect();
        let Some(last) = all.pop() else {
            return Ok(Vec::new());
        };
        let last = Name::new(last).map_err(|_| TreeError::BadPath(lossy(path)))?;
        let mut resolved = self.resolve(all.join(&b'/'))?;
        if !resolved.is_empty() {
            resolved.push(b'/');
        }
        resolved.extend_from_slice(last.as_bytes());
        Ok(resolved)
    }
}

/// Where a walk is.
#[derive(Default)]
struct Place {
    names: Vec<Vec<u8>>,
    /// The inode of each name, as far as there are any.
    ids: Vec<InodeId>,
}

impl Place {
    /// Goes one name on, or gives the target of the link that the name is.
    fn enter<'t>(&mut self, tree: &'t Tree, part: Vec<u8>) -> Option<&'t [u8]> {
        if part == b".." {
            self.names.pop();
            self.ids.truncate(self.names.len());
            return None;
        }
        let here = match self.names.len() == self.ids.len() {
            true => Some(self.ids.last().copied().unwrap_or(Tree::ROOT)),
            false => None,
        };
        let found = here.and_then(|id| match &tree.inode(id).kind {
            Kind::Directory(entries) => entries.get(&Name::new(&part).ok()?).copied(),
            _ => None,
        });
        if let Some(id) = found {
            if let Kind::Symlink(target) = &tree.inode(id).kind {
                return Some(target);
            }
            self.ids.push(id);
        }
        self.names.push(part);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(links: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        tree.insert_file("usr/lib/real", 0o644, "x").unwrap();
        for (path, target) in links {
            tree.insert_symlink(path, *target).unwrap();
        }
        tree
    }

    #[test]
    fn links_are_followed_within_the_tree() {
        let tree = tree(&[
            ("lib", "usr/lib"),
            ("abs", "/usr/lib"),
            ("usr/up", "../lib/.//"),
            ("out", "../../../../etc"),
            ("usr/lib/last", "/nowhere/at/all"),
            ("self", "."),
        ]);
        for (path, expected) in [
            ("lib/x", "usr/lib/x"),
            ("abs/x/y", "usr/lib/x/y"),
            ("/usr/up/x/", "usr/lib/x"),
            ("out/passwd", "etc/passwd"),
            ("lib/last/x", "nowhere/at/all/x"),
            ("self/self/usr", "usr"),
            ("absent/x", "absent/x"),
            ("usr/lib/real/x", "usr/lib/real/x"),
            ("./", ""),
        ] {
            assert_eq!(lossy(&tree.resolve(path).unwrap()), expected, "{path}");
        }
        assert_eq!(lossy(&tree.resolve_parent("abs/last").unwrap()), "usr/lib/last");
        assert_eq!(lossy(&tree.resolve_parent("lib").unwrap()), "lib");
        assert_eq!(tree.follow("usr/up/real"), tree.find("usr/lib/real"));
        assert!(tree.follow("lib/absent").is_none());
        assert!(matches!(tree.resolve("lib/../x"), Err(TreeError::BadPath(_))));
        assert!(matches!(tree.resolve_parent("lib/.."), Err(TreeError::BadPath(_))));
    }

    #[test]
    fn circles_end() {
        let tree = tree(&[("a", "b"), ("b", "a"), ("c", "c/c/c")]);
        for path in ["a", "b/x", "c"] {
            assert_eq!(tree.resolve(path), Err(TreeError::TooManyLinks(path.to_owned())));
        }
    }
}

//! What is made different on the way from a source into an flist.

use mos_tree::{Timestamp, Tree};

use crate::error::{CliError, Result};

/// Options that change the tree before it is packed.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct ChangeArgs {
    /// Leave out what matches: `*` and `?` stay within a name, `**` does not; a pattern without `/` matches names anywhere. May
    /// be repeated
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,

    /// Give everything this time, in seconds since 1970
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    mtime: Option<i64>,

    /// Give everything this owner and group
    #[arg(long, value_name = "U:G", value_parser = parse_owner)]
    owner: Option<(u32, u32)>,
}

impl ChangeArgs {
    pub(crate) fn apply(&self, tree: &mut Tree) -> Result<()> {
        let found: Vec<_> = tree.walk().map(|entry| (entry.path, entry.id)).collect();
        for (_, id) in &found {
            let metadata = &mut tree.inode_mut(*id).metadata;
            if let Some(seconds) = self.mtime {
                metadata.mtime = Timestamp {
                    seconds,
                    nanoseconds: 0,
                };
            }
            if let Some((uid, gid)) = self.owner {
                (metadata.uid, metadata.gid) = (uid, gid);
            }
        }
        for (path, _) in found.iter().filter(|(path, _)| !path.is_empty() && self.excludes(path)) {
            // What lay in a directory that is gone by now is gone with it.
            if tree.find(path).is_some() {
                tree.remove(path)
                    .map_err(|error| CliError::problem(error.to_string()))?;
            }
        }
        Ok(())
    }

    /// Whether a path is to be left out.
    pub(crate) fn excludes(&self, path: &[u8]) -> bool {
        self.exclude.iter().any(|glob| excludes(glob.as_bytes(), path))
    }
}

/// Whether a pattern means this path.
fn excludes(glob: &[u8], path: &[u8]) -> bool {
    if let Some(rooted) = glob.strip_prefix(b"/") {
        return matches(rooted, path);
    }
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    matches(glob, if glob.contains(&b'/') { path } else { name })
}

/// Takes time in proportion to the product of the lengths, whatever the pattern.
fn matches(glob: &[u8], text: &[u8]) -> bool {
    let mut rows = vec![false; text.len() + 1];
    rows[0] = true;
    let mut at = 0;
    while at < glob.len() {
        let deep = glob[at..].starts_with(b"**");
        let mut next = vec![false; text.len() + 1];
        for end in 0..=text.len() {
            next[end] = match glob[at] {
                b'*' => rows[end] || (end > 0 && next[end - 1] && (deep || text[end - 1] != b'/')),
                b'?' => end > 0 && rows[end - 1] && text[end - 1] != b'/',
                byte => end > 0 && rows[end - 1] && text[end - 1] == byte,
            };
        }
        rows = next;
        at += if deep { 2 } else { 1 };
    }
    rows[text.len()]
}

fn parse_owner(text: &str) -> std::result::Result<(u32, u32), String> {
    let numbers = text
        .split_once(':')
        .and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)));
    numbers.ok_or_else(|| "expected two numbers, such as 0:0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, path, expected) in [
            ("*.o", "src/a.o", true),
            ("*.o", "src/a.obj", false),
            ("src/*.o", "src/a.o", true),
            ("src/*.o", "src/deep/a.o", false),
            ("src/**.o", "src/deep/a.o", true),
            ("/etc", "etc", true),
            ("/etc", "usr/etc", false),
            ("etc", "usr/etc", true),
            ("?", "a", true),
            ("?", "ab", false),
            ("**", "any/thing", true),
            ("", "a", false),
        ] {
            assert_eq!(excludes(glob.as_bytes(), path.as_bytes()), expected, "{glob} {path}");
        }
        // Would take ages with a matcher that tries everything.
        assert!(!matches(&b"a*".repeat(50), &b"b".repeat(5000)));
    }

    #[test]
    fn owners() {
        assert_eq!(parse_owner("0:100000"), Ok((0, 100_000)));
        for text in ["", "0", "root:root", "0:-1", "0:0:0"] {
            assert!(parse_owner(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tree_is_changed_as_asked() {
        let mut tree = Tree::default();
        tree.insert_file("a/b.o", 0o644, "x").unwrap();
        tree.insert_file("cache/deep/c", 0o644, "y").unwrap();
        tree.insert_file("d", 0o644, "z").unwrap();
        let change = ChangeArgs {
            exclude: vec!["*.o".into(), "cache".into(), "cache/deep".into()],
            mtime: Some(7),
            owner: Some((1, 2)),
        };
        change.apply(&mut tree).unwrap();
        let paths: Vec<_> = tree
            .walk()
            .map(|entry| String::from_utf8(entry.path).unwrap())
            .collect();
        assert_eq!(paths, ["", "a", "d"]);
        assert!(
            tree.walk()
                .all(|entry| entry.inode.metadata.uid == 1 && entry.inode.metadata.mtime.seconds == 7)
        );
    }
}

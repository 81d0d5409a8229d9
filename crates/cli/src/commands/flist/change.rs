//! What is made different on the way from a source into an flist.

use mos_tree::{Kind, Timestamp, Tree};

use super::ignore::Rules;
use crate::error::{CliError, Result};

/// Options that change the tree before it is packed.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct ChangeArgs {
    /// Leave out what matches, as in a `.gitignore` (`*.o`, `/etc`, `cache/`, `!keep.o`); stronger than the files `.mosignore` of
    /// a folder, which have the same grammar. May be repeated
    #[arg(long, value_name = "GLOB", value_parser = parse_glob)]
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
        let rules = self.rules()?;
        for (path, _) in found.iter().filter(|(path, _)| !path.is_empty()) {
            // What lay in a directory that is gone by now is gone with it.
            let Some(id) = tree.find(path) else { continue };
            if rules.excludes(path, matches!(tree.inode(id).kind, Kind::Directory(_))) {
                tree.remove(path)
                    .map_err(|error| CliError::problem(error.to_string()))?;
            }
        }
        Ok(())
    }

    /// What is to be left out.
    pub(super) fn rules(&self) -> Result<Rules> {
        Rules::new(&self.exclude).map_err(CliError::usage)
    }
}

fn parse_glob(text: &str) -> std::result::Result<String, String> {
    Rules::new(&[text.to_owned()]).map(|_| text.to_owned())
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

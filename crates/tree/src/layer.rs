//! Layers of container images: tar archives that are laid over each other.
//!
//! An entry `.wh.NAME` takes NAME of the layers below away, and `.wh..wh..opq` everything that they have in its directory
//! (OCI image specification 1.1, "Image Layer Filesystem Changeset", "Whiteouts"). Both say nothing about the files of
//! their own layer, wherever in the archive they stand.
//!
//! A path may lead through symbolic links of its own layer and of those below: `lib/x` is put at `usr/lib/x` where `lib`
//! is a link to that. Links are followed as by a process whose root is the image, so that nothing leaves it; containerd
//! (`fs.RootPath`) and umoci (`SecureJoin`) do the same. The last name of a path is never followed: what an entry names
//! is replaced by it, also a link by a directory ("Applying Changesets": only a directory over a directory joins it).

use crate::tarball::{TarError, add_file, each_path};
use crate::{Content, Inode, Kind, Metadata, Name, Tree, TreeError};

/// What the name of a whiteout begins with.
const WHITEOUT: &[u8] = b".wh.";
/// What the names begin with that are no files' (those of AUFS, which the specification reserves).
const RESERVED: &[u8] = b".wh..wh.";
/// The name that hides the whole directory below.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Lays an uncompressed layer, which is in one piece on the disk, over a tree, whose content then refers to it.
///
/// # Errors
/// [`TarError`], as for [`crate::tarball::read_file`]; the tree is then of no use.
pub fn apply(tree: &mut Tree, layer: &Content) -> Result<(), TarError> {
    each_path(layer, |path, directory| match split(path) {
        (parent, Some(hidden)) => Ok(hide(tree, parent, hidden)?),
        (_, None) if directory && !is_reserved(path) => Ok(unlink(tree, path)?),
        _ => Ok(()),
    })?;
    add_file(tree, layer, |tree, path| match is_reserved(path) {
        true => Ok(None),
        false => tree.resolve_parent(path).map(Some),
    })
}

/// Puts a directory where a layer has one over a symbolic link of those below: whiteouts mean what is in the directory
/// then, not what the link leads to.
fn unlink(tree: &mut Tree, path: &[u8]) -> Result<(), TreeError> {
    let path = tree.resolve_parent(path)?;
    let is_link = |inode: &Inode| matches!(inode.kind, Kind::Symlink(_));
    if tree.get(&path).is_some_and(is_link) {
        let kind = Kind::Directory(Default::default());
        let metadata = Metadata::root(0o755);
        tree.insert(&path, Inode { metadata, kind })?;
    }
    Ok(())
}

/// The directory of a path, and the name when it is a whiteout's. Slashes at the end do not count.
fn split(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    let length = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let path = &path[..length];
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    (parent, name.starts_with(WHITEOUT).then_some(name))
}

/// True for a whiteout, and for what lies below a name that only whiteouts may have.
fn is_reserved(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|name| name.starts_with(WHITEOUT))
}

fn hide(tree: &mut Tree, parent: &[u8], name: &[u8]) -> Result<(), TreeError> {
    let parent = &tree.resolve(parent)?[..];
    if name == OPAQUE {
        if let Some(id) = tree.find(parent)
            && let Kind::Directory(entries) = &mut tree.inode_mut(id).kind
        {
            entries.clear();
        }
        return Ok(());
    }
    if name.starts_with(RESERVED) {
        return Ok(());
    }
    let hidden = Name::new(&name[WHITEOUT.len()..])?;
    match tree.remove([parent, b"/", hidden.as_bytes()].concat()) {
        // Hiding what is not there is no mistake.
        Err(TreeError::NotFound(_) | TreeError::NotADirectory(_)) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use super::*;

    fn layer(directory: &Path, names: &[&str]) -> Content {
        let path = directory.join(format!("{}.tar", names.len()));
        let mut builder = tar::Builder::new(File::create(&path).unwrap());
        for name in names {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            header.set_size(0);
            header.set_mtime(0);
            header.set_uid(names.len() as u64);
            header.set_gid(0);
            header.set_entry_type(match name.ends_with('/') {
                true => tar::EntryType::Directory,
                false => tar::EntryType::Regular,
            });
            builder.append_data(&mut header, name, &b""[..]).unwrap();
        }
        builder.finish().unwrap();
        drop(builder);
        Content::file(&path).unwrap()
    }

    fn paths(tree: &Tree) -> Vec<String> {
        tree.walk()
            .skip(1)
            .map(|entry| String::from_utf8(entry.path).unwrap())
            .collect()
    }

    #[test]
    fn whiteouts_hide_what_is_below_and_nothing_of_their_own_layer() {
        let directory = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        let lower = ["a/", "a/one", "a/two", "b/", "b/one", "b/deep/", "b/deep/er", "c", "d"];
        apply(&mut tree, &layer(directory.path(), &lower)).unwrap();
        assert_eq!(paths(&tree).len(), lower.len());
        let upper = [
            "b/new",
            "a/.wh.one",
            "b/.wh..wh..opq",
            ".wh.c",
            "c",
            ".wh.absent",
            ".wh..wh.plnk/",
            ".wh..wh.plnk/1.2",
            "x/.wh.y",
            ".wh.d/",
        ];
        apply(&mut tree, &layer(directory.path(), &upper)).unwrap();
        assert_eq!(paths(&tree), ["a", "a/two", "b", "b/new", "c"]);
        // Directories that a layer does not name keep what they are.
        assert_eq!(tree.get("a").unwrap().metadata.uid, 9);
        assert_eq!(tree.get("c").unwrap().metadata.uid, 10);
    }

    #[test]
    fn a_link_may_lead_to_a_file_of_a_layer_below() {
        let directory = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        apply(&mut tree, &layer(directory.path(), &["a", "b"])).unwrap();
        let path = directory.path().join("upper.tar");
        let mut builder = tar::Builder::new(File::create(&path).unwrap());
        for (name, target) in [("c", "a"), ("d", "c")] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Link);
            header.set_size(0);
            builder.append_link(&mut header, name, target).unwrap();
        }
        builder.finish().unwrap();
        drop(builder);
        apply(&mut tree, &Content::file(&path).unwrap()).unwrap();
        assert_eq!(paths(&tree), ["a", "b", "c", "d"]);
        assert!(tree.find("a") == tree.find("c") && tree.find("a") == tree.find("d"));
        // A layer that hides or replaces one name leaves the others.
        apply(&mut tree, &layer(directory.path(), &["a", "x", ".wh.c"])).unwrap();
        assert_eq!(paths(&tree), ["a", "b", "d", "x"]);
        assert_eq!(tree.get("d").unwrap().metadata.uid, 2);
    }

    /// A layer of links (`NAME -> TARGET`), files and directories, in this order.
    fn mixed(directory: &Path, entries: &[&str]) -> Content {
        let path = directory.join(format!("mixed{}.tar", entries.len()));
        let mut builder = tar::Builder::new(File::create(&path).unwrap());
        for entry in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            header.set_size(0);
            match (entry.split_once(" -> "), entry.split_once(" = ")) {
                (Some((name, target)), _) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    builder.append_link(&mut header, name, target).unwrap();
                }
                (_, Some((name, target))) => {
                    header.set_entry_type(tar::EntryType::Link);
                    builder.append_link(&mut header, name, target).unwrap();
                }
                _ => {
                    header.set_entry_type(match entry.ends_with('/') {
                        true => tar::EntryType::Directory,
                        false => tar::EntryType::Regular,
                    });
                    builder.append_data(&mut header, entry, &b""[..]).unwrap();
                }
            }
        }
        builder.finish().unwrap();
        drop(builder);
        Content::file(&path).unwrap()
    }

    #[test]
    fn an_upper_layer_writes_through_links_of_a_lower_one_and_never_out_of_the_image() {
        let directory = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        let lower = [
            "usr/lib/",
            "usr/lib/old",
            "usr/lib/gone",
            "lib -> usr/lib",
            "out -> ../../../../tmp",
            "abs -> /usr",
            "far -> nowhere/yet",
        ];
        apply(&mut tree, &mixed(directory.path(), &lower)).unwrap();
        let upper = [
            "lib/new",
            "lib/.wh.gone",
            "out/passwd",
            "abs/lib/deep/file",
            "far/file",
            "hard = lib/new",
            "own -> usr/lib",
            "own/mine",
        ];
        apply(&mut tree, &mixed(directory.path(), &upper)).unwrap();
        let expected = [
            "abs",
            "far",
            "hard",
            "lib",
            "nowhere",
            "nowhere/yet",
            "nowhere/yet/file",
            "out",
            "own",
            "tmp",
            "tmp/passwd",
            "usr",
            "usr/lib",
            "usr/lib/deep",
            "usr/lib/deep/file",
            "usr/lib/mine",
            "usr/lib/new",
            "usr/lib/old",
        ];
        assert_eq!(paths(&tree), expected);
        assert_eq!(tree.find("hard"), tree.find("usr/lib/new"));
    }

    #[test]
    fn a_directory_over_a_link_replaces_it_and_hides_what_it_led_to() {
        let directory = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        let lower = ["usr/lib/", "usr/lib/old", "lib -> usr/lib"];
        apply(&mut tree, &mixed(directory.path(), &lower)).unwrap();
        // The whiteout is of the new directory, in which there is nothing.
        let upper = ["lib/", "lib/.wh.old", "lib/x", "a -> b"];
        apply(&mut tree, &mixed(directory.path(), &upper)).unwrap();
        assert_eq!(paths(&tree), ["a", "lib", "lib/x", "usr", "usr/lib", "usr/lib/old"]);
        let circle = mixed(directory.path(), &["b -> a", "a/x"]);
        let error = apply(&mut tree, &circle).unwrap_err().to_string();
        assert_eq!(error, "tar archive: a: too many or too long symbolic links on the way");
    }

    #[test]
    fn a_whiteout_of_no_name_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for name in [".wh.", ".wh..", "a/.wh..."] {
            let path = layer(directory.path(), &[name]);
            assert!(apply(&mut Tree::default(), &path).is_err(), "{name}");
        }
    }
}

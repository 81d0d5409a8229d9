//! Whether a stored generation is still what its flists say.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mos_flist::ObjectDigest;

use crate::{File, Generation, Layout, Link, PLACES, UpdateError, disk, installed};

/// Something in a generation is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The path in the generation.
    pub place: String,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

/// Compares every file of a generation with its flists: content, permissions, links; and looks for files that no flist
/// names. Nothing is changed.
///
/// # Errors
/// [`UpdateError::Io`] when a directory cannot be listed. A file that cannot be read is a [`Damage`].
pub fn check(layout: &Layout, generation: &Generation) -> Result<Vec<Damage>, UpdateError> {
    let root = layout.generation(generation.number);
    let wanted = &generation.wanted;
    let mut damages: Vec<Damage> = wanted.files().filter_map(|(_, file)| check_file(&root, file)).collect();
    damages.extend(wanted.links().filter_map(|link| check_link(&root, link)));
    let files = wanted.files().map(|(_, file)| file.place.as_str());
    let known: BTreeSet<&str> = files.chain(wanted.links().map(|link| link.place.as_str())).collect();
    for place in PLACES {
        find_strangers(&root, place, &known, &mut damages)?;
    }
    Ok(damages)
}

fn check_file(root: &Path, file: &File) -> Option<Damage> {
    let right = disk::mode(file.executable);
    let why = match inspect(&root.join(&file.place)) {
        Ok((found, mode)) if found == file.object && mode == right => return None,
        Ok((found, mode)) if found == file.object => format!("its mode is {mode:o}, not {right:o}"),
        Ok((found, _)) => format!("its content is object {found}, not {}", file.object),
        Err(error) => format!("cannot be read: {error}"),
    };
    let place = file.place.clone();
    Some(Damage { place, why })
}

/// Digest and permission bits of a regular file.
fn inspect(path: &Path) -> io::Result<(ObjectDigest, u32)> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let digest = ObjectDigest::of_reader(&mut fs::File::open(path)?)?;
    Ok((digest, metadata.permissions().mode() & 0o7777))
}

fn check_link(root: &Path, link: &Link) -> Option<Damage> {
    let why = match fs::read_link(root.join(&link.place)) {
        Ok(target) if target == Path::new(&link.target) => return None,
        Ok(target) => format!("it points at {}, not {}", target.display(), link.target),
        Err(error) => format!("cannot be read: {error}"),
    };
    let place = link.place.clone();
    Some(Damage { place, why })
}

/// A service file that nobody signed must not be started, so what is too much is damage as well.
fn find_strangers(
    root: &Path,
    place: &str,
    known: &BTreeSet<&str>,
    damages: &mut Vec<Damage>,
) -> Result<(), UpdateError> {
    for entry in installed::list(&root.join(place))? {
        let place = format!("{place}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find_strangers(root, &place, known, damages)?;
        } else if !known.contains(place.as_str()) {
            let why = "no flist of the release names it".to_owned();
            damages.push(Damage { place, why });
        }
    }
    Ok(())
}

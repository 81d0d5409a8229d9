//! A `.deb` as a tree: `debian-binary`, `control.tar`, `data.tar` in an `ar` archive (deb(5)). None of the
//! package's scripts is run.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use mos_tree::{Kind, Tree, tarball};

use crate::archive::{self, Member};
use crate::compression::Compression;

/// A package may unpack to this many bytes; the largest of Debian is below it.
const UNPACKED_MAX: u64 = 4 << 30;

/// `control.tar` holds scripts and checksums.
const CONTROL_MAX: u64 = 64 << 20;

/// An unpacked package.
#[derive(Debug, Clone)]
pub struct Package {
    /// `busybox-static`.
    pub name: String,
    /// With epoch and revision.
    pub version: String,
    /// `amd64`, `arm64` or `all`.
    pub architecture: String,
    /// Its files, in memory.
    pub tree: Tree,
}

/// Why a `.deb` could not be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebError {
    /// The file could not be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is no Debian package, or damaged.
    #[error("{path}: not a sound Debian package: {problem}; delete it to have it fetched again")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
}

/// Reads a package from disk.
///
/// # Errors
/// See [`DebError`].
pub fn read(path: &Path) -> Result<Package, DebError> {
    let shown = path.display().to_string();
    let bytes = fs::read(path).map_err(|source| DebError::Read {
        path: shown.clone(),
        source,
    })?;
    parse(&bytes).map_err(|problem| DebError::Damaged { path: shown, problem })
}

/// Reads a package from memory.
///
/// # Errors
/// What is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Package, String> {
    let members = archive::members(bytes)?;
    match members.first() {
        Some(first) if first.name == "debian-binary" && first.bytes.starts_with(b"2.") => {}
        _ => return Err("it does not begin with `debian-binary` 2.x".to_owned()),
    }
    let control = control(&unpack(&members, "control.tar", CONTROL_MAX)?)?;
    let field = |name: &str| field(&control, name).ok_or_else(|| format!("`control` has no field {name}"));
    Ok(Package {
        name: field("Package")?,
        version: field("Version")?,
        architecture: field("Architecture")?,
        tree: unpack(&members, "data.tar", UNPACKED_MAX)?,
    })
}

fn unpack(members: &[Member<'_>], name: &str, limit: u64) -> Result<Tree, String> {
    let split = |member: &Member<'_>| {
        let (base, compression) = Compression::split_name(member.name.as_bytes());
        (base == name.as_bytes()).then_some(compression)
    };
    let found = members.iter().find_map(|member| Some((member.bytes, split(member)?)));
    let (bytes, compression) =
        found.ok_or_else(|| format!("it has no member {name} that is plain, gzip, xz or zstd"))?;
    let reader = compression.reader(bytes).map_err(|error| format!("{name}: {error}"))?;
    tarball::read(reader.take(limit), limit).map_err(|error| format!("{name}: {error}"))
}

fn control(tree: &Tree) -> Result<String, String> {
    let Some(Kind::File(content)) = tree.get("control").map(|inode| &inode.kind) else {
        return Err("control.tar has no file `control`".to_owned());
    };
    let bytes = content.read().map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "`control` is not UTF-8".to_owned())
}

/// A one-line field of a control file (deb-control(5)); field names know no case.
fn field(control: &str, name: &str) -> Option<String> {
    control.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

//! Published files: a program, or an archive with programs or with their source.
//!
//! The first time, what comes is believed and its SHA-256 goes into the lock; from then on nothing else is accepted.
//! A configuration that names the digest believes nothing.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use mos_config::{LockedComponent, Source};
use mos_packages::compression::Compression;
use mos_store::Digest;
use mos_tree::{directory, tarball};

use crate::download::{self, DownloadError};
use crate::error::ComponentError;
use crate::workshop::{Progress, Workshop};

/// The largest file accepted, in bytes.
const MAXIMUM: u64 = 2 << 30;
/// The most that an archive may unpack to, in bytes: it goes through memory.
const MAXIMUM_UNPACKED: u64 = 1 << 30;
/// Where a tar archive has its magic (POSIX.1-2017, pax, "ustar Interchange Format").
const TAR_MAGIC: std::ops::Range<usize> = 257..262;
/// Bytes of a tar header.
const TAR_HEADER: usize = 512;
/// What zip archives begin with.
const ZIP: &[u8] = b"PK\x03\x04";

/// What came.
#[derive(Debug)]
pub(crate) struct Got {
    pub sha256: String,
    pub file: PathBuf,
    /// What the file is called when it is no archive.
    pub name: String,
}

/// Brings a published file into the cache, and checks it.
pub(crate) fn fetch(
    component: &str,
    source: &Source,
    locked: Option<&LockedComponent>,
    shop: &Workshop,
    progress: &mut Progress<'_>,
) -> Result<Got, ComponentError> {
    let Source::Release {
        url, sha256, rename, ..
    } = source
    else {
        return Err(ComponentError::source(component, "not a release"));
    };
    let last = url.rsplit('/').next().unwrap_or(url);
    let name = rename.clone().unwrap_or_else(|| last.to_owned());
    let expected = expected(sha256.as_deref(), locked);
    let (file, found) = if url.contains("://") {
        let place = Digest::of(url.as_bytes()).to_string();
        let file = shop.folder("releases").join(&place[..16]).join(last);
        let kept = expected.and_then(|expected| download::sha256(&file).ok().filter(|found| found == expected));
        let found = match kept {
            Some(found) => found,
            None => {
                download::fetch(url, &file, MAXIMUM, expected, progress).map_err(|error| failed(component, error))?
            }
        };
        (file, found)
    } else {
        let file = shop.repository().join(url);
        let found = download::sha256(&file).map_err(ComponentError::at(&file))?;
        (file, found)
    };
    match expected.filter(|expected| *expected != found) {
        Some(expected) => Err(wrong_digest(component, url, expected, &found)),
        None => Ok(Got {
            sha256: found,
            file,
            name,
        }),
    }
}

fn failed(component: &str, error: DownloadError) -> ComponentError {
    match error {
        DownloadError::Digest { url, expected, found } => wrong_digest(component, &url, &expected, &found),
        other => ComponentError::source(component, other.to_string()),
    }
}

/// The digest or commit that must come: what the configuration says counts before what the lock has.
pub(crate) fn expected<'d>(configured: Option<&'d str>, locked: Option<&'d LockedComponent>) -> Option<&'d str> {
    configured.or_else(|| locked.map(|locked| locked.digest.as_str()))
}

fn wrong_digest(component: &str, url: &str, expected: &str, found: &str) -> ComponentError {
    ComponentError::WrongDigest {
        name: component.to_owned(),
        what: url.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}

/// Unpacks an archive into a folder, or puts the file there under its name; decompressed in either case.
pub(crate) fn unpack(component: &str, file: &Path, name: &str, folder: &Path) -> Result<(), ComponentError> {
    let at = |path: &Path| ComponentError::at(path);
    fs::create_dir_all(folder).map_err(at(folder))?;
    let mut raw = BufReader::new(File::open(file).map_err(at(file))?);
    let head = head(&mut raw, 6).map_err(at(file))?;
    if head.starts_with(ZIP) {
        let reason = format!("{}: zip archives are not read; publish a tar archive", file.display());
        return Err(ComponentError::source(component, reason));
    }
    let compression = Compression::of_content(&head);
    let mut plain = compression.reader(head.as_slice().chain(raw)).map_err(at(file))?;
    let head = self::head(&mut plain, TAR_HEADER).map_err(at(file))?;
    let is_tar = head.get(TAR_MAGIC) == Some(b"ustar");
    let whole = head.as_slice().chain(plain).take(MAXIMUM_UNPACKED);
    if is_tar {
        let damaged = |reason: String| ComponentError::source(component, format!("{}: {reason}", file.display()));
        let tree = tarball::read(whole, MAXIMUM_UNPACKED).map_err(|error| damaged(error.to_string()))?;
        directory::write(&tree, folder, directory::Options::default()).map_err(|error| damaged(error.to_string()))?;
        return Ok(());
    }
    let path = folder.join(match compression {
        Compression::None => name,
        _ => without_suffix(name),
    });
    let mut output = File::create(&path).map_err(at(&path))?;
    io::copy(&mut { whole }, &mut output).map_err(at(file))?;
    Ok(())
}

fn without_suffix(name: &str) -> &str {
    let (plain, _) = Compression::split_name(name.as_bytes());
    // What was taken away is ASCII, so what is left ends between characters.
    &name[..plain.len()]
}

pub(crate) fn head(reader: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(length);
    reader.by_ref().take(length as u64).read_to_end(&mut head)?;
    Ok(head)
}

//! Files below the directory that is served.

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::UNIX_EPOCH;

/// What a directory shows.
const INDEX: &str = "index.html";

/// A file to be sent.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) file: File,
    pub(crate) length: u64,
    /// Changes whenever the file is replaced or written.
    pub(crate) etag: String,
    pub(crate) content_type: &'static str,
}

/// Opens the file at a decoded path; `None` for whatever is not to be served.
///
/// # Errors
/// Whatever the system says of a file that may be served.
pub(crate) fn open(root: &impl AsFd, path: &str) -> Result<Option<Found>, Errno> {
    if path.split('/').any(|part| part.starts_with('.')) {
        return Ok(None);
    }
    match open_beneath(root, if path.is_empty() { INDEX } else { path })? {
        Some(file) if file.metadata().is_ok_and(|metadata| metadata.is_dir()) => {
            let index = format!("{path}/{INDEX}");
            Ok(open_beneath(root, &index)?.and_then(|file| found(file, &index)))
        }
        Some(file) => Ok(found(file, path)),
        None => Ok(None),
    }
}

/// The kernel itself keeps the path below the directory, also when links change under us.
fn open_beneath(root: &impl AsFd, path: &str) -> Result<Option<File>, Errno> {
    // NONBLOCK: opening a named pipe must not wait for its other end.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(file) => Ok(Some(file.into())),
        // XDEV: the path would leave the directory. LOOP: too many links.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP | Errno::ACCESS | Errno::NAMETOOLONG) => Ok(None),
        Err(Errno::NXIO) => Ok(None),
        Err(other) => Err(other),
    }
}

fn found(file: File, path: &str) -> Option<Found> {
    let metadata = file.metadata().ok().filter(|metadata| metadata.is_file())?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let etag = format!("\"{:x}-{:x}\"", metadata.len(), modified.as_nanos());
    Some(Found {
        file,
        length: metadata.len(),
        etag,
        content_type: content_type(path),
    })
}

/// The few types that a channel and its web page have; anything else is bytes.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, suffix)| suffix) {
        Some("json") => "application/json",
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("txt" | "pub" | "toml") => "text/plain; charset=utf-8",
        None if path.is_empty() => "text/html; charset=utf-8",
        _ => "application/octet-stream",
    }
}

//! An flist's file, opened: the only place that knows formats apart. And what its errors mean to a person.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use mos_flist::{Advance, Depth, Entry, Finding, Flist, FlistError, Image, MAGIC, Progress, ReadError, Reader};
use mos_rfs::Rfs;
use mos_store::{Digest, StoreError};

use super::rfs::{self, rfs_error};
use crate::context::Context;
use crate::error::{CliError, Kind, Result, io, system};
use crate::stores::StoreArgs;
use crate::ui::Work;

/// An flist of whatever format, without its content.
pub(crate) struct Opened {
    pub(crate) format: Format,
    /// BLAKE3-256 of the file.
    pub(crate) digest: Digest,
    /// Bytes of the file.
    pub(crate) length: u64,
}

/// What an flist is written in.
pub(crate) enum Format {
    /// Version 2.
    Mos(Arc<Flist>),
    /// That of rfs and myfs.
    Rfs(Arc<Rfs>),
}

/// What every SQLite database begins with ("Database File Format", 1.3), and so every flist of the older format.
const SQLITE: &[u8] = b"SQLite format 3\0";
/// How much of a file says what it is.
const SNIFFED: u64 = 16;

impl Opened {
    /// Reads and checks a file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(io(path))?;
        let mut bytes = Vec::new();
        (&mut file).take(SNIFFED).read_to_end(&mut bytes).map_err(io(path))?;
        // What is neither, and may have no end, is refused for its beginning.
        if bytes.starts_with(SQLITE) || bytes.starts_with(&MAGIC) {
            file.read_to_end(&mut bytes).map_err(io(path))?;
        }
        Self::parse(bytes, &path.display().to_string())
    }

    /// Checks the bytes of a file that came from `place`.
    pub(super) fn parse(bytes: Vec<u8>, place: &str) -> Result<Self> {
        let length = bytes.len() as u64;
        if bytes.starts_with(SQLITE) {
            let rfs = Rfs::parse(&bytes).map_err(|error| rfs_error(&error, place))?;
            return Ok(Self {
                digest: Digest::of(&bytes),
                length,
                format: Format::Rfs(Arc::new(rfs)),
            });
        }
        let flist = Flist::parse(bytes).map_err(|error| flist_error(&error, place))?;
        Ok(Self {
            digest: flist.digest(),
            length,
            format: Format::Mos(Arc::new(flist)),
        })
    }

    /// Every name, parents before children, the root first.
    pub(crate) fn entries(&self) -> Box<dyn Iterator<Item = Entry<'_>> + '_> {
        match &self.format {
            Format::Mos(flist) => Box::new(flist.entries()),
            Format::Rfs(rfs) => Box::new(rfs.entries()),
        }
    }

    /// The entry at a path. `file` is for the message.
    pub(crate) fn find(&self, path: &str, file: &Path) -> Result<Entry<'_>> {
        let found = match &self.format {
            Format::Mos(flist) => flist.find(path),
            Format::Rfs(rfs) => rfs.find(path.as_bytes()),
        };
        found.ok_or_else(|| {
            CliError::not_found(format!("{}: no entry {path}", file.display()))
                .with_hint(format!("`mos flist ls -R {}` lists all of them", file.display()))
        })
    }

    /// Bytes of all files.
    pub(crate) fn content_length(&self) -> u64 {
        match &self.format {
            Format::Mos(flist) => flist.content_length(),
            Format::Rfs(rfs) => rfs.content_length(),
        }
    }

    /// How many objects of a store hold its content, and what one is called.
    pub(crate) fn objects(&self) -> (u64, &'static str) {
        match &self.format {
            Format::Mos(flist) => (flist.blobs().len() as u64, "blob"),
            Format::Rfs(rfs) => (rfs.blocks().len() as u64, "block"),
        }
    }

    /// With the stores that its content is in, for whoever reads here and there.
    pub(crate) fn image(&self, context: &Context, stores: &StoreArgs) -> Result<Arc<dyn Image>> {
        Ok(match &self.format {
            Format::Mos(flist) => Arc::new(Reader::new(flist.clone(), stores.read(context)?)),
            Format::Rfs(rfs) => Arc::new(mos_rfs::Reader::new(rfs.clone(), rfs::stores(stores, rfs)?)),
        })
    }

    /// Checks that every store holds all that it should.
    pub(crate) fn verify(
        &self,
        context: &Context,
        stores: &StoreArgs,
        depth: Depth,
        progress: &Progress<'_>,
    ) -> Result<Vec<Finding>> {
        Ok(match &self.format {
            Format::Mos(flist) => {
                let reader = Reader::sequential(flist.clone(), stores.read(context)?);
                reader.verify_replicas(&stores.replicas(context)?, depth, progress)
            }
            Format::Rfs(_) => self.image(context, stores)?.verify(depth, progress),
        })
    }

    /// The same for whoever reads everything, in order.
    pub(crate) fn whole_image(&self, context: &Context, stores: &StoreArgs) -> Result<Arc<dyn Image>> {
        Ok(match &self.format {
            Format::Mos(flist) => Arc::new(Reader::sequential(flist.clone(), stores.read(context)?)),
            Format::Rfs(_) => self.image(context, stores)?,
        })
    }
}

/// What is wrong with the bytes of an flist that came from `place`.
pub(crate) fn flist_error(error: &FlistError, place: &str) -> CliError {
    let kind = match error {
        FlistError::Digest(_) => Kind::Trust,
        _ => Kind::Problem,
    };
    CliError::new(kind, format!("{place}: {error}"))
}

/// A file of version 2, for what no other format has.
pub(crate) fn open_version_2(path: &Path) -> Result<Arc<Flist>> {
    match Opened::open(path)?.format {
        Format::Mos(flist) => Ok(flist),
        Format::Rfs(_) => {
            let message = format!("{}: this needs an flist of version 2", path.display());
            Err(CliError::problem(message).with_hint("`mos flist convert F -o G --to mos` makes one of it"))
        }
    }
}

/// Shows work on files as it is done.
pub(crate) fn shown(work: &Work) -> impl Fn(Advance) + Sync {
    |advance| work.advance(advance.bytes)
}

/// Content that could not be had.
pub(crate) fn read_error(error: ReadError) -> CliError {
    let message = error.to_string();
    match error {
        ReadError::Tampered { .. } => CliError::new(Kind::Trust, message),
        ReadError::Store { source, .. } => store_failed(&source, message),
        ReadError::NotAFile(_) => CliError::usage(message),
        ReadError::Write { source, .. } => system(source.kind(), message),
        _ => CliError::problem(message),
    }
}

/// A store failed in the middle of something that has its own message.
pub(crate) fn store_failed(error: &StoreError, message: String) -> CliError {
    match error {
        StoreError::NotFound { .. } => {
            CliError::not_found(message).with_hint("is this the store that the flist was packed into?")
        }
        StoreError::Unreachable { .. } => CliError::not_found(message),
        StoreError::Io { source, .. } => system(source.kind(), message),
        StoreError::Full { .. } => system(std::io::ErrorKind::StorageFull, message),
        _ => CliError::problem(message),
    }
}

/// A path for people: one line, whatever is in it.
pub(crate) fn show(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let shown = text.chars().flat_map(|character| {
        let escape = character.is_control();
        let escaped = escape.then(|| character.escape_default()).into_iter().flatten();
        escaped.chain((!escape).then_some(character))
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_breaks_a_line() {
        assert_eq!(show("a\nb\u{1b}[2Jé".as_bytes()), "a\\nb\\u{1b}[2Jé");
        assert_eq!(show(b"a\xff"), "a\u{fffd}");
    }
}

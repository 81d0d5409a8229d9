//! An archive that is a file on disk, or lies within one, of which only headers are read.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use tar::Archive;

use super::sparse::Map;
use super::{TarError, invalid};
use crate::{Content, Extent, Stamp};

/// Most bytes of an archive on disk that are read before an entry's content: its header, long names and pax records.
/// The archive/tar package of Go takes 1 MiB for each of these.
pub(super) const MAX_HEADERS: u64 = 4 << 20;

/// Where an archive is.
#[derive(Debug)]
pub(super) struct Window {
    file: File,
    path: Arc<PathBuf>,
    start: u64,
    length: u64,
    stamp: Option<Stamp>,
}

impl Window {
    /// Opens an archive that lies in one piece, and has not changed since its content was looked up.
    pub(super) fn of(archive: &Content) -> io::Result<Self> {
        let Content::Range {
            path,
            offset,
            length,
            stamp,
        } = archive
        else {
            return Err(invalid("an archive has to be in one piece on the disk".to_owned()));
        };
        let file = File::open(path.as_ref())?;
        if stamp.is_some_and(|stamp| file.metadata().is_ok_and(|now| Stamp::of(&now) != stamp)) {
            return Err(invalid("the file changed while it was read".to_owned()));
        }
        Ok(Self {
            file,
            path: path.clone(),
            start: *offset,
            length: *length,
            stamp: *stamp,
        })
    }

    /// A part of it; `None` when it has not that much.
    pub(super) fn part(&self, offset: u64, length: u64) -> Option<Content> {
        let within = offset.checked_add(length).is_some_and(|end| end <= self.length);
        within.then(|| Content::Range {
            path: self.path.clone(),
            offset: self.start + offset,
            length,
            stamp: self.stamp,
        })
    }

    /// Pieces of it that follow each other from `start` on; `None` when it has not that much.
    pub(super) fn pieces(&self, start: u64, map: &Map) -> Option<Content> {
        let mut at = start;
        let mut extents = Vec::with_capacity(map.pieces.len());
        for (position, length) in &map.pieces {
            extents.push(Extent {
                position: *position,
                offset: self.start + at,
                length: *length,
            });
            at = at.checked_add(*length).filter(|end| *end <= self.length)?;
        }
        Some(Content::Sparse {
            path: self.path.clone(),
            extents: extents.into(),
            length: map.size,
            stamp: self.stamp,
        })
    }

    /// Reads from here on.
    pub(super) fn reader(&self, position: u64) -> impl Read {
        Headers {
            window: self,
            position,
            left: Rc::new(Cell::new(u64::MAX)),
        }
    }

    /// Goes through the entries, whose headers may not take more than [`MAX_HEADERS`].
    pub(super) fn entries<'w>(
        &'w self,
        work: impl FnOnce(&mut dyn Iterator<Item = io::Result<tar::Entry<'_, Headers<'w>>>>) -> Result<(), TarError>,
    ) -> Result<(), TarError> {
        let left = Rc::new(Cell::new(MAX_HEADERS));
        let mut archive = Archive::new(Headers {
            window: self,
            position: 0,
            left: left.clone(),
        });
        work(&mut archive.entries_with_seek()?.inspect(|_| left.set(MAX_HEADERS)))
    }
}

/// Reads headers: content is passed over. The `tar` crate takes long names and pax records into memory whatever their
/// length.
pub(super) struct Headers<'w> {
    window: &'w Window,
    position: u64,
    /// Bytes that may be read before the next entry.
    left: Rc<Cell<u64>>,
}

impl Read for Headers<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = self.window.length.saturating_sub(self.position);
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(buffer.len());
        let at = self.window.start.saturating_add(self.position);
        let count = self.window.file.read_at(&mut buffer[..room], at)?;
        self.position += count as u64;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.ok_or_else(|| {
            invalid(format!(
                "an entry with more than {MAX_HEADERS} bytes of names and attributes"
            ))
        })?);
        Ok(count)
    }
}

impl Seek for Headers<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(to) => Some(to),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.window.length.checked_add_signed(by),
        };
        self.position = to.ok_or_else(|| invalid("an entry ends nowhere".to_owned()))?;
        Ok(self.position)
    }
}

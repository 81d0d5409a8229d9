//! The content of files, from a store that is not trusted.
//!
//! A chunk is one range request for its frame; frames that follow it in the blob and are wanted next come with the same
//! request. Every chunk is checked against its digest before a byte of it is handed on. Decoded frames are kept, up to
//! a bound: files of one directory share them.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use mos_store::Digest;

use crate::error::{ReadError, show};
use crate::flist::{Entry, Flist, Place};
use crate::frame;
use crate::table::Frame;

/// Plain bytes of decoded frames that a reader keeps.
const CACHE_BYTES: usize = 16 << 20;
/// Bytes that one request asks for at most, when more than one frame is wanted.
const REQUEST_BYTES: u64 = 4 << 20;
/// Plain bytes that one request brings at most, when more than one frame is wanted: half of what is kept, so that frames
/// fetched ahead are still there when they are wanted, however well they were compressed.
const AHEAD_BYTES: usize = CACHE_BYTES / 2;
/// Bytes between two wanted frames that are fetched along, rather than asking twice: about what a store sends in the
/// time of one more round trip.
const GAP_BYTES: u64 = 128 << 10;

/// Reads files of one flist from one store. May be shared between threads.
#[derive(Debug)]
pub struct Reader<'a> {
    flist: &'a Flist,
    store: Store<'a>,
    cache: Mutex<Cache>,
    read_ahead: bool,
}

/// The store, printable.
struct Store<'a>(&'a dyn mos_store::Read);

impl std::fmt::Debug for Store<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.address())
    }
}

#[derive(Debug, Default)]
struct Cache {
    /// Frame index and plain bytes, the last used one at the back.
    frames: VecDeque<(u32, Arc<Vec<u8>>)>,
    bytes: usize,
}

impl<'a> Reader<'a> {
    /// A reader that fetches what is asked for.
    pub fn new(flist: &'a Flist, store: &'a dyn mos_store::Read) -> Self {
        Self {
            flist,
            store: Store(store),
            cache: Mutex::default(),
            read_ahead: false,
        }
    }

    /// A reader for somebody who will read all or most files in the order of their paths: frames that follow in the
    /// blob are fetched along, also those of the next files.
    pub fn sequential(flist: &'a Flist, store: &'a dyn mos_store::Read) -> Self {
        Self {
            read_ahead: true,
            ..Self::new(flist, store)
        }
    }

    /// The flist that is read.
    pub fn flist(&self) -> &'a Flist {
        self.flist
    }

    /// Writes the content of a file; `entry` comes from this reader's flist. Memory is bounded whatever the size.
    ///
    /// # Errors
    /// [`ReadError::Tampered`] when the store's bytes are not the flist's: what was written until then was right, the
    /// rest is missing. [`ReadError::Store`], [`ReadError::Write`], [`ReadError::NotAFile`].
    pub fn read_file(&self, entry: &Entry<'_>, out: &mut dyn Write) -> Result<(), ReadError> {
        let write_error = |source| ReadError::Write {
            file: show(&entry.path),
            source,
        };
        let place = self
            .flist
            .place(entry)
            .ok_or_else(|| ReadError::NotAFile(show(&entry.path)))?;
        let chunks = match place {
            Place::Inline(bytes) => return out.write_all(bytes).map_err(write_error),
            Place::Chunks(chunks) => chunks,
        };
        for (position, index) in chunks.iter().enumerate() {
            let chunk = self.flist.tables.chunks[*index as usize];
            let fail = Failure {
                reader: self,
                file: &entry.path,
                chunk: chunk.digest,
                frame: chunk.frame,
            };
            let plain = self.frame(&chunks[position..], &fail)?;
            let start = chunk.offset as usize;
            let bytes = plain.get(start..start + chunk.length as usize);
            let bytes = bytes.ok_or_else(|| fail.tampered("the frame is too short"))?;
            if !chunk.digest.matches(bytes) {
                return Err(fail.tampered("its digest is another"));
            }
            out.write_all(bytes).map_err(write_error)?;
        }
        Ok(())
    }

    /// The plain bytes of the frame of the first of these chunks; those of the next ones may be fetched along.
    fn frame(&self, chunks: &[u32], fail: &Failure<'_>) -> Result<Arc<Vec<u8>>, ReadError> {
        if let Some(plain) = self.cache().get(fail.frame) {
            return Ok(plain);
        }
        let frames = self.wanted(chunks, fail.frame);
        let place = |index: u32| self.flist.tables.frames[index as usize];
        let first = place(fail.frame);
        let start = u64::from(first.offset);
        let end = frames.last().map_or(start, |last| end(place(*last)));
        let name = self.flist.blobs()[first.blob as usize].digest.blob_name();
        let bytes = self
            .store
            .0
            .get_range(&name, start..end)
            .map_err(|source| fail.store(source))?;
        let mut wanted = None;
        for index in frames {
            let frame = place(index);
            let at = (u64::from(frame.offset) - start) as usize;
            let stored = bytes.get(at..at + frame.stored as usize);
            let stored = stored.ok_or_else(|| fail.tampered("the store gave fewer bytes than asked for"))?;
            match frame::decode(frame.encoding, stored, frame.plain) {
                Ok(plain) => {
                    let plain = Arc::new(plain);
                    self.cache().insert(index, plain.clone());
                    wanted.get_or_insert(plain);
                }
                Err(why) if index == fail.frame => return Err(fail.tampered(why)),
                // Found again, and reported for the right file, when somebody needs it.
                Err(_) => {}
            }
        }
        wanted.ok_or_else(|| fail.tampered("the store gave nothing"))
    }

    /// Which frames to ask for at once: `first` and those behind it in the same blob that are needed soon.
    fn wanted(&self, chunks: &[u32], first: u32) -> Vec<u32> {
        let tables = &self.flist.tables;
        let start = tables.frames[first as usize];
        let cache = self.cache();
        let mut frames = vec![first];
        let mut plain = start.plain as usize;
        let mut extend = |index: u32| -> bool {
            let Some(frame) = tables.frames.get(index as usize) else {
                return false;
            };
            let last = tables.frames[frames[frames.len() - 1] as usize];
            let near = u64::from(frame.offset).saturating_sub(end(last)) <= GAP_BYTES;
            let small = end(*frame).saturating_sub(u64::from(start.offset)) <= REQUEST_BYTES;
            let small = small && plain + frame.plain as usize <= AHEAD_BYTES;
            let next = frame.blob == start.blob && frame.offset > last.offset && near && small && !cache.has(index);
            if next {
                plain += frame.plain as usize;
                frames.push(index);
            }
            next
        };
        if self.read_ahead {
            (first + 1..).take_while(|index| extend(*index)).for_each(drop);
            return frames;
        }
        let mut before = first;
        for index in chunks {
            let frame = tables.chunks[*index as usize].frame;
            if frame != before && !extend(frame) {
                break;
            }
            before = frame;
        }
        frames
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        // A panic elsewhere cannot leave the cache half changed in a way that matters: chunks are checked on use.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was wanted, for errors.
struct Failure<'r> {
    reader: &'r Reader<'r>,
    file: &'r [u8],
    chunk: Digest,
    frame: u32,
}

impl Failure<'_> {
    fn blob(&self) -> Digest {
        let tables = &self.reader.flist.tables;
        tables.blobs[tables.frames[self.frame as usize].blob as usize].digest
    }

    fn tampered(&self, why: &'static str) -> ReadError {
        ReadError::Tampered {
            file: show(self.file),
            blob: self.blob(),
            chunk: self.chunk,
            why,
        }
    }

    fn store(&self, source: mos_store::StoreError) -> ReadError {
        ReadError::Store {
            file: show(self.file),
            blob: self.blob(),
            source: source.into(),
        }
    }
}

impl Cache {
    fn get(&mut self, frame: u32) -> Option<Arc<Vec<u8>>> {
        let position = self.frames.iter().position(|(index, _)| *index == frame)?;
        let entry = self.frames.remove(position)?;
        let plain = entry.1.clone();
        self.frames.push_back(entry);
        Some(plain)
    }

    fn has(&self, frame: u32) -> bool {
        self.frames.iter().any(|(index, _)| *index == frame)
    }

    fn insert(&mut self, frame: u32, plain: Arc<Vec<u8>>) {
        if self.has(frame) {
            return;
        }
        self.bytes += plain.len();
        self.frames.push_back((frame, plain));
        while self.bytes > CACHE_BYTES && self.frames.len() > 1 {
            if let Some((_, old)) = self.frames.pop_front() {
                self.bytes -= old.len();
            }
        }
    }
}

/// The first byte behind a frame in its blob.
fn end(frame: Frame) -> u64 {
    u64::from(frame.offset) + u64::from(frame.stored)
}

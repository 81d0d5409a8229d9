//! The content of files, from a store that is not trusted.
//!
//! A chunk is one range request for its frame; frames that follow it in the blob and are wanted next come with the same
//! request. Every frame is checked against its digest before it is decompressed. Decoded frames are kept, up to a bound:
//! files of one directory share them. Who reads a few pages somewhere in a file gets the frame decoded no further than
//! that. Threads that want the same frame wait for the one that brings it.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use crate::cache::{Cache, Claim, Ticket};
use crate::error::{Part, ReadError, show};
use crate::flist::{Entry, Flist, Place};
use crate::frame;
use crate::image::{Image, Progress};
use crate::slice::Slice;
use crate::table::{Chunk, Frame};
use crate::verify::{Depth, Finding};

/// Bytes of frames that a reader keeps.
const CACHE_BYTES: usize = 16 << 20;
/// Bytes that one request asks for at most, when more than one frame is wanted.
const REQUEST_BYTES: u64 = 4 << 20;
/// Plain bytes that one request brings at most, when more than one frame is wanted: half of what is kept, so that frames
/// fetched ahead are still there when they are wanted, however well they were compressed.
const AHEAD_BYTES: usize = CACHE_BYTES / 2;
/// Bytes between two wanted frames that are fetched along, rather than asking twice: about what a store sends in the
/// time of one more round trip.
const GAP_BYTES: u64 = 128 << 10;

/// Whoever reads no more than this many bytes, and not from the beginning of a file, is taken to read here and there.
const SCATTERED_BYTES: u64 = 32 << 10;

/// How much of a frame is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// As far as it is needed now.
    Needed,
    Whole,
}

/// Reads files of one flist from one store. May be shared between threads.
pub struct Reader {
    flist: Arc<Flist>,
    store: Arc<dyn mos_store::Read>,
    cache: Arc<Cache>,
    read_ahead: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Reader");
        shown.field("flist", &self.flist.digest());
        shown.field("store", &self.store.address()).finish_non_exhaustive()
    }
}

impl Image for Reader {
    fn entries(&self) -> Box<dyn Iterator<Item = Entry<'_>> + '_> {
        Box::new(self.flist.entries())
    }

    fn find(&self, path: &[u8]) -> Option<Entry<'_>> {
        self.flist.find(path)
    }

    fn read_file(&self, entry: &Entry<'_>, out: &mut dyn Write) -> Result<(), ReadError> {
        let write_error = |source| ReadError::Write {
            file: show(&entry.path),
            source,
        };
        let file = || show(&entry.path);
        let place = self.flist.place(entry.inode);
        let chunks = match place.ok_or_else(|| ReadError::NotAFile(file()))? {
            Place::Inline(bytes) => return out.write_all(bytes).map_err(write_error),
            Place::Chunks { chunks, .. } => chunks,
        };
        for position in 0..chunks.len() {
            let bytes = self.chunk(&chunks[position..], Extent::Whole, &file)?;
            out.write_all(&bytes).map_err(write_error)?;
        }
        Ok(())
    }

    fn read_at(&self, inode: u64, range: Range<u64>) -> Result<Slice, ReadError> {
        let file = || self.flist.name_of(inode);
        let place = self.flist.place(inode);
        let (chunks, starts) = match place.ok_or_else(|| ReadError::NotAFile(file()))? {
            Place::Inline(bytes) => {
                return Ok(bytes[within(&range, 0, bytes.len() as u64)].to_vec().into());
            }
            Place::Chunks { chunks, starts } => (chunks, starts),
        };
        let mut out = Slice::default();
        let first = starts.partition_point(|start| *start <= range.start).saturating_sub(1);
        // Only chunks of the range are fetched along.
        let last = starts.partition_point(|start| *start < range.end).max(first);
        let extent = match is_scattered(&range) {
            true => Extent::Needed,
            false => Extent::Whole,
        };
        // What an flist says of lengths is not to be believed without bound.
        let all = range.end.saturating_sub(range.start).min(AHEAD_BYTES as u64) as usize;
        for position in first..last {
            let bytes = self.chunk(&chunks[position..last], extent, &file)?;
            let wanted = within(&range, starts[position], bytes.len() as u64);
            out.push(bytes.part(wanted), all);
        }
        Ok(out)
    }

    fn around(&self, inode: u64, range: &Range<u64>) -> Option<Range<u64>> {
        let Some(Place::Chunks { chunks, starts }) = self.flist.place(inode) else {
            return None;
        };
        if !is_scattered(range) {
            return None;
        }
        let chunk = |position: usize| self.flist.tables.chunks[chunks[position] as usize];
        let here = starts.partition_point(|start| *start <= range.start).checked_sub(1)?;
        let same = |position: &usize| chunk(*position).frame == chunk(here).frame;
        let first = (0..here).rev().take_while(same).last().unwrap_or(here);
        let last = (here..chunks.len()).take_while(same).last()?;
        let part = starts[first]..starts[last] + u64::from(chunk(last).length);
        let frame = self.flist.tables.frames[chunk(here).frame as usize];
        (part.end.saturating_sub(part.start) >= u64::from(frame.plain) / 2).then_some(part)
    }

    fn prefetch(&self) -> &[u64] {
        self.flist.prefetch()
    }

    fn verify(&self, depth: Depth, progress: &Progress<'_>) -> Vec<Finding> {
        self.verify_replicas(&[], depth, progress)
    }
}

impl Reader {
    /// A reader that fetches what is asked for.
    pub fn new(flist: Arc<Flist>, store: Arc<dyn mos_store::Read>) -> Self {
        Self {
            flist,
            store,
            cache: Cache::new(CACHE_BYTES),
            read_ahead: false,
        }
    }

    /// A reader for somebody who will read all or most files in the order of their paths: frames that follow in the
    /// blob are fetched along, also those of the next files.
    pub fn sequential(flist: Arc<Flist>, store: Arc<dyn mos_store::Read>) -> Self {
        Self {
            read_ahead: true,
            ..Self::new(flist, store)
        }
    }

    /// The same reader, keeping about this many bytes of frames.
    #[must_use]
    pub fn keeping(mut self, bytes: usize) -> Self {
        self.cache = Cache::new(bytes);
        self
    }

    /// The flist that is read.
    pub fn flist(&self) -> &Arc<Flist> {
        &self.flist
    }

    /// The store that it is read from.
    pub fn store(&self) -> &Arc<dyn mos_store::Read> {
        &self.store
    }

    /// The first of these chunks, verified; frames of the next ones may be fetched along.
    fn chunk(&self, chunks: &[u32], extent: Extent, file: &dyn Fn() -> String) -> Result<Slice, ReadError> {
        let chunk = self.flist.tables.chunks[chunks[0] as usize];
        let wanted = Wanted {
            flist: &self.flist,
            file,
            chunk,
            extent,
        };
        let plain = match self.frame(chunks, &wanted) {
            Err(ReadError::Tampered { .. }) if self.may_come_right(&wanted) => self.frame(chunks, &wanted)?,
            other => other?,
        };
        let bytes = Slice::of(plain, chunk.offset as usize..chunk.end() as usize);
        bytes.ok_or_else(|| wanted.tampered(chunk.frame, "the frame is too short"))
    }

    /// Tells the store of wrong bytes. When it may have others, what came of that blob is forgotten: all of it came the
    /// same way.
    fn may_come_right(&self, wanted: &Wanted<'_>) -> bool {
        let blob = |frame: u32| self.flist.tables.frames[frame as usize].blob;
        let bad = blob(wanted.chunk.frame);
        let others = self
            .store
            .report_bad(&self.flist.blobs()[bad as usize].digest.blob_name());
        if others {
            self.cache.forget(|frame| blob(frame) == bad);
        }
        others
    }

    /// The plain bytes of the frame of the first of these chunks, so far that the chunk is among them; frames of the
    /// next chunks may be fetched along.
    fn frame(&self, chunks: &[u32], wanted: &Wanted<'_>) -> Result<Arc<Vec<u8>>, ReadError> {
        let first = wanted.chunk.frame;
        let need = wanted.chunk.end() as usize;
        loop {
            match self.cache.claim(first, need, |here| self.along(chunks, first, here)) {
                Claim::Plain(plain) => return Ok(plain),
                Claim::Fetch(tickets) => return self.fetch(tickets, wanted),
                Claim::Stored(stored, ticket) if ticket.frame() == first => {
                    return self.decode(&stored, ticket, wanted);
                }
                // Work while waiting; one that cannot be decoded is reported for the file that needs it.
                Claim::Stored(stored, ticket) => drop(self.decode(&stored, ticket, wanted)),
            }
        }
    }

    /// Fetches frames of one blob with one request, decodes the first, and keeps the others for who wants them.
    fn fetch(&self, tickets: Vec<Ticket>, wanted: &Wanted<'_>) -> Result<Arc<Vec<u8>>, ReadError> {
        let place = |index: u32| self.flist.tables.frames[index as usize];
        let first = place(wanted.chunk.frame);
        let start = u64::from(first.offset);
        let end = tickets.last().map_or(start, |last| end(place(last.frame())));
        let name = self.flist.blobs()[first.blob as usize].digest.blob_name();
        let bytes = self.store.get_range(&name, start..end);
        let mut bytes = bytes.map_err(|source| wanted.store(source))?;
        let mut tickets = tickets.into_iter();
        let mine = tickets
            .next()
            .ok_or_else(|| wanted.tampered(wanted.chunk.frame, "no frame was asked for"))?;
        for ticket in tickets {
            let frame = place(ticket.frame());
            let at = (u64::from(frame.offset) - start) as usize;
            // One that is missing is asked for again, and reported for the right file, when somebody needs it.
            if let Some(stored) = bytes.get(at..at + frame.stored as usize) {
                ticket.stored(stored.to_vec());
            }
        }
        bytes.truncate(first.stored as usize);
        // A frame that is needed nearly to its end is as good as needed whole.
        match wanted.extent == Extent::Needed && wanted.chunk.end() < first.plain / 4 * 3 {
            true => self.begin(bytes, mine, wanted),
            false => self.decode(&bytes, mine, wanted),
        }
    }

    /// Decodes a frame, if it is the one that was packed.
    fn decode(&self, stored: &[u8], ticket: Ticket, wanted: &Wanted<'_>) -> Result<Arc<Vec<u8>>, ReadError> {
        let frame = self.verified(stored, &ticket, wanted)?;
        let plain = frame::decode(frame.encoding, stored, frame.plain);
        let plain = Arc::new(plain.map_err(|why| wanted.tampered(ticket.frame(), why))?);
        ticket.plain(plain.clone());
        Ok(plain)
    }

    /// Decodes the beginning of a frame, up to the chunk that is wanted, if it is the one that was packed.
    fn begin(&self, stored: Vec<u8>, ticket: Ticket, wanted: &Wanted<'_>) -> Result<Arc<Vec<u8>>, ReadError> {
        let frame = self.verified(&stored, &ticket, wanted)?;
        let plain = frame::decode_start(frame.encoding, &stored, wanted.chunk.end());
        let plain = Arc::new(plain.map_err(|why| wanted.tampered(ticket.frame(), why))?);
        ticket.begun(stored, plain.clone());
        Ok(plain)
    }

    /// The frame that a ticket is for, when these are its bytes. Nothing else is ever decompressed.
    fn verified(&self, stored: &[u8], ticket: &Ticket, wanted: &Wanted<'_>) -> Result<Frame, ReadError> {
        let frame = self.flist.tables.frames[ticket.frame() as usize];
        match frame.digest.matches(stored) {
            true => Ok(frame),
            false => Err(wanted.tampered(ticket.frame(), "its digest is another")),
        }
    }

    /// Which frames to fetch along with `first`: those behind it in the same blob that are needed soon and not `here`.
    fn along(&self, chunks: &[u32], first: u32, here: &dyn Fn(u32) -> bool) -> Vec<u32> {
        let tables = &self.flist.tables;
        let mut run = Run::new(tables.frames[first as usize]);
        let mut frames = Vec::new();
        let mut extend = |index: u32| -> bool {
            let frame = tables.frames.get(index as usize);
            let next = frame.is_some_and(|frame| !here(index) && run.extend(*frame));
            if next {
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
}

/// Frames of one blob that one request brings.
struct Run {
    first: Frame,
    last: Frame,
    /// Plain bytes.
    plain: usize,
}

impl Run {
    fn new(first: Frame) -> Self {
        Self {
            first,
            last: first,
            plain: first.plain as usize,
        }
    }

    /// Takes a frame in, if it lies near enough behind the last one and there is room.
    fn extend(&mut self, frame: Frame) -> bool {
        let behind = frame.blob == self.first.blob && frame.offset > self.last.offset;
        let near = u64::from(frame.offset).saturating_sub(end(self.last)) <= GAP_BYTES;
        let small = end(frame).saturating_sub(u64::from(self.first.offset)) <= REQUEST_BYTES;
        let plain = self.plain + frame.plain as usize;
        let fits = behind && near && small && plain <= AHEAD_BYTES;
        if fits {
            self.last = frame;
            self.plain = plain;
        }
        fits
    }
}

/// What is wanted, and of which file.
struct Wanted<'r> {
    flist: &'r Flist,
    file: &'r dyn Fn() -> String,
    chunk: Chunk,
    extent: Extent,
}

impl Wanted<'_> {
    fn tampered(&self, frame: u32, why: &'static str) -> ReadError {
        let tables = &self.flist.tables;
        let frame = tables.frames[frame as usize];
        ReadError::Tampered {
            file: (self.file)(),
            part: Part::Frame {
                blob: tables.blobs[frame.blob as usize].digest,
                offset: frame.offset,
            },
            why,
        }
    }

    fn store(&self, source: mos_store::StoreError) -> ReadError {
        let tables = &self.flist.tables;
        let blob = tables.frames[self.chunk.frame as usize].blob;
        ReadError::Store {
            file: (self.file)(),
            part: Part::Blob(tables.blobs[blob as usize].digest),
            source: source.into(),
        }
    }
}

/// The part of `length` bytes that start at `start` in a file which lies in `range` of that file.
fn within(range: &Range<u64>, start: u64, length: u64) -> Range<usize> {
    let clamp = |at: u64| at.saturating_sub(start).min(length) as usize;
    clamp(range.start)..clamp(range.end.max(range.start))
}

/// True for who reads a few pages that are not the first of a file.
fn is_scattered(range: &Range<u64>) -> bool {
    range.start > 0 && range.end.saturating_sub(range.start) <= SCATTERED_BYTES
}

/// The first byte behind a frame in its blob.
fn end(frame: Frame) -> u64 {
    u64::from(frame.offset) + u64::from(frame.stored)
}

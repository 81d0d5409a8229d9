//! Files that need not be read again.
//!
//! Whoever packs the same directory again trusts one of three things ([`Trust`]): nothing, the times of the older flist, or
//! the [`Stamps`] that were kept beside it. A file counts as unchanged when the older flist has a file at its path, every
//! chunk of it is still in the store, and what is trusted agrees. The flist that comes out is the one that reading
//! everything would have given.
//!
//! ```text
//! stamps  "MOSSTMP1", BLAKE3-256 of the flist; per file: u64 nid, u64 device, u64 inode, u64 size,
//!         i64 + u32 modified, i64 + u32 changed; BLAKE3-256 of all that
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mos_store::Digest;
use mos_tree::{Content, Stamp, Timestamp};
use zerocopy::byteorder::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::PackOptions;
use super::known::Known;
use crate::erofs::writer::FileBody;
use crate::error::FlistError;
use crate::flist::{EntryKind, Flist, Place};

const MAGIC: [u8; 8] = *b"MOSSTMP1";
const HEAD: usize = MAGIC.len() + DIGEST;
const DIGEST: usize = 32;
/// A file that was changed this shortly before packing gets no stamp: the clock of a file system may stand still for some
/// milliseconds (for two seconds on FAT), and a change within them would not be seen.
const FRESH: Duration = Duration::from_secs(2);

/// What tells that a file is still the one that an older flist was made of. The older flist is one of
/// [`PackOptions::bases`].
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// Nothing does: every file is read.
    #[default]
    Nothing,
    /// Path, size and time of change of the content, as the first base has them. Who sets times back after a change of
    /// equal length is not noticed.
    Times,
    /// The stamps of the files that the base was made of: also the time of change of the inode, which no program can
    /// set, and which inode it is. Only who changes the clock or writes to the disk behind the file system is not
    /// noticed.
    Stamps(Arc<Stamps>),
}

/// What the files of an flist were on the disk when they were read. Kept by whoever packs, never published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamps {
    flist: Digest,
    by_nid: BTreeMap<u64, Stamp>,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawStamp {
    nid: U64,
    device: U64,
    inode: U64,
    size: U64,
    modified: I64,
    modified_nanoseconds: U32,
    changed: I64,
    changed_nanoseconds: U32,
}

impl Stamps {
    /// Those that can be trusted later, of an flist that is made now of files that were looked at since `begin`.
    pub(super) fn new(flist: Digest, begin: SystemTime, stamps: impl Iterator<Item = (u64, Stamp)>) -> Self {
        let limit = begin
            .checked_sub(FRESH)
            .and_then(|limit| limit.duration_since(UNIX_EPOCH).ok());
        let limit = limit.map_or(i64::MIN, |limit| i64::try_from(limit.as_secs()).unwrap_or(i64::MAX));
        Self {
            flist,
            by_nid: stamps.filter(|(_, stamp)| stamp.changed.seconds < limit).collect(),
        }
    }

    /// The flist that the stamps belong to.
    pub fn flist(&self) -> Digest {
        self.flist
    }

    /// The bytes to keep.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = [MAGIC.as_slice(), self.flist.as_bytes()].concat();
        for (nid, stamp) in &self.by_nid {
            let raw = RawStamp {
                nid: U64::new(*nid),
                device: U64::new(stamp.device),
                inode: U64::new(stamp.inode),
                size: U64::new(stamp.size),
                modified: I64::new(stamp.modified.seconds),
                modified_nanoseconds: U32::new(stamp.modified.nanoseconds),
                changed: I64::new(stamp.changed.seconds),
                changed_nanoseconds: U32::new(stamp.changed.nanoseconds),
            };
            bytes.extend_from_slice(raw.as_bytes());
        }
        let digest = Digest::of(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        bytes
    }

    /// Reads what [`Stamps::encode`] gave.
    ///
    /// # Errors
    /// [`FlistError::Malformed`] for other bytes: pack without stamps then, which reads every file.
    pub fn parse(bytes: &[u8]) -> Result<Self, FlistError> {
        let wrong = |why| FlistError::malformed("file of stamps", 0_u64, why);
        let (body, digest) = bytes
            .split_last_chunk::<DIGEST>()
            .ok_or_else(|| wrong("it is cut off"))?;
        if Digest::of(body).as_bytes() != digest || !body.starts_with(&MAGIC) || body.len() < HEAD {
            return Err(wrong("it is damaged, or something else"));
        }
        let flist: [u8; DIGEST] = std::array::from_fn(|n| body[MAGIC.len() + n]);
        let rows = <[RawStamp]>::ref_from_bytes(&body[HEAD..]).map_err(|_| wrong("half a row at its end"))?;
        Ok(Self {
            flist: flist.into(),
            by_nid: rows.iter().map(|raw| (raw.nid.get(), stamp(raw))).collect(),
        })
    }
}

fn stamp(raw: &RawStamp) -> Stamp {
    let time = |seconds: I64, nanoseconds: U32| Timestamp {
        seconds: seconds.get(),
        nanoseconds: nanoseconds.get(),
    };
    Stamp {
        device: raw.device.get(),
        inode: raw.inode.get(),
        size: raw.size.get(),
        modified: time(raw.modified, raw.modified_nanoseconds),
        changed: time(raw.changed, raw.changed_nanoseconds),
    }
}

/// A file that need not be read.
#[derive(Debug)]
pub(super) struct Unchanged {
    pub(super) body: FileBody,
    /// Digests and lengths of its chunks, which are known.
    pub(super) chunks: Vec<(Digest, u32)>,
}

/// Finds what is unchanged.
#[derive(Debug)]
pub(super) struct Finder<'o> {
    options: &'o PackOptions,
    /// And which of the bases it is.
    base: Option<(usize, &'o Flist)>,
}

impl<'o> Finder<'o> {
    pub(super) fn new(options: &'o PackOptions) -> Self {
        let bases = &options.bases;
        let base = match &options.trust {
            Trust::Nothing => None,
            Trust::Times => Some(0),
            Trust::Stamps(stamps) => bases.iter().position(|base| base.digest() == stamps.flist),
        };
        let base = base.and_then(|number| Some((number, bases.get(number)?.as_ref())));
        Self {
            options,
            // With other sizes, reading would give other chunks.
            base: base.filter(|(_, base)| base.chunk_sizes() == options.chunk_sizes),
        }
    }

    /// The file of the base at this path, if it is the same.
    pub(super) fn find(&self, path: &[u8], content: &Content, known: &Known) -> Option<Unchanged> {
        let (number, base) = self.base?;
        // The stamp of an archive says nothing about one file in it.
        let stamp = content.stamp().filter(|stamp| stamp.size == content.len())?;
        let entry = base.find(path)?;
        let EntryKind::File { size, object } = entry.kind else {
            return None;
        };
        let same = match &self.options.trust {
            Trust::Nothing => false,
            Trust::Times => entry.metadata.mtime == stamp.modified,
            Trust::Stamps(stamps) => stamps.by_nid.get(&entry.inode) == Some(&stamp),
        };
        let inline = size <= self.options.inline_limit();
        let (body, chunks) = match base.place(entry.inode)? {
            Place::Inline(bytes) if inline => (FileBody::Inline(bytes.to_vec()), &[][..]),
            Place::Chunks { chunks, .. } if !inline => {
                let object = object?;
                (FileBody::External { size, object }, chunks)
            }
            _ => return None,
        };
        if !same || size != stamp.size {
            return None;
        }
        let chunks = chunks.iter().map(|chunk| known.digest(number, *chunk));
        let chunks = chunks.collect::<Option<_>>()?;
        Some(Unchanged { body, chunks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Stamp {
        let time = |seconds| Timestamp {
            seconds,
            nanoseconds: 999_999_999,
        };
        Stamp {
            device: 1,
            inode: 2,
            size: 3,
            modified: time(-4),
            changed: time(5),
        }
    }

    #[test]
    fn stamps_come_back_and_damage_is_noticed() {
        let stamps = Stamps::new(
            Digest::of(b"x"),
            SystemTime::now(),
            [(7, some()), (9, some())].into_iter(),
        );
        let bytes = stamps.encode();
        assert_eq!(Stamps::parse(&bytes).unwrap(), stamps);
        assert_eq!(stamps.by_nid.len(), 2);
        for position in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[position] ^= 1;
            assert!(Stamps::parse(&bad).is_err(), "byte {position}");
            assert!(Stamps::parse(&bytes[..position]).is_err());
        }
    }

    #[test]
    fn what_changed_just_now_gets_no_stamp() {
        let stamps = |age: u64| {
            Stamps::new(
                Digest::of(b"x"),
                UNIX_EPOCH + Duration::from_secs(5 + age),
                [(7, some())].into_iter(),
            )
        };
        assert_eq!(stamps(2).by_nid.len(), 0);
        assert_eq!(stamps(3).by_nid.len(), 1);
    }
}

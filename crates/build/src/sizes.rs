//! Where the bytes of a boot image are: by part, by directory, by file, and what each rule of the clean-up saved.
//!
//! A file's share of the compressed initramfs is an estimate: the files go through one zstd stream in the archive's order,
//! and each is charged with what the stream grew by. All shares together are scaled to what is really stored.

use std::collections::BTreeMap;
use std::io::{self, Write};

use mos_tree::{InodeId, Kind};
use serde::Serialize;

use crate::contents::FileRecord;
use crate::inside::Inside;

/// zstd level of the estimate: relative shares hardly depend on it, and it is quick.
const LEVEL: i32 = 3;
/// The part of what no record speaks of.
const UNKNOWN: &str = "not in the record";

/// What a boot image consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of the kernel in it.
    pub kernel: u64,
    /// Bytes of the initramfs in it, compressed.
    pub initramfs: u64,
    /// Bytes of everything else: UEFI stub, headers, texts, signatures.
    pub rest: u64,
    /// Bytes of all files in the initramfs.
    pub unpacked: u64,
    /// Packages, components and whatever else brought files; the largest first.
    pub parts: Vec<Share>,
    /// Every directory with all that is below it, by path; the root is the empty one.
    pub directories: Vec<Share>,
    /// Every file, the largest first.
    pub files: Vec<FileSize>,
    /// What the rules of the clean-up took away; the largest first. `stored` is not known for them.
    pub removed: Vec<Share>,
}

/// A number of files together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Of the part, directory or rule.
    pub name: String,
    /// How many files, links and devices.
    pub files: usize,
    /// Before compression.
    pub bytes: u64,
    /// Of the compressed initramfs, estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<u64>,
}

/// A file, link or device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileSize {
    /// Without a leading `/`.
    pub path: String,
    /// What brought it.
    pub part: String,
    /// Before compression; 0 for what is no file, and for further names of one.
    pub bytes: u64,
    /// Of the compressed initramfs, estimated.
    pub stored: u64,
}

impl Sizes {
    /// Takes an image apart.
    ///
    /// # Errors
    /// When the estimate's compressor fails: there is no memory.
    pub fn of(image: &Inside) -> io::Result<Self> {
        let mut files = files(image)?;
        let section = |name| {
            image
                .sections
                .get(name)
                .map_or(0, |content: &Vec<u8>| content.len() as u64)
        };
        let kernel = match section(".linux") {
            // The kernel is around its initramfs, and nothing else is there.
            0 if !image.sections.is_empty() => image.bytes.saturating_sub(image.initramfs_bytes),
            kernel => kernel,
        };
        let parts = gather(files.iter().map(|file| (file.part.clone(), file)));
        let directories = gather(
            files
                .iter()
                .flat_map(|file| ancestors(&file.path).map(move |name| (name, file))),
        );
        files.sort_by(|left, right| (right.bytes, &left.path).cmp(&(left.bytes, &right.path)));
        Ok(Self {
            bytes: image.bytes,
            kernel,
            initramfs: image.initramfs_bytes,
            rest: image.bytes.saturating_sub(kernel + image.initramfs_bytes),
            unpacked: files.iter().map(|file| file.bytes).sum(),
            parts: largest_first(parts),
            directories: directories.into_values().collect(),
            files,
            removed: removed(image),
        })
    }
}

/// The files in the archive's order.
fn files(image: &Inside) -> io::Result<Vec<FileSize>> {
    let records = image.contents.as_ref().map(|contents| contents.files.as_slice());
    let parts: BTreeMap<&str, &FileRecord> = records
        .unwrap_or_default()
        .iter()
        .map(|file| (file.path.as_str(), file))
        .collect();
    let mut seen: BTreeMap<InodeId, ()> = BTreeMap::new();
    let mut gauge = Gauge::new()?;
    let mut found = Vec::new();
    for entry in image.root.walk() {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let (mut bytes, mut stored) = (0, 0);
        match &entry.inode.kind {
            Kind::Directory(_) => continue,
            Kind::File(content) if seen.insert(entry.id, ()).is_none() => {
                bytes = content.len();
                stored = gauge.growth(&content.read()?)?;
            }
            _ => {}
        }
        let part = parts
            .get(path.as_str())
            .map_or(UNKNOWN, |record| &record.part)
            .to_owned();
        found.push(FileSize {
            path,
            part,
            bytes,
            stored,
        });
    }
    scale(&mut found, image.initramfs_bytes);
    Ok(found)
}

/// Makes the shares add up to what is stored; the last one that has any takes what rounding left.
fn scale(files: &mut [FileSize], total: u64) {
    let sum: u128 = files.iter().map(|file| u128::from(file.stored)).sum();
    let mut left = total;
    for file in files.iter_mut() {
        let share = (u128::from(file.stored) * u128::from(total))
            .checked_div(sum)
            .unwrap_or(0);
        file.stored = u64::try_from(share).unwrap_or(total).min(left);
        left -= file.stored;
    }
    if let Some(last) = files.iter_mut().rev().find(|file| file.stored > 0) {
        last.stored += left;
    }
}

/// A stream of zstd that tells by how much each piece makes it longer.
struct Gauge {
    stream: zstd::stream::write::Encoder<'static, Counter>,
    before: u64,
}

/// Counts what is written.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Gauge {
    fn new() -> io::Result<Self> {
        Ok(Self {
            stream: zstd::stream::write::Encoder::new(Counter(0), LEVEL)?,
            before: 0,
        })
    }

    fn growth(&mut self, bytes: &[u8]) -> io::Result<u64> {
        self.stream.write_all(bytes)?;
        self.stream.flush()?;
        let now = self.stream.get_ref().0;
        Ok(now - std::mem::replace(&mut self.before, now))
    }
}

/// `usr/bin/env` is in the root (the empty name), in `usr` and in `usr/bin`.
fn ancestors(path: &str) -> impl Iterator<Item = String> + '_ {
    let inner = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
    std::iter::once(String::new()).chain(inner)
}

fn gather<'f>(files: impl Iterator<Item = (String, &'f FileSize)>) -> BTreeMap<String, Share> {
    let mut shares: BTreeMap<String, Share> = BTreeMap::new();
    for (name, file) in files {
        let share = shares.entry(name.clone()).or_insert_with(|| Share {
            name,
            stored: Some(0),
            ..Share::default()
        });
        share.files += 1;
        share.bytes += file.bytes;
        share.stored = share.stored.map(|stored| stored + file.stored);
    }
    shares
}

fn removed(image: &Inside) -> Vec<Share> {
    let mut shares: BTreeMap<String, Share> = BTreeMap::new();
    for file in image.contents.iter().flat_map(|contents| &contents.removed) {
        let share = shares.entry(file.rule.clone()).or_default();
        share.name.clone_from(&file.rule);
        share.files += 1;
        share.bytes += file.bytes;
    }
    largest_first(shares)
}

fn largest_first(shares: BTreeMap<String, Share>) -> Vec<Share> {
    let mut shares: Vec<Share> = shares.into_values().collect();
    shares.sort_by(|left, right| (right.bytes, &left.name).cmp(&(left.bytes, &right.name)));
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::tests::image;

    fn sample() -> Sizes {
        let folder = tempfile::tempdir().unwrap();
        let noise: String = (0_u32..4000)
            .map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761)))
            .collect();
        let same = "a".repeat(60_000);
        let files = [
            ("usr/bin/noise", noise.as_str(), "package noise"),
            ("usr/share/same", &same, "package noise"),
            ("usr/bin/tool", "tool", "component tool"),
        ];
        let path = image(folder.path(), "0123456789ab", &files);
        Sizes::of(&Inside::read(&path).unwrap()).unwrap()
    }

    #[test]
    fn every_byte_has_a_part_and_a_directory() {
        let sizes = sample();
        assert_eq!(sizes.parts[0].name, "package noise");
        let names: Vec<&str> = sizes.parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["package noise", UNKNOWN, "component tool"]);
        let root = &sizes.directories[0];
        assert_eq!((root.name.as_str(), root.files, root.bytes), ("", 4, sizes.unpacked));
        assert_eq!(root.stored, Some(sizes.initramfs));
        let parts: u64 = sizes.parts.iter().filter_map(|part| part.stored).sum();
        assert_eq!(parts, sizes.initramfs);
        let below: Vec<&str> = sizes
            .directories
            .iter()
            .map(|directory| directory.name.as_str())
            .collect();
        assert_eq!(below, ["", "etc", "usr", "usr/bin", "usr/share"]);
    }

    #[test]
    fn what_compresses_well_is_charged_little() {
        let sizes = sample();
        let stored = |path: &str| sizes.files.iter().find(|file| file.path == path).unwrap().stored;
        assert_eq!(sizes.files[0].path, "usr/share/same");
        assert!(stored("usr/share/same") * 20 < stored("usr/bin/noise"));
    }
}

//! fs-verity digests: what the kernel computes for a file it protects, and the name of a whole file in `objects/`.
//!
//! The digest is the SHA-256 of a 256-byte descriptor holding the file's size and the root of a Merkle tree of
//! SHA-256 hashes over 4 KiB blocks, each level padded with zeros to full blocks
//! (Linux `Documentation/filesystems/fsverity.rst`, "Merkle tree" and "fs-verity descriptor").

use std::fmt;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// Block size of the Merkle tree: the default of `fsverity enable`, and what composefs uses.
const BLOCK: usize = 4096;
const HASH: usize = 32;

/// The fs-verity digest of a file's content: SHA-256, 4 KiB blocks, no salt. Shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectDigest([u8; HASH]);

/// Computes an [`ObjectDigest`] piece by piece, in about 4 KiB of memory per factor of 128 in the file's size.
#[derive(Debug, Default)]
pub struct VerityHasher {
    size: u64,
    block: Vec<u8>,
    levels: Vec<Vec<u8>>,
}

impl ObjectDigest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = VerityHasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The digest of everything a reader gives.
    ///
    /// # Errors
    /// Whatever the reader says.
    pub fn of_reader(reader: &mut dyn Read) -> io::Result<Self> {
        let mut hasher = VerityHasher::new();
        io::copy(reader, &mut hasher)?;
        Ok(hasher.finish())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; HASH] {
        &self.0
    }

    /// Where the object lies below a directory of objects: `ab/ab12…`.
    pub fn path(&self) -> String {
        let digits = self.to_string();
        format!("{}/{digits}", &digits[..2])
    }
}

impl From<[u8; HASH]> for ObjectDigest {
    fn from(bytes: [u8; HASH]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ObjectDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ObjectDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectDigest({self})")
    }
}

impl VerityHasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.block.is_empty() && bytes.len() >= BLOCK {
                let (block, rest) = bytes.split_at(BLOCK);
                self.push(0, block_hash(block));
                bytes = rest;
                continue;
            }
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(head);
            bytes = rest;
            if self.block.len() == BLOCK {
                self.flush_block();
            }
        }
    }

    /// Takes `count` bytes of zero without looking at them: a hole of a sparse file costs one hash for 512 KiB.
    pub fn update_zeros(&mut self, mut count: u64) {
        const ZEROS: [u8; BLOCK] = [0; BLOCK];
        let unfinished = (BLOCK - self.block.len()) % BLOCK;
        let head = count.min(unfinished as u64);
        self.update(&ZEROS[..head as usize]);
        count -= head;
        let hash = block_hash(&ZEROS);
        for _ in 0..count / BLOCK as u64 {
            self.size += BLOCK as u64;
            self.push(0, hash);
        }
        self.update(&ZEROS[..(count % BLOCK as u64) as usize]);
    }

    /// The digest of what was given.
    pub fn finish(mut self) -> ObjectDigest {
        if !self.block.is_empty() {
            self.flush_block();
        }
        let mut descriptor = [0; 256];
        // version 1, SHA-256 (1), blocks of 2^12 bytes, no salt
        descriptor[..3].copy_from_slice(&[1, 1, 12]);
        descriptor[8..16].copy_from_slice(&self.size.to_le_bytes());
        descriptor[16..16 + HASH].copy_from_slice(&self.root());
        ObjectDigest(Sha256::digest(descriptor).into())
    }

    fn flush_block(&mut self) {
        let hash = block_hash(&self.block);
        self.block.clear();
        self.push(0, hash);
    }

    fn push(&mut self, level: usize, hash: [u8; HASH]) {
        if self.levels.len() == level {
            self.levels.push(Vec::with_capacity(BLOCK));
        }
        self.levels[level].extend_from_slice(&hash);
        if self.levels[level].len() == BLOCK {
            let hash = block_hash(&self.levels[level]);
            self.levels[level].clear();
            self.push(level + 1, hash);
        }
    }

    /// The root hash: zeros for an empty file, else the one hash that is left at the top.
    fn root(&mut self) -> [u8; HASH] {
        let mut level = 0;
        while level < self.levels.len() {
            let hashes = std::mem::take(&mut self.levels[level]);
            if level + 1 == self.levels.len()
                && let Ok(root) = hashes.as_slice().try_into()
            {
                return root;
            }
            if !hashes.is_empty() {
                self.push(level + 1, block_hash(&hashes));
            }
            level += 1;
        }
        [0; HASH]
    }
}

impl io::Write for VerityHasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The hash of a block, padded with zeros to its full size.
fn block_hash(bytes: &[u8]) -> [u8; HASH] {
    let mut hasher = Sha256::new();
    hasher.update(bytes);
    hasher.update(&[0; BLOCK][bytes.len()..]);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_file_has_the_well_known_digest() {
        assert_eq!(
            ObjectDigest::of(b"").to_string(),
            "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95"
        );
    }

    #[test]
    fn pieces_do_not_matter() {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        let mut hasher = VerityHasher::new();
        for piece in bytes.chunks(4097) {
            hasher.update(piece);
        }
        assert_eq!(hasher.finish(), ObjectDigest::of(&bytes));
    }

    #[test]
    fn zeros_need_not_be_looked_at() {
        for (before, zeros, after) in [
            (0, 0, 0),
            (1, 5000, 3),
            (4096, 4096, 0),
            (5000, 1 << 20, 5000),
            (7, 2, 1),
        ] {
            let bytes = [vec![1; before], vec![0; zeros], vec![2; after]].concat();
            let mut hasher = VerityHasher::new();
            hasher.update(&bytes[..before]);
            hasher.update_zeros(zeros as u64);
            hasher.update(&bytes[before + zeros..]);
            assert_eq!(hasher.finish(), ObjectDigest::of(&bytes), "{before} {zeros} {after}");
        }
    }

    #[test]
    fn agrees_with_fsverity() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        // Around one block, one level (128 blocks) and two levels (128 * 128 blocks).
        for size in [
            0, 1, 4095, 4096, 4097, 524_288, 524_289, 1_000_000, 67_108_864, 67_108_865,
        ] {
            let bytes: Vec<u8> = (0..size)
                .map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
                .collect();
            std::fs::write(&path, &bytes).unwrap();
            let Ok(output) = std::process::Command::new("fsverity")
                .args(["digest", "--compact"])
                .arg(&path)
                .output()
            else {
                eprintln!("not checked: `fsverity` is not installed");
                return;
            };
            let expected = String::from_utf8(output.stdout).unwrap();
            assert_eq!(ObjectDigest::of(&bytes).to_string(), expected.trim(), "{size} bytes");
        }
    }
}

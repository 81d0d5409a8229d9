//! Blocks: how content is stored.
//!
//! ```text
//! plain (512 KiB at most) -> key = BLAKE2b-256(plain) -> Snappy, raw format
//!   -> AES-256-GCM, nonce = first 12 bytes of the key, no associated data, tag at the end
//!   -> id = BLAKE2b-256(stored bytes)
//! ```
//!
//! Equal data gives equal blocks whoever packs it. The nonce is safe because a key encrypts one text only, the one
//! that it is the hash of. Who has an flist has the keys; who has only the store can read nothing, but can tell
//! whether it holds some known data.

use std::fmt;

use aes_gcm::aead::AeadInOut as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use snap::raw;

/// Plain bytes of every block of a file but the last.
pub const BLOCK_SIZE: usize = 512 << 10;
/// Bytes that encryption appends.
const TAG: usize = 16;
/// Bytes of a key that are the nonce.
const NONCE: usize = 12;

/// BLAKE2b with 32 bytes of output.
pub(crate) type Hash = [u8; 32];

/// Names a block and opens it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockRef {
    /// BLAKE2b-256 of the stored bytes: its name.
    pub id: Hash,
    /// BLAKE2b-256 of the plain bytes: its key. A secret of those who may read the flist.
    pub key: Hash,
}

impl BlockRef {
    /// The name of its object in a bucket: lower-case hex.
    pub fn name(&self) -> String {
        hex::encode(self.id)
    }
}

impl fmt::Debug for BlockRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockRef({})", self.name())
    }
}

/// Bytes of the largest stored block.
pub(crate) fn stored_limit() -> u64 {
    (raw::max_compress_len(BLOCK_SIZE) + TAG) as u64
}

pub(crate) fn hash(bytes: &[u8]) -> Hash {
    let hash = blake2b_simd::Params::new().hash_length(32).hash(bytes);
    *hash
        .as_bytes()
        .first_chunk()
        .expect("32 bytes of output were asked for")
}

/// What is stored for plain bytes (at most [`BLOCK_SIZE`]) whose hash is `key`.
pub(crate) fn encode(plain: &[u8], key: Hash) -> (BlockRef, Vec<u8>) {
    let mut stored = raw::Encoder::new()
        .compress_vec(plain)
        .expect("Snappy takes up to 4 GiB, and a block is far smaller");
    cipher(&key)
        .encrypt_in_place(nonce(&key), b"", &mut stored)
        .expect("AES-GCM takes up to 64 GiB, and a block is far smaller");
    let id = hash(&stored);
    (BlockRef { id, key }, stored)
}

/// The plain bytes of a block. Nothing is believed: the name must be the hash of what is stored, the tag must be right,
/// and the key must be the hash of what comes out, which is never more than [`BLOCK_SIZE`].
///
/// # Errors
/// What does not match.
pub(crate) fn decode(block: &BlockRef, mut stored: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    if hash(&stored) != block.id {
        return Err("its hash is another");
    }
    cipher(&block.key)
        .decrypt_in_place(nonce(&block.key), b"", &mut stored)
        .map_err(|_| "it was encrypted with another key")?;
    let length = raw::decompress_len(&stored).map_err(|_| "it is not compressed as it should be")?;
    if length > BLOCK_SIZE {
        return Err("it is larger than a block");
    }
    let plain = raw::Decoder::new()
        .decompress_vec(&stored)
        .map_err(|_| "it is not compressed as it should be")?;
    match hash(&plain) == block.key {
        true => Ok(plain),
        false => Err("its content has another hash"),
    }
}

fn cipher(key: &Hash) -> Aes256Gcm {
    Aes256Gcm::new(key.into())
}

fn nonce(key: &Hash) -> &aes_gcm::Nonce<aes_gcm::aead::consts::U12> {
    let nonce: &[u8; NONCE] = key.first_chunk().expect("a key has 32 bytes");
    nonce.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealed(compressed: &[u8], key: Hash) -> (BlockRef, Vec<u8>) {
        let mut stored = compressed.to_vec();
        cipher(&key).encrypt_in_place(nonce(&key), b"", &mut stored).unwrap();
        (BlockRef { id: hash(&stored), key }, stored)
    }

    #[test]
    fn the_hash_is_blake2b_with_32_bytes_of_output() {
        // `b2sum -l 256 </dev/null`
        let empty = "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8";
        assert_eq!(hex::encode(hash(b"")), empty);
    }

    /// Computed step by step with other programs: `b2sum -l 256`, a raw Snappy literal written by hand (length 5, tag
    /// `(5 - 1) << 2`), and AES-256-GCM of the Python package `cryptography`.
    #[test]
    fn a_block_is_stored_byte_for_byte_as_other_programs_compute_it() {
        let (block, stored) = encode(b"hello", hash(b"hello"));
        assert_eq!(hex::encode(block.key), KNOWN_KEY);
        assert_eq!(hex::encode(&stored), KNOWN_STORED);
        assert_eq!(block.name(), KNOWN_ID);
    }

    const KNOWN_KEY: &str = "324dcf027dd4a30a932c441f365a25e86b173defa4b8e58948253471b81b72cf";
    const KNOWN_STORED: &str = "eb5520dbdc937864eee10f334d9fe7947560aae07b9470";
    const KNOWN_ID: &str = "43569db4b44e807640de79fb7175eae3e6379082c562999f431830d4ed818577";

    #[test]
    fn a_block_that_claims_to_be_huge_is_not_unpacked() {
        // The length that raw Snappy begins with, as a varint of 4 GiB - 1.
        let (block, stored) = sealed(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0], [7; 32]);
        assert_eq!(decode(&block, stored), Err("it is larger than a block"));
        let (block, stored) = encode(&[0; BLOCK_SIZE], hash(&[0; BLOCK_SIZE]));
        assert_eq!(decode(&block, stored).unwrap().len(), BLOCK_SIZE);
    }

    #[test]
    fn content_that_is_not_what_the_key_says_is_refused() {
        let compressed = raw::Encoder::new().compress_vec(b"other").unwrap();
        let (block, stored) = sealed(&compressed, hash(b"hello"));
        assert_eq!(decode(&block, stored), Err("its content has another hash"));
        let (block, stored) = sealed(b"\xff\xff", hash(b"hello"));
        assert_eq!(decode(&block, stored), Err("it is not compressed as it should be"));
    }

    #[test]
    fn keys_are_not_shown() {
        let block = BlockRef {
            id: [1; 32],
            key: [2; 32],
        };
        assert!(!format!("{block:?}").contains("0202"));
    }

    proptest! {
        #[test]
        fn every_block_comes_back_and_no_changed_one_does(
            plain in proptest::collection::vec(any::<u8>(), 0..3000),
            at in any::<prop::sample::Index>(),
            mask in 1..=255_u8,
        ) {
            let (block, stored) = encode(&plain, hash(&plain));
            prop_assert!(stored.len() as u64 <= stored_limit());
            let mut bad = stored.clone();
            let at = at.index(bad.len());
            bad[at] ^= mask;
            prop_assert!(decode(&block, bad.clone()).is_err());
            let renamed = BlockRef { id: hash(&bad), ..block };
            prop_assert_eq!(decode(&renamed, bad), Err("it was encrypted with another key"));
            prop_assert_eq!(decode(&block, stored).unwrap(), plain);
        }
    }
}

//! Frames: neighbouring chunks compressed together, the unit that is fetched.

/// Most plain bytes in a frame. We pack up to 768 KiB; the room is for packers to come, the limit bounds what a hostile
/// flist makes a reader allocate.
pub(crate) const PLAIN_LIMIT: u32 = 4 << 20;

/// How a frame is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub(crate) enum Encoding {
    /// As it is: data that does not shrink.
    Stored = 0,
    /// One zstd frame (RFC 8878).
    Zstd = 1,
}

impl Encoding {
    pub(crate) fn of_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::Stored),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// True when a frame of this encoding can have these lengths.
    pub(crate) fn fits(self, stored: u32, plain: u32) -> bool {
        let order = match self {
            Self::Stored => stored == plain,
            Self::Zstd => stored < plain,
        };
        order && stored > 0 && plain <= PLAIN_LIMIT
    }
}

/// The plain bytes of a frame, exactly `plain` of them; never allocates more. Says what is wrong with the bytes.
pub(crate) fn decode(encoding: Encoding, stored: &[u8], plain: u32) -> Result<Vec<u8>, &'static str> {
    const WRONG: &str = "the frame does not decompress to its length";
    let plain = plain.min(PLAIN_LIMIT) as usize;
    let bytes = match encoding {
        Encoding::Stored => stored.to_vec(),
        Encoding::Zstd => zstd::bulk::decompress(stored, plain).map_err(|_| WRONG)?,
    };
    if bytes.len() == plain { Ok(bytes) } else { Err(WRONG) }
}

/// Compresses a frame, or keeps it as it is when that does not save at least one byte in 32.
#[cfg(feature = "pack")]
pub(crate) fn encode(plain: Vec<u8>, level: i32) -> std::io::Result<(Encoding, Vec<u8>)> {
    let compressed = zstd::bulk::compress(&plain, level)?;
    if compressed.len() < plain.len() - plain.len() / 32 {
        Ok((Encoding::Zstd, compressed))
    } else {
        Ok((Encoding::Stored, plain))
    }
}

#[cfg(test)]
#[cfg(feature = "pack")]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_noise_is_stored() {
        let text = b"the same again ".repeat(1000);
        let (encoding, stored) = encode(text.clone(), 3).unwrap();
        assert_eq!(encoding, Encoding::Zstd);
        assert!(stored.len() < 200);
        assert_eq!(decode(encoding, &stored, 15_000).unwrap(), text);
        let noise: Vec<u8> = blake3::Hasher::new().finalize_xof().bytes(10_000);
        assert_eq!(encode(noise.clone(), 3).unwrap(), (Encoding::Stored, noise));
    }

    #[test]
    fn a_frame_of_another_length_is_refused() {
        let (encoding, stored) = encode(vec![0; 100_000], 3).unwrap();
        assert!(decode(encoding, &stored, 99_999).is_err());
        assert!(decode(encoding, &stored, 100_001).is_err());
        assert!(decode(Encoding::Stored, b"abc", 4).is_err());
        assert!(decode(Encoding::Zstd, b"abc", 4).is_err());
    }

    trait Bytes {
        fn bytes(self, count: usize) -> Vec<u8>;
    }

    impl Bytes for blake3::OutputReader {
        fn bytes(mut self, count: usize) -> Vec<u8> {
            let mut bytes = vec![0; count];
            self.fill(&mut bytes);
            bytes
        }
    }
}

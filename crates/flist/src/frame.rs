//! Frames: neighbouring chunks compressed together, the unit that is fetched.

use std::cell::RefCell;

use zstd::stream::raw::{Decoder, InBuffer, Operation as _, OutBuffer};

/// Most plain bytes in a frame. We pack up to 1.25 MiB; the room is for packers to come, the limit bounds what a hostile
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
    let plain = plain.min(PLAIN_LIMIT) as usize;
    let (bytes, ended) = match encoding {
        Encoding::Stored => (stored.to_vec(), true),
        Encoding::Zstd => DECODER.with_borrow_mut(|decoder| run(decoder, stored, plain))?,
    };
    if ended && bytes.len() == plain {
        Ok(bytes)
    } else {
        Err(WRONG)
    }
}

/// The first `length` plain bytes of a frame, for the price of decoding little more than these. Whether the frame has the
/// length it should have is not found out.
pub(crate) fn decode_start(encoding: Encoding, stored: &[u8], length: u32) -> Result<Vec<u8>, &'static str> {
    let length = length.min(PLAIN_LIMIT) as usize;
    match encoding {
        Encoding::Stored => stored.get(..length).map(<[u8]>::to_vec).ok_or(WRONG),
        Encoding::Zstd => {
            let (bytes, _) = DECODER.with_borrow_mut(|decoder| run(decoder, stored, length))?;
            if bytes.len() == length { Ok(bytes) } else { Err(WRONG) }
        }
    }
}

const WRONG: &str = "the frame does not decompress to its length";

thread_local! {
    /// Tables and a window are made once for a thread, not for each frame.
    static DECODER: RefCell<Option<Decoder<'static>>> = const { RefCell::new(None) };
}

/// At most the first `length` plain bytes, and whether the frame and the stored bytes end there. With room for a whole
/// frame, zstd decodes straight into it.
fn run(decoder: &mut Option<Decoder<'static>>, stored: &[u8], length: usize) -> Result<(Vec<u8>, bool), &'static str> {
    let decoder = match decoder {
        Some(decoder) => decoder,
        None => decoder.insert(Decoder::new().map_err(|_| WRONG)?),
    };
    decoder.reinit().map_err(|_| WRONG)?;
    let mut bytes = Vec::with_capacity(length);
    let mut input = InBuffer::around(stored);
    loop {
        let before = (input.pos(), bytes.len());
        let mut output = OutBuffer::around_pos(&mut bytes, before.1);
        let left = decoder.run(&mut input, &mut output).map_err(|_| WRONG)?;
        let ended = left == 0;
        if ended || bytes.len() >= length || before == (input.pos(), bytes.len()) {
            bytes.truncate(length);
            return Ok((bytes, ended && input.pos() == stored.len()));
        }
    }
}

/// Levels, 3 being ours unless told otherwise, at which matches of four bytes are worth taking: zstd itself takes five,
/// right for its window of 2 MiB, not for a frame of half of one. On 1.06 GB of Debian packages level 3 takes 0.7 %
/// less so, for 9 % more time; level 4 would take 0.3 % less for 14 %.
#[cfg(feature = "pack")]
const SHORT_MATCHES: std::ops::RangeInclusive<i32> = 3..=4;

/// Compresses frames one after the other, with tables that are made once.
#[cfg(feature = "pack")]
pub(crate) struct Compressor(std::io::Result<zstd::bulk::Compressor<'static>>);

#[cfg(feature = "pack")]
impl Compressor {
    /// A compressor of this zstd level. A level that zstd does not take is an error of the first frame.
    pub(crate) fn new(level: i32) -> Self {
        let made = zstd::bulk::Compressor::new(level).and_then(|mut zstd| {
            if SHORT_MATCHES.contains(&level) {
                zstd.set_parameter(zstd::zstd_safe::CParameter::MinMatch(4))?;
            }
            Ok(zstd)
        });
        Self(made)
    }

    /// Compresses a frame into `stored`, or copies it when that does not save at least one byte in 32.
    pub(crate) fn encode(&mut self, plain: &[u8], stored: &mut Vec<u8>) -> std::io::Result<Encoding> {
        let zstd = match &mut self.0 {
            Ok(zstd) => zstd,
            Err(error) => return Err(std::io::Error::new(error.kind(), error.to_string())),
        };
        stored.clear();
        stored.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        zstd.compress_to_buffer(plain, stored)?;
        if stored.len() < plain.len() - plain.len() / 32 {
            return Ok(Encoding::Zstd);
        }
        stored.clear();
        stored.extend_from_slice(plain);
        Ok(Encoding::Stored)
    }
}

#[cfg(test)]
#[cfg(feature = "pack")]
mod tests {
    use super::*;

    fn encode(plain: &[u8]) -> (Encoding, Vec<u8>) {
        let mut stored = Vec::new();
        let encoding = Compressor::new(3).encode(plain, &mut stored).unwrap();
        (encoding, stored)
    }

    #[test]
    fn frames_come_back_and_noise_is_stored() {
        let text = b"the same again ".repeat(1000);
        let (encoding, stored) = encode(&text);
        assert_eq!(encoding, Encoding::Zstd);
        assert!(stored.len() < 200);
        assert_eq!(decode(encoding, &stored, 15_000).unwrap(), text);
        let noise: Vec<u8> = blake3::Hasher::new().finalize_xof().bytes(10_000);
        assert_eq!(encode(&noise), (Encoding::Stored, noise));
    }

    #[test]
    fn the_start_of_a_frame_is_what_the_whole_begins_with() {
        let text: Vec<u8> = (0..500_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let (encoding, stored) = encode(&text);
        for length in [0, 1, 4096, 131_072, 131_073, 1_999_999, 2_000_000] {
            assert_eq!(
                decode_start(encoding, &stored, length).unwrap(),
                text[..length as usize]
            );
            assert_eq!(
                decode_start(Encoding::Stored, &text, length).unwrap(),
                text[..length as usize]
            );
        }
        assert!(decode_start(encoding, &stored, 2_000_001).is_err());
        assert!(decode_start(Encoding::Stored, &text, 2_000_001).is_err());
        assert!(decode_start(encoding, &stored[..stored.len() / 2], 2_000_000).is_err());
        assert!(decode_start(encoding, b"abc", 1).is_err());
        assert_eq!(
            decode_start(encoding, &stored, 9).unwrap(),
            text[..9],
            "also after an error"
        );
    }

    #[test]
    fn a_frame_of_another_length_is_refused() {
        let (encoding, stored) = encode(&[0; 100_000]);
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

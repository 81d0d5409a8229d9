//! The compressions that packages and kernel modules come in.

use std::io::{self, Read};

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    None,
    /// `.gz`.
    Gzip,
    /// `.xz`.
    Xz,
    /// `.zst`.
    Zstd,
}

/// The xz decoder may use this much memory: what level 9 needs, and room.
const XZ_MEMORY_LIMIT: u64 = 256 << 20;

/// The zstd decoder accepts windows of at most 2^27 bytes, what level 22 uses.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

impl Compression {
    /// Splits a file name into the name without its compression's ending, and the compression.
    pub fn split_name(name: &[u8]) -> (&[u8], Self) {
        let endings: [(&[u8], Self); 3] = [(b".gz", Self::Gzip), (b".xz", Self::Xz), (b".zst", Self::Zstd)];
        endings
            .into_iter()
            .find_map(|(ending, compression)| Some((name.strip_suffix(ending)?, compression)))
            .unwrap_or((name, Self::None))
    }

    /// What a file's first bytes say that it is compressed with (RFC 1952, the .xz format's "Stream Header", RFC 8878).
    pub fn of_content(head: &[u8]) -> Self {
        let magics: [(&[u8], Self); 3] = [
            (b"\x1f\x8b", Self::Gzip),
            (b"\xfd7zXZ\0", Self::Xz),
            (b"\x28\xb5\x2f\xfd", Self::Zstd),
        ];
        magics
            .into_iter()
            .find_map(|(magic, compression)| head.starts_with(magic).then_some(compression))
            .unwrap_or(Self::None)
    }

    /// A reader of the plain bytes. Memory is bounded; the length of what it gives is for the caller to bound.
    ///
    /// # Errors
    /// When the decoder cannot be set up.
    pub fn reader<'r>(self, reader: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
        Ok(match self {
            Self::None => Box::new(reader),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
            Self::Xz => {
                let stream =
                    liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_LIMIT, liblzma::stream::CONCATENATED)
                        .map_err(io::Error::from)?;
                Box::new(liblzma::read::XzDecoder::new_stream(reader, stream))
            }
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }

    /// The plain bytes, of which there may be `limit` at most.
    ///
    /// # Errors
    /// Damaged bytes, or more than `limit` of them.
    pub fn decompress(self, reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader(reader)?
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            let text = format!("more than {limit} bytes when decompressed");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn compressed(program: &str, bytes: &[u8]) -> Option<Vec<u8>> {
        let child = Command::new(program)
            .arg("-c")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("skipped: {program} is not installed");
            return None;
        };
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        Some(child.wait_with_output().unwrap().stdout)
    }

    #[test]
    fn reads_what_the_standard_tools_write_and_no_more_than_allowed() {
        let bytes = b"0123456789".repeat(100);
        let tools = [
            ("gzip", Compression::Gzip),
            ("xz", Compression::Xz),
            ("zstd", Compression::Zstd),
        ];
        for (program, compression) in tools {
            let Some(packed) = compressed(program, &bytes) else {
                continue;
            };
            assert_eq!(Compression::of_content(&packed), compression);
            assert_eq!(compression.decompress(&packed[..], 1000).unwrap(), bytes, "{program}");
            assert!(compression.decompress(&packed[..], 999).is_err(), "{program}");
            assert!(
                compression.decompress(&packed[..packed.len() - 1], 1000).is_err(),
                "{program}"
            );
        }
    }

    #[test]
    fn endings() {
        assert_eq!(
            Compression::split_name(b"a.ko.xz"),
            (b"a.ko".as_slice(), Compression::Xz)
        );
        assert_eq!(
            Compression::split_name(b"a.ko"),
            (b"a.ko".as_slice(), Compression::None)
        );
    }
}

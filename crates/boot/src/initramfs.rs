//! The initramfs: a cpio archive, compressed as the kernel can unpack it.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use liblzma::stream::{Check, Filters, LzmaOptions, PRESET_EXTREME, Stream};
use mos_tree::Tree;
use mos_tree::cpio::{self, CpioError};

/// How an initramfs is compressed.
///
/// zstd at level 22 is a few percent larger than xz and unpacks many times faster; level 3 is for the edit loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// zstd with a level from 1 to 22.
    Zstd(u8),
    /// xz, level 9 "extreme".
    Xz,
    /// None: for a kernel image that is compressed as a whole.
    None,
}

/// The levels that zstd has.
const ZSTD_LEVELS: std::ops::RangeInclusive<u8> = 1..=22;

/// Levels up to this one are for the edit loop: the level's own window, compressed in parts by several threads.
const EDITING: u8 = 9;

/// How many; the bytes are the same for any number of them, as the parts are.
const THREADS: u32 = 4;

/// log2 of the zstd window. The kernel (`lib/decompress_unzstd.c`) refuses windows over 2^27 bytes, and allocates
/// the whole window while it boots: 32 MiB fit into every machine that can hold the image.
const ZSTD_WINDOW_LOG: u32 = 25;

/// The largest xz dictionary: the kernel allocates it while it boots, as above.
const XZ_DICTIONARY_MAX: u32 = 32 << 20;

/// The smallest xz dictionary of any preset (level 0).
const XZ_DICTIONARY_MIN: u32 = 256 << 10;

/// The xz level.
const XZ_PRESET: u32 = 9 | PRESET_EXTREME;

/// Why an initramfs could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitramfsError {
    /// The tree does not fit into a cpio archive.
    #[error("initramfs: {0}")]
    Cpio(#[from] CpioError),
    /// The compressor failed.
    #[error("initramfs: cannot compress with {compression}: {source}")]
    Compress {
        /// How.
        compression: Compression,
        /// What the compressor said.
        source: io::Error,
    },
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zstd(level) => write!(f, "zstd:{level}"),
            Self::Xz => f.write_str("xz"),
            Self::None => f.write_str("none"),
        }
    }
}

/// Reads `zstd:LEVEL`, `zstd` (level 22), `xz`, `none`.
impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no compression of an initramfs; use `zstd`, `zstd:1` to `zstd:22`, `xz` or `none`");
        match text {
            "zstd" => Ok(Self::Zstd(*ZSTD_LEVELS.end())),
            "xz" => Ok(Self::Xz),
            "none" => Ok(Self::None),
            _ => {
                let level = text.strip_prefix("zstd:").and_then(|level| level.parse().ok());
                let level = level.filter(|level| ZSTD_LEVELS.contains(level));
                level.map(Self::Zstd).ok_or_else(wrong)
            }
        }
    }
}

/// Makes the initramfs of a tree.
///
/// # Errors
/// What a cpio archive cannot hold, content that cannot be read, a zstd level that there is none of.
pub fn initramfs(tree: &Tree, compression: Compression) -> Result<Vec<u8>, InitramfsError> {
    let mut archive = Vec::new();
    cpio::write(tree, &mut archive)?;
    let compressed = match compression {
        Compression::None => Ok(archive),
        Compression::Zstd(level) => zstd(&archive, level),
        Compression::Xz => xz(&archive),
    };
    compressed.map_err(|source| InitramfsError::Compress { compression, source })
}

fn zstd(archive: &[u8], level: u8) -> io::Result<Vec<u8>> {
    zstd_by(archive, level, THREADS)
}

fn zstd_by(archive: &[u8], level: u8, threads: u32) -> io::Result<Vec<u8>> {
    if !ZSTD_LEVELS.contains(&level) {
        let text = format!("level {level} is not between 1 and 22");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), i32::from(level))?;
    if level <= EDITING {
        encoder.multithread(threads)?;
    } else {
        encoder.window_log(window_log(archive.len()))?;
    }
    encoder.set_pledged_src_size(Some(archive.len() as u64))?;
    encoder.include_checksum(true)?;
    encoder.write_all(archive)?;
    encoder.finish()
}

/// The window that holds the whole archive, within what zstd (2^10) and we allow.
fn window_log(length: usize) -> u32 {
    length.max(1).next_power_of_two().ilog2().clamp(10, ZSTD_WINDOW_LOG)
}

/// The kernel's decoder knows no check but CRC32 (`Documentation/staging/xz.rst`). No filter for x86 code: most of an
/// image is kernel modules, whose relocations it cannot see.
fn xz(archive: &[u8]) -> io::Result<Vec<u8>> {
    let mut options = LzmaOptions::new_preset(XZ_PRESET)?;
    let needed = u32::try_from(archive.len()).unwrap_or(u32::MAX);
    let needed = needed.checked_next_power_of_two().unwrap_or(XZ_DICTIONARY_MAX);
    options.dict_size(needed.clamp(XZ_DICTIONARY_MIN, XZ_DICTIONARY_MAX));
    let mut filters = Filters::new();
    filters.lzma2(&options);
    let stream = Stream::new_stream_encoder(&filters, Check::Crc32)?;
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(archive)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn sample() -> Tree {
        let mut tree = Tree::default();
        let text = "all work and no play ".repeat(20_000);
        tree.insert_file("etc/motd", 0o644, text.as_str()).unwrap();
        tree
    }

    /// Output of a standard tool fed with these bytes, if it is installed.
    fn tool(program: &[&str], input: &[u8]) -> Option<Vec<u8>> {
        let (name, arguments) = program.split_first().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(input).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let output = Command::new(name)
            .args(arguments)
            .stdin(file)
            .stderr(Stdio::inherit())
            .output();
        match output {
            Ok(output) => {
                assert!(output.status.success(), "{name} refused the bytes");
                Some(output.stdout)
            }
            Err(error) => {
                eprintln!("skipped: cannot run {name}: {error}");
                None
            }
        }
    }

    #[test]
    fn standard_tools_unpack_every_compression_and_bytes_repeat() {
        let plain = initramfs(&sample(), Compression::None).unwrap();
        for (compression, program) in [
            (Compression::Zstd(3), ["zstd", "-dc"]),
            (Compression::Zstd(22), ["zstd", "-dc"]),
            (Compression::Xz, ["xz", "-dc"]),
        ] {
            let packed = initramfs(&sample(), compression).unwrap();
            assert!(packed.len() < plain.len() / 10, "{compression}");
            assert_eq!(packed, initramfs(&sample(), compression).unwrap());
            if let Some(unpacked) = tool(&program, &packed) {
                assert!(unpacked == plain, "{compression}");
            }
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bytes() {
        // Several parts of words that repeat now and then.
        let words = (0u32..3_000_000).map(|number| number.wrapping_mul(2_654_435_761) >> 20);
        let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        let one = zstd_by(&bytes, 3, 1).unwrap();
        assert!(one.len() < bytes.len() / 2);
        for threads in [2, THREADS, 7] {
            assert!(zstd_by(&bytes, 3, threads).unwrap() == one, "{threads}");
        }
    }

    #[test]
    fn xz_has_the_check_that_the_kernel_knows() {
        let packed = initramfs(&sample(), Compression::Xz).unwrap();
        // Stream flags (xz format 2.1.1.2): a zero byte, then the check's number; 1 is CRC32.
        assert_eq!(packed[6..8], [0, 1]);
    }

    #[test]
    fn zstd_window_is_never_larger_than_ours() {
        assert_eq!(window_log(0), 10);
        assert_eq!(window_log(1 << 20), 20);
        assert_eq!(window_log((1 << 20) + 1), 21);
        assert_eq!(window_log(1 << 40), ZSTD_WINDOW_LOG);
    }

    #[test]
    fn compressions_are_read_as_written() {
        for compression in [Compression::Zstd(3), Compression::Xz, Compression::None] {
            assert_eq!(compression.to_string().parse(), Ok(compression));
        }
        assert_eq!("zstd".parse(), Ok(Compression::Zstd(22)));
        for wrong in ["zstd:0", "zstd:23", "gzip", ""] {
            assert!(wrong.parse::<Compression>().is_err(), "{wrong}");
        }
        assert!(initramfs(&sample(), Compression::Zstd(0)).is_err());
    }

    /// A kernel with an external initramfs makes the node itself; an archive embedded in the kernel replaces the
    /// one that has it. It is written here without root, and `cpio` reads it.
    #[test]
    fn an_archive_to_be_embedded_has_the_console_node() {
        let archive = initramfs(&crate::root::base_tree().unwrap(), Compression::None).unwrap();
        let Some(listed) = tool(&["cpio", "-t", "-v", "--quiet"], &archive) else {
            return;
        };
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let console = listed.lines().find(|line| line.ends_with("dev/console")).unwrap();
        assert!(
            console.starts_with("crw-------   1 root     root       5,   1 "),
            "{console}"
        );
    }
}

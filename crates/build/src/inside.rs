//! A boot image read back from its file: what firmware will really start, whatever a record says.
//!
//! ```text
//! vmlinuz.efi --sections--> .initrd --decompressed--> cpio --> Tree
//!      or a kernel around its initramfs, decompressed --^
//! contents.json beside it, if it is of this very image ------> who brought what
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use mos_boot::uki::{self, PeError};
use mos_boot::{embedded, secure_boot};
use mos_packages::compression::Compression;
use mos_store::Digest;
use mos_tree::Tree;
use mos_tree::cpio::{self, CpioError};

use crate::contents::Contents;

/// The record beside an image.
pub const CONTENTS_FILE: &str = "contents.json";
/// The kernel's configuration beside an image.
pub const CONFIG_FILE: &str = "kernel.config";
/// An initramfs is unpacked into a node's memory: more than this would be no boot image.
const LARGEST: u64 = 4 << 30;
/// zstd level of an estimate.
const ESTIMATE: u8 = 19;
/// What an EFI program begins with (Microsoft PE/COFF specification, section 2).
const EFI_MAGIC: &[u8] = b"MZ";

/// What an initramfs by itself is called among the outputs.
const INITRAMFS_FILES: [&str; 3] = ["initramfs.cpio.zst", "initramfs.cpio.xz", "initramfs.cpio"];

/// A boot image.
#[derive(Debug)]
pub struct Inside {
    /// Bytes of the file.
    pub bytes: u64,
    /// Of the file.
    pub digest: Digest,
    /// Who signed an EFI file for Secure Boot, whether the signature holds or not.
    pub signers: Vec<String>,
    /// The sections of an EFI file with their content; none for a bare initramfs.
    pub sections: BTreeMap<String, Vec<u8>>,
    /// Bytes of the initramfs as it is stored; an estimate when it is compressed together with the kernel around it.
    pub initramfs_bytes: u64,
    /// The root file system.
    pub root: Tree,
    /// The record of this image, when it is beside the file.
    pub contents: Option<Contents>,
    /// The kernel's configuration, when it is beside the file.
    pub config: Option<String>,
}

/// Why a file could not be read as a boot image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InsideError {
    /// The file, or the record beside it.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It begins like an EFI program and is none.
    #[error("{path}: {source}")]
    Efi {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        source: PeError,
    },
    /// An EFI program without a section `.initrd` or a kernel around an initramfs, and no initramfs beside it.
    #[error(
        "{path}: an EFI program with neither a section .initrd nor an initramfs that can be found in the kernel, and no initramfs.cpio, .zst or .xz is beside it; name a unified kernel image"
    )]
    NoInitramfs {
        /// Where.
        path: PathBuf,
    },
    /// The initramfs is not compressed in a way that is known here, or is damaged.
    #[error("{path}: the initramfs cannot be decompressed: {source}; zstd, xz, gzip and plain ones can be")]
    Compressed {
        /// Where.
        path: PathBuf,
        /// What the decoder said.
        source: io::Error,
    },
    /// The initramfs is not an archive.
    #[error("{path}: initramfs: {source}")]
    Archive {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        source: CpioError,
    },
}

impl Inside {
    /// Reads an EFI file or an initramfs, and what is beside it.
    ///
    /// # Errors
    /// [`InsideError`]. A record of another image is no error: it is not used.
    pub fn read(path: &Path) -> Result<Self, InsideError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::read_with(path, folder)
    }

    /// The same, with the records in another folder.
    ///
    /// # Errors
    /// [`InsideError`].
    pub fn read_with(path: &Path, records: &Path) -> Result<Self, InsideError> {
        let mut inside = Self::of_bytes(path, &std::fs::read(path).map_err(at(path))?, records)?;
        let contents = records.join(CONTENTS_FILE);
        if let Some(text) = read_if_there(&contents)?
            && let Ok(found) = serde_json::from_slice::<Contents>(&text)
            && inside.build_id().is_some_and(|id| id == found.build_id)
        {
            inside.contents = Some(found);
            let config = read_if_there(&records.join(CONFIG_FILE))?;
            inside.config = config.map(|text| String::from_utf8_lossy(&text).into_owned());
        }
        Ok(inside)
    }

    fn of_bytes(path: &Path, bytes: &[u8], records: &Path) -> Result<Self, InsideError> {
        let owned = || path.to_owned();
        let mut sections = BTreeMap::new();
        if bytes.starts_with(EFI_MAGIC) {
            let found = uki::extract(bytes).map_err(|source| InsideError::Efi { path: owned(), source })?;
            sections.extend(found.into_iter().map(|(name, content)| (name, content.to_vec())));
        }
        // What cannot be read as a signature is none; `mos image verify` says more.
        let signatures = secure_boot::signatures(bytes).unwrap_or_default();
        let (initramfs_bytes, root) = match sections.get(".initrd") {
            Some(section) => (section.len(), unpacked(path, section)?),
            None if sections.is_empty() => (bytes.len(), unpacked(path, bytes)?),
            None => match embedded_in(bytes) {
                Some(found) => found,
                None => {
                    let beside =
                        initramfs_beside(records)?.ok_or_else(|| InsideError::NoInitramfs { path: owned() })?;
                    (beside.len(), unpacked(path, &beside)?)
                }
            },
        };
        Ok(Self {
            bytes: bytes.len() as u64,
            digest: Digest::of(bytes),
            signers: signatures.iter().map(|signature| signature.signer.name()).collect(),
            initramfs_bytes: initramfs_bytes as u64,
            sections,
            root,
            contents: None,
            config: None,
        })
    }

    /// The text of a section, without what pads it.
    pub fn text(&self, section: &str) -> Option<String> {
        let text = String::from_utf8_lossy(self.sections.get(section)?).into_owned();
        Some(text.trim_end_matches(['\0', '\n']).to_owned())
    }

    /// The kernel's command line.
    pub fn command_line(&self) -> Option<String> {
        self.text(".cmdline")
    }

    /// The kernel's version.
    pub fn kernel(&self) -> Option<String> {
        let recorded = || Some(self.contents.as_ref()?.kernel.clone());
        self.text(".uname").or_else(recorded)
    }

    /// What the image says of its own inputs: `BUILD_ID` of its os-release.
    pub fn build_id(&self) -> Option<String> {
        let of_root = || {
            let mos_tree::Kind::File(content) = &self.root.get("etc/os-release")?.kind else {
                return None;
            };
            Some(String::from_utf8_lossy(&content.read().ok()?).into_owned())
        };
        let text = self.text(".osrel").or_else(of_root)?;
        let line = text.lines().find_map(|line| line.strip_prefix("BUILD_ID="))?;
        Some(line.trim_matches('"').to_owned())
    }
}

/// The root file system in an initramfs.
fn unpacked(path: &Path, stored: &[u8]) -> Result<Tree, InsideError> {
    let path = || path.to_owned();
    let archive = Compression::of_content(stored).decompress(stored, LARGEST);
    let archive = archive.map_err(|source| InsideError::Compressed { path: path(), source })?;
    cpio::read(&archive).map_err(|source| InsideError::Archive { path: path(), source })
}

/// The initramfs that a kernel was made around: how much of the file it is, and the root file system.
fn embedded_in(bytes: &[u8]) -> Option<(usize, Tree)> {
    let payload = embedded::payload(bytes);
    let vmlinux = match payload {
        Some(payload) => Compression::of_content(payload).decompress(payload, LARGEST).ok()?,
        // That of arm64 is not compressed.
        None if uki::is_kernel(bytes) => bytes.to_vec(),
        None => return None,
    };
    embedded::candidates(&vmlinux).find_map(|stored| {
        let compression = Compression::of_content(stored);
        let root = cpio::read(&compression.decompress(stored, LARGEST).ok()?).ok()?;
        let share = match (compression, payload) {
            (Compression::None, Some(payload)) => share(payload, &root)?.min(payload.len()),
            _ => stored.len(),
        };
        Some((share, root))
    })
}

/// What an archive takes that is compressed with the kernel around it: about what it takes by itself.
fn share(payload: &[u8], root: &Tree) -> Option<usize> {
    let compression = match Compression::of_content(payload) {
        Compression::Zstd => mos_boot::Compression::Zstd(ESTIMATE),
        _ => mos_boot::Compression::Xz,
    };
    Some(mos_boot::initramfs(root, compression).ok()?.len())
}

/// The same, as the build leaves it beside the image: for a kernel that is compressed in a way that is not known here.
fn initramfs_beside(folder: &Path) -> Result<Option<Vec<u8>>, InsideError> {
    for name in INITRAMFS_FILES {
        if let Some(bytes) = read_if_there(&folder.join(name))? {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// The content of a file that may be missing.
fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, InsideError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> InsideError {
    let path = path.to_owned();
    move |source| InsideError::Io { path, source }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::contents::FileRecord;
    use mos_boot::initramfs;

    /// An initramfs with this build id and these files, and its record.
    pub(crate) fn image(folder: &Path, id: &str, files: &[(&str, &str, &str)]) -> PathBuf {
        let mut root = Tree::default();
        root.insert_file("etc/os-release", 0o644, format!("ID=mos\nBUILD_ID={id}\n").as_str())
            .unwrap();
        let mut records = Vec::new();
        for (path, text, part) in files {
            root.insert_file(path, 0o644, *text).unwrap();
            records.push(FileRecord {
                path: (*path).to_owned(),
                kind: "file".to_owned(),
                bytes: text.len() as u64,
                target: None,
                part: (*part).to_owned(),
                replaces: Vec::new(),
            });
        }
        let contents = Contents {
            build_id: id.to_owned(),
            kernel: "6.12.1".to_owned(),
            files: records,
            ..Contents::default()
        };
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join(CONTENTS_FILE), serde_json::to_vec(&contents).unwrap()).unwrap();
        let path = folder.join("initramfs.cpio.zst");
        std::fs::write(&path, initramfs(&root, mos_boot::Compression::Zstd(3)).unwrap()).unwrap();
        path
    }

    #[test]
    fn an_image_is_read_back_with_the_record_that_is_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = image(folder.path(), "0123456789ab", &[("bin/x", "program", "package x")]);
        let inside = Inside::read(&path).unwrap();
        assert_eq!(inside.build_id().as_deref(), Some("0123456789ab"));
        assert_eq!(inside.contents.as_ref().unwrap().files[0].part, "package x");
        assert!(inside.root.get("bin/x").is_some());
        assert_eq!(inside.kernel().as_deref(), Some("6.12.1"));
        let other = tempfile::tempdir().unwrap();
        image(other.path(), "ba9876543210", &[]);
        let inside = Inside::read_with(&path, other.path()).unwrap();
        assert!(inside.contents.is_none(), "the record of another image is not believed");
    }

    /// A kernel for x86 as firmware sees it, with this payload.
    fn bz_image(payload: &[u8]) -> Vec<u8> {
        let stub = [
            b"MZ".as_slice(),
            &[0; 0x3a],
            &[0x40, 0, 0, 0],
            b"PE\0\0",
            &[0x64, 0x86, 1, 0],
            &[0; 12],
            &[0xf0, 0, 0, 0],
        ];
        let mut optional = [[0x0b, 0x02].as_slice(), &[0; 0xee]].concat();
        // The alignments of sections in memory and in the file.
        (optional[33], optional[37]) = (0x10, 0x02);
        let section = [b".text\0\0\0".as_slice(), &[0; 32]].concat();
        let mut image = [stub.concat(), optional, section].concat();
        image.resize(0x400, 0);
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        let length = u32::try_from(payload.len() + 4).unwrap();
        image[0x24c..0x250].copy_from_slice(&length.to_le_bytes());
        [&image, payload, &[1, 2, 3, 4]].concat()
    }

    /// The initramfs of a folder, unpacked, in a kernel, packed.
    fn kernel_around(folder: &Path) -> Vec<u8> {
        let packed = std::fs::read(folder.join("initramfs.cpio.zst")).unwrap();
        let archive = zstd::decode_all(packed.as_slice()).unwrap();
        let mut vmlinux = [b"\x7fELF".as_slice(), &[7; 4096], &archive].concat();
        vmlinux.resize(vmlinux.len().next_multiple_of(8), 0);
        vmlinux.extend_from_slice(&(archive.len() as u64).to_le_bytes());
        vmlinux.extend_from_slice(&[5; 100]);
        bz_image(&zstd::encode_all(vmlinux.as_slice(), 3).unwrap())
    }

    #[test]
    fn an_initramfs_is_found_in_the_kernel_around_it() {
        let folder = tempfile::tempdir().unwrap();
        let text = "all work and no play ".repeat(500);
        image(folder.path(), "0123456789ab", &[("bin/x", &text, "package x")]);
        let path = folder.path().join("vmlinuz.efi");
        std::fs::write(&path, kernel_around(folder.path())).unwrap();
        // What is beside it is not needed.
        std::fs::remove_file(folder.path().join("initramfs.cpio.zst")).unwrap();
        let inside = Inside::read(&path).unwrap();
        assert!(inside.root.get("bin/x").is_some() && inside.contents.is_some());
        assert!(inside.initramfs_bytes > 100 && inside.initramfs_bytes < inside.bytes);
    }

    #[test]
    fn a_kernel_that_cannot_be_unpacked_is_read_with_the_initramfs_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        image(folder.path(), "0123456789ab", &[("bin/x", "program", "package x")]);
        let path = folder.path().join("vmlinuz.efi");
        std::fs::write(&path, bz_image(b"\x02\x21\x4c\x18 what lz4 made")).unwrap();
        let inside = Inside::read(&path).unwrap();
        assert!(inside.root.get("bin/x").is_some() && inside.contents.is_some());
        assert!(inside.sections.contains_key(".text") && inside.bytes > 0);
        std::fs::remove_file(folder.path().join("initramfs.cpio.zst")).unwrap();
        let error = Inside::read(&path).unwrap_err();
        assert!(matches!(error, InsideError::NoInitramfs { .. }), "{error}");
    }

    #[test]
    fn what_is_no_image_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        for (bytes, expected) in [
            (b"MZ but no more".as_slice(), "not a PE32+ file"),
            (b"\x28\xb5\x2f\xfd rubbish", "cannot be decompressed"),
            (b"rubbish", "not a cpio archive"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = Inside::read(&path).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("/x: "), "{error}");
        }
        let missing = Inside::read(&folder.path().join("none")).unwrap_err();
        assert!(matches!(missing, InsideError::Io { .. }), "{missing}");
    }
}

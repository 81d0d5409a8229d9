//! The release document: everything that a node needs, by length and digest.

use super::digest::{Sha256, text};
use jiff::Timestamp;
use mos_store::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeSet;

/// The version of the document's format. Others are refused: a node must not guess what a newer one means.
const FORMAT: u64 = 1;
/// Longest name of an environment or flist in bytes; they become parts of file names.
const MAX_NAME: usize = 64;

/// A release of one environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The version of the format.
    pub format: Format,
    /// The environment that it is for.
    pub environment: String,
    /// Counts up from 1, by one for each release of the channel.
    pub sequence: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When nodes stop accepting it.
    pub expires: Timestamp,
    /// Nodes never go back below this release.
    pub minimum_sequence: u64,
    /// The boot image.
    pub boot: BootImage,
    /// The flists, one for each component, by name.
    pub flists: Vec<Flist>,
}

/// The boot image of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootImage {
    /// Its name in the channel: `boot/<sha256>.efi`.
    pub path: String,
    /// Bytes.
    pub length: u64,
    /// SHA-256 of the file.
    #[serde(with = "text")]
    pub sha256: Sha256,
    /// BLAKE3-256 of the file.
    #[serde(with = "text")]
    pub blake3: Digest,
}

/// One flist of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flist {
    /// The component.
    pub name: String,
    /// Its version, for people.
    pub version: String,
    /// Its name in the channel: `flists/<blake3>.fl`.
    pub path: String,
    /// Bytes.
    pub length: u64,
    /// SHA-256 of the file.
    #[serde(with = "text")]
    pub sha256: Sha256,
    /// BLAKE3-256 of the file.
    #[serde(with = "text")]
    pub blake3: Digest,
    /// The blobs that hold its chunks.
    pub blobs: Vec<Blob>,
}

/// A blob of a release; its name in the channel is [`Digest::blob_name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Blob {
    /// BLAKE3-256 of its bytes.
    #[serde(with = "text")]
    pub blake3: Digest,
    /// Bytes.
    pub length: u64,
}

/// The format number, which is the same in every release that this program reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Format;

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(FORMAT)
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            FORMAT => Ok(Self),
            other => Err(de::Error::custom(format!(
                "format {other} is not known, only {FORMAT}: this program is too old"
            ))),
        }
    }
}

impl BootImage {
    /// The entry for a boot image of this length and these digests.
    pub fn new(length: u64, sha256: Sha256, blake3: Digest) -> Self {
        Self {
            path: Self::path_of(&sha256),
            length,
            sha256,
            blake3,
        }
    }

    fn path_of(sha256: &Sha256) -> String {
        format!("boot/{sha256}.efi")
    }
}

impl Flist {
    /// The name in the channel of the flist with this digest.
    pub fn path_of(blake3: &Digest) -> String {
        format!("flists/{blake3}.fl")
    }

    fn check(&self) -> Result<(), String> {
        check_name("flist", &self.name)?;
        if self.path != Self::path_of(&self.blake3) {
            return Err(format!(
                "flist {}: path `{}` does not follow from its digest",
                self.name,
                self.path.escape_debug()
            ));
        }
        Ok(())
    }
}

impl Release {
    /// Every blob, once, in the order of the digests.
    pub fn blobs(&self) -> BTreeSet<Blob> {
        self.flists
            .iter()
            .flat_map(|flist| flist.blobs.iter().copied())
            .collect()
    }

    /// The flist of this component.
    pub fn flist(&self, name: &str) -> Option<&Flist> {
        self.flists.iter().find(|flist| flist.name == name)
    }

    /// True when a node would run the same with either: the same contents and the same floor.
    pub fn same_contents(&self, other: &Self) -> bool {
        self.environment == other.environment
            && self.minimum_sequence == other.minimum_sequence
            && self.boot == other.boot
            && self.flists == other.flists
    }

    /// The document as it is signed: compact JSON, fields in the order of this type.
    #[cfg(feature = "publish")]
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a release has only texts, numbers and lists, which always have a JSON form")
    }

    /// Reads and checks a document.
    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let release: Self = serde_json::from_slice(bytes).map_err(|error| format!("release: {error}"))?;
        release.check()?;
        Ok(release)
    }

    /// Refuses what no publisher writes, so that readers need not think of it.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_name("environment", &self.environment)?;
        if self.sequence == 0 || self.minimum_sequence > self.sequence {
            return Err(format!(
                "sequence {} with minimum {} makes no sense",
                self.sequence, self.minimum_sequence
            ));
        }
        if self.created >= self.expires {
            return Err(format!(
                "it expires ({}) before it is made ({})",
                self.expires, self.created
            ));
        }
        if self.boot.path != BootImage::path_of(&self.boot.sha256) {
            return Err(format!(
                "boot: path `{}` does not follow from its digest",
                self.boot.path.escape_debug()
            ));
        }
        self.flists.iter().try_for_each(Flist::check)?;
        self.check_unique()
    }

    fn check_unique(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        match self.flists.iter().find(|flist| !seen.insert(flist.name.as_str())) {
            Some(twice) => Err(format!("flist {} is there twice", twice.name)),
            None => Ok(()),
        }
    }
}

/// Names that are safe as part of a file name and on a console.
fn check_name(what: &str, name: &str) -> Result<(), String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+');
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if starts_well && name.len() <= MAX_NAME && name.bytes().all(good) {
        return Ok(());
    }
    Err(format!(
        "`{}` is not the name of an {what}",
        name.escape_debug().take(MAX_NAME).collect::<String>()
    ))
}

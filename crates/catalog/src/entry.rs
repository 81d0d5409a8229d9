//! What is known of one image. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::CatalogError;

/// Raised when readers of before would misunderstand an entry.
const FORMAT: u32 = 1;
const SUFFIX: &str = ".efi";
const PREFIX: &str = "vmlinuz-";
/// Hexadecimal digits of a hash in a name, as many as a build id has.
const HASH_DIGITS: usize = 12;
/// Bytes of the longest file name that file systems take, less the suffix of an entry.
const LONGEST_NAME: usize = 250;

/// What its uploader says of an image; written once, and never again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which form this is; 1 so far.
    pub format: u32,
    /// The image.
    pub name: String,
    /// Of its bytes, in hex.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
    /// Version of the kernel in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The environment it was built for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The release it belongs to, as whoever uploaded it calls that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// When.
    pub uploaded: Timestamp,
}

impl Entry {
    /// The entry of an image with these bytes, without the facts that bytes do not tell.
    ///
    /// # Errors
    /// [`CatalogError::BadName`].
    pub fn new(name: &str, bytes: &[u8], uploaded: Timestamp) -> Result<Self, CatalogError> {
        if !is_image(name) {
            return Err(CatalogError::BadName { name: name.to_owned() });
        }
        Ok(Self {
            format: FORMAT,
            name: name.to_owned(),
            sha256: hex::encode(Sha256::digest(bytes)),
            size: bytes.len() as u64,
            kernel: None,
            environment: None,
            release: None,
            uploaded: whole_seconds(uploaded),
        })
    }

    /// Reads the entry of an image; `None` when it is none, or that of another one.
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Option<Self> {
        let entry: Self = serde_json::from_slice(bytes).ok()?;
        let is_digest = entry.sha256.len() == 64 && entry.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        (entry.format == FORMAT && entry.name == name && is_digest).then_some(entry)
    }

    /// What is stored.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        json(self)
    }
}

/// An image of a catalog: what the listing says, and the entry where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Of its bytes, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Version of the kernel in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The environment it was built for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The release it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// When it was uploaded; `None` when neither an entry nor the store says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploaded: Option<Timestamp>,
}

impl Image {
    /// From what the listing says, and an entry. An entry for another size speaks of bytes that are not there.
    pub(crate) fn new(name: &str, size: u64, modified: Option<Timestamp>, entry: Option<Entry>) -> Self {
        let bare = Self {
            name: name.to_owned(),
            size,
            sha256: None,
            kernel: None,
            environment: None,
            release: None,
            uploaded: modified.map(whole_seconds),
        };
        match entry.filter(|entry| entry.size == size) {
            Some(entry) => Self {
                sha256: Some(entry.sha256),
                kernel: entry.kernel,
                environment: entry.environment,
                release: entry.release,
                uploaded: Some(entry.uploaded),
                ..bare
            },
            None => bare,
        }
    }
}

/// A name for an image that has none of its own: `vmlinuz-{KERNEL}-{HASH}.efi`, with the first digits of its bytes' SHA-256.
pub fn name_of(kernel: Option<&str>, bytes: &[u8]) -> String {
    let hash = &hex::encode(Sha256::digest(bytes))[..HASH_DIGITS];
    match kernel {
        Some(kernel) => format!("{PREFIX}{kernel}-{hash}{SUFFIX}"),
        None => format!("{PREFIX}{hash}{SUFFIX}"),
    }
}

/// Whether an image's name looks like one that no image with other bytes has: `vmlinuz-….efi`.
pub fn is_versioned(name: &str) -> bool {
    name.starts_with(PREFIX) && is_image(name)
}

/// Whether an image may have this name: one that stands in a line, a URL and a file system as it is.
pub(crate) fn is_image(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-');
    let body = name.strip_suffix(SUFFIX).unwrap_or_default();
    !body.is_empty() && !body.starts_with(['.', '-']) && name.len() <= LONGEST_NAME && name.bytes().all(plain)
}

/// Readers compare and sort these as text.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Indented, with a newline at the end: people read it too.
pub(crate) fn json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("structs with text keys are always JSON");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> Entry {
        let time = Timestamp::from_millisecond(1_795_000_000_999).unwrap();
        Entry::new("vmlinuz-6.12.57+deb13-amd64-ab12.efi", b"image", time).unwrap()
    }

    #[test]
    fn entries_come_back_and_others_are_no_entries() {
        let entry = entry();
        assert_eq!(entry.uploaded.to_string(), "2026-11-18T11:06:40Z");
        assert_eq!(
            entry.sha256,
            "6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d"
        );
        let bytes = entry.to_bytes();
        assert_eq!(Entry::parse(&entry.name, &bytes), Some(entry.clone()));
        assert_eq!(Entry::parse("vmlinuz-other.efi", &bytes), None);
        let text = String::from_utf8(bytes).unwrap();
        for broken in [
            text.replace("\"format\": 1", "\"format\": 2"),
            text.replace("6105", "zz05"),
            text.replace("6105", ""),
            String::new(),
        ] {
            assert_eq!(Entry::parse(&entry.name, broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn an_entry_of_other_bytes_is_not_believed() {
        let image = Image::new("vmlinuz-1.efi", 6, None, Some(entry()));
        assert_eq!((image.sha256, image.uploaded), (None, None));
        let image = Image::new("vmlinuz-1.efi", 5, None, Some(entry()));
        assert_eq!(image.sha256, Some(entry().sha256));
    }

    #[test]
    fn an_image_without_a_name_gets_one_by_its_content() {
        let name = name_of(Some("6.12.57"), b"image");
        assert_eq!(name, "vmlinuz-6.12.57-6105d6cc76af.efi");
        assert!(is_versioned(&name) && is_versioned(&name_of(None, b"image")));
        assert!(!is_versioned("vmlinuz.efi") && !is_versioned("boot-1.efi") && !is_versioned("vmlinuz-1"));
    }

    #[test]
    fn names_are_plain() {
        for good in ["vmlinuz.efi", "vmlinuz-6.12.44-MyceliumOS-abc1234.efi", "a_b+c.efi"] {
            assert!(is_image(good), "{good}");
        }
        let long = format!("{}.efi", "x".repeat(LONGEST_NAME));
        for bad in [
            ".efi",
            "..efi",
            "-a.efi",
            "a b.efi",
            "a/b.efi",
            "a.efi.json",
            "vmlinuz",
            "ä.efi",
            &long,
        ] {
            assert!(!is_image(bad), "{bad}");
            assert!(Entry::new(bad, b"", Timestamp::UNIX_EPOCH).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_entry_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Entry::parse("vmlinuz-1.efi", &bytes);
        }
    }
}

//! The two files that readers without a listing use. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::entry::{Image, json};

/// The index as text, a name per line.
pub const INDEX_TEXT: &str = "kernels.txt";
/// The index with everything that is known.
pub const INDEX_JSON: &str = "kernels.json";

/// What `kernels.json` holds. The first three are those of mos_builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Index {
    /// The names, sorted.
    kernels: Vec<String>,
    /// When this was written.
    updated: Timestamp,
    /// How many there are.
    count: usize,
    /// The same images, in the same order.
    images: Vec<Image>,
}

impl Index {
    pub(crate) fn new(images: &[Image], updated: Timestamp) -> Self {
        Self {
            kernels: images.iter().map(|image| image.name.clone()).collect(),
            updated,
            count: images.len(),
            images: images.to_vec(),
        }
    }

    /// Reads `kernels.json`; `None` when it is another program's, or damaged.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Whether this says the same at another time.
    pub(crate) fn says(&self, images: &[Image]) -> bool {
        *self == Self::new(images, self.updated)
    }

    /// `kernels.json`.
    pub(crate) fn json(&self) -> Vec<u8> {
        json(self)
    }

    /// `kernels.txt`.
    pub(crate) fn text(&self) -> Vec<u8> {
        let lines = self.kernels.iter().map(|name| format!("{name}\n"));
        lines.collect::<String>().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str) -> Image {
        Image::new(name, 7, None, None)
    }

    #[test]
    fn the_example_of_mos_builder_is_what_a_reader_finds() {
        let names = [
            "vmlinuz-6.12.44-MyceliumOS-abc1234.efi",
            "vmlinuz-6.12.44-MyceliumOS-def5678.efi",
        ];
        let updated: Timestamp = "2025-01-04T12:00:00Z".parse().unwrap();
        let index = Index::new(&names.map(image), updated);
        let value: serde_json::Value = serde_json::from_slice(&index.json()).unwrap();
        assert_eq!(value["kernels"], serde_json::json!(names));
        assert_eq!(value["updated"], "2025-01-04T12:00:00Z");
        assert_eq!(value["count"], 2);
        assert_eq!(value["images"][1]["size"], 7);
        assert_eq!(index.text(), format!("{}\n{}\n", names[0], names[1]).into_bytes());
    }

    #[test]
    fn an_index_that_says_the_same_is_known_and_another_programs_is_not() {
        let images = ["a.efi", "b.efi"].map(image);
        let index = Index::new(&images, Timestamp::UNIX_EPOCH);
        let read = Index::parse(&index.json()).unwrap();
        assert!(read.says(&images) && !read.says(&images[..1]));
        assert_eq!(
            Index::parse(br#"{"kernels": ["a.efi"], "updated": "2025-01-04T12:00:00Z", "count": 1}"#),
            None
        );
        assert_eq!(Index::new(&[], Timestamp::UNIX_EPOCH).text(), b"");
    }
}

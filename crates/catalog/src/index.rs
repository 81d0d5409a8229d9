//! The two files that readers without a listing use. Pure.

use jiff::Timestamp;
use mos_store::Read;
use serde::{Deserialize, Serialize};

use crate::entry::{Image, is_image, json};
use crate::error::CatalogError;

/// The index as text, a name per line.
pub const INDEX_TEXT: &str = "kernels.txt";
/// The index with everything that is known.
pub const INDEX_JSON: &str = "kernels.json";

/// Bytes of the largest index that is read: a hundred thousand images.
pub(crate) const MAX_INDEX: u64 = 64 << 20;

/// What `kernels.json` holds. The first three are those of mos_builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Index {
    /// The names, sorted.
    kernels: Vec<String>,
    /// When this was written.
    updated: Timestamp,
    /// How many there are.
    count: usize,
    /// The same images, in the same order; mos_builder writes none.
    #[serde(default)]
    images: Vec<Image>,
}

/// The images that the index in this folder of a store names: for stores that cannot be listed, such as web servers. Of an
/// index of mos_builder's, the store is asked how long each image is.
///
/// # Errors
/// [`CatalogError::NoIndex`]; others as the store finds them.
pub fn read_index(store: &dyn Read, folder: &str) -> Result<Vec<Image>, CatalogError> {
    let name = format!("{folder}/{INDEX_JSON}");
    let no_index = || CatalogError::NoIndex {
        place: format!("{}/{name}", store.address()),
    };
    let mut index = Index::parse(&store.get(&name, MAX_INDEX)?).ok_or_else(no_index)?;
    index.kernels.retain(|name| is_image(name));
    if index.images.len() == index.count {
        return Ok(index.images);
    }
    let names: Vec<String> = index.kernels.iter().map(|name| format!("{folder}/{name}")).collect();
    let lengths = store.lengths(&names)?;
    let images = index.kernels.iter().zip(lengths);
    let there = images.filter_map(|(name, length)| Some(Image::new(name, length?, None, None)));
    Ok(there.collect())
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
    use mos_store::Write as _;

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
        assert_eq!(Index::parse(b"<html>"), None);
        assert_eq!(Index::new(&[], Timestamp::UNIX_EPOCH).text(), b"");
    }

    #[test]
    fn an_index_of_mos_builder_is_read_with_what_the_store_knows() {
        let store = mos_store::Memory::default();
        let theirs =
            br#"{"kernels": ["a.efi", "gone.efi", "../b.efi"], "updated": "2025-01-04T12:00:00Z", "count": 3}"#;
        store.put("k/kernels.json", theirs).unwrap();
        store.put("k/a.efi", b"image").unwrap();
        let images = read_index(&store, "k").unwrap();
        assert_eq!(images, [Image::new("a.efi", 5, None, None)]);
        let ours = Index::new(&images, Timestamp::UNIX_EPOCH);
        store.put("k/kernels.json", &ours.json()).unwrap();
        assert_eq!(read_index(&store, "k").unwrap(), images);
        store.put("k/kernels.json", b"<html>").unwrap();
        assert!(matches!(read_index(&store, "k"), Err(CatalogError::NoIndex { .. })));
    }
}

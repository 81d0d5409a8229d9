//! Putting an image into a catalog.

use crate::catalog::Catalog;
use crate::entry::Entry;
use crate::error::CatalogError;

/// An image to be put into a catalog.
#[derive(Debug)]
pub struct Upload<'b> {
    /// What is known of it.
    pub entry: Entry,
    /// It.
    pub bytes: &'b [u8],
}

/// What came of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uploaded {
    /// The image is there now.
    New,
    /// It was there before, with this entry, which stays.
    Already(Entry),
}

impl Catalog<'_> {
    /// Puts an image into the catalog: first its entry, then the image. [`Catalog::reindex`] has to follow.
    ///
    /// An image that is there already is left as it is, and so is its entry. Killed half-way, an entry without an image
    /// remains, and the next upload of the same image goes on.
    ///
    /// # Errors
    /// [`CatalogError::Differs`]; others as the store finds them.
    pub fn upload(&self, upload: &Upload<'_>) -> Result<Uploaded, CatalogError> {
        let Upload { entry, bytes } = upload;
        let name = self.name(&entry.name);
        let known = self.entry(&entry.name)?;
        let there = match &known {
            Some(known) if known.sha256 != entry.sha256 => return Err(self.differs(&entry.name)),
            // The bytes of an entry's image were put by us: as many are the same ones.
            Some(_) => self.store().length(&name)? == Some(entry.size),
            None => self.holds_without_entry(&name, upload)?,
        };
        if known.is_none() {
            self.store().put(&self.entry_name(&entry.name), &entry.to_bytes())?;
        }
        if !there {
            self.store().put(&name, bytes)?;
            return Ok(Uploaded::New);
        }
        Ok(Uploaded::Already(known.unwrap_or_else(|| entry.clone())))
    }

    /// Whether an image that another program put there is this one.
    fn holds_without_entry(&self, name: &str, upload: &Upload<'_>) -> Result<bool, CatalogError> {
        match self.store().length(name)? {
            None => Ok(false),
            Some(length) if length == upload.entry.size && self.store().holds(name, upload.bytes)? => Ok(true),
            Some(_) => Err(self.differs(&upload.entry.name)),
        }
    }

    fn differs(&self, image: &str) -> CatalogError {
        CatalogError::Differs {
            place: self.place(),
            name: image.to_owned(),
        }
    }
}

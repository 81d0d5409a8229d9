//! What can go wrong with a catalog.

use mos_store::StoreError;

/// What can go wrong with a catalog.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A name that an image cannot have.
    #[error("`{name}` is no name for a boot image: write letters, digits and `.`, `_`, `+`, `-`, ending in .efi")]
    BadName {
        /// The name.
        name: String,
    },
    /// Another image of that name is there.
    #[error("{place}/{name} is there already, with other bytes: an image that changed has another name")]
    Differs {
        /// The store and the folder.
        place: String,
        /// The image.
        name: String,
    },
    /// What has the name of an index is none.
    #[error("{place} is no index of boot images")]
    NoIndex {
        /// The file.
        place: String,
    },
    /// Others wrote without end.
    #[error("{place}: the listing changed {tries} times while the index was written")]
    Busy {
        /// The store and the folder.
        place: String,
        /// How often it was tried.
        tries: usize,
    },
}

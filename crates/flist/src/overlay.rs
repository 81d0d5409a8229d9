//! What the kernel mounts when all content is local.
//!
//! An flist names each file's object in a table of its own, because the attributes that overlayfs wants take 156 bytes a
//! file, most of them the same fact in other words. Whoever mounts makes an image that has them.

use std::collections::BTreeMap;

use mos_tree::{Content, InodeId, TreeError};

use crate::erofs::writer::{self, FileBody, ImageFile, Unfit};
use crate::erofs::xattr::Style;
use crate::error::{FlistError, show};
use crate::flist::{Entry, EntryKind, Flist, Place};
use crate::tree::plant;

/// The EROFS image of an flist as a lower layer for overlayfs: the same tree, in which every file that is not in the image
/// itself has the attributes `trusted.overlay.metacopy` (with its fs-verity digest) and `trusted.overlay.redirect` (with
/// its [path](crate::ObjectDigest::path) in a data-only layer). The same flist gives the same bytes.
///
/// # Errors
/// [`FlistError::Malformed`] for attributes that do not fit beside these, which no packer writes.
pub fn overlay_image(flist: &Flist) -> Result<Vec<u8>, FlistError> {
    let empty = |_: &Entry<'_>| -> Result<Content, TreeError> { Ok(Vec::new().into()) };
    let unfit = |why: String| FlistError::malformed("tree", 0_u64, why);
    let (tree, ids) = plant(flist.entries(), empty).map_err(|error| unfit(error.to_string()))?;
    let files = flist.entries().filter_map(|entry| {
        let id = *ids.get(&entry.inode)?;
        Some((id, file(flist, &entry)?))
    });
    let files: BTreeMap<InodeId, ImageFile> = files.collect();
    let written = writer::write(&tree, &files, Style::Overlay);
    let written = written.map_err(|Unfit { path, why }| unfit(format!("{}: {why}", show(&path))))?;
    Ok(written.image)
}

fn file(flist: &Flist, entry: &Entry<'_>) -> Option<ImageFile> {
    let EntryKind::File { size, object } = entry.kind else {
        return None;
    };
    let body = match flist.place(entry.inode)? {
        Place::Inline(bytes) => FileBody::Inline(bytes.to_vec()),
        Place::Chunks { .. } => FileBody::External { size, object: object? },
    };
    Some(ImageFile { body, modified: None })
}

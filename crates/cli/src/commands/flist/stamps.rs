//! What the files of an flist were on this machine when it was packed: who packs again with it as the base need not read
//! what was not touched since. Kept in the cache, never beside the flist: it means nothing elsewhere.

use std::path::PathBuf;
use std::sync::Arc;

use mos_flist::{Packed, Stamps, Trust};
use mos_store::Digest;

use crate::context::Context;
use crate::error::Result;

/// What is known of the files of an flist; nothing when it was not packed here.
pub(crate) fn of(context: &Context, flist: Digest) -> Trust {
    let kept = place(context, flist).ok().and_then(|path| std::fs::read(path).ok());
    let stamps = kept.and_then(|bytes| Stamps::parse(&bytes).ok());
    match stamps.filter(|stamps| stamps.flist() == flist) {
        Some(stamps) => Trust::Stamps(Arc::new(stamps)),
        None => Trust::Nothing,
    }
}

/// Keeps what was found. Without it the next packing only takes longer, so a failure is none.
pub(crate) fn keep(context: &Context, packed: &Packed) {
    if let Ok(path) = place(context, packed.digest) {
        let made = path
            .parent()
            .is_some_and(|folder| std::fs::create_dir_all(folder).is_ok());
        let _ = made && mos_sys::durable::write(&path, &packed.stamps.encode(), 0o600).is_ok();
    }
}

fn place(context: &Context, flist: Digest) -> Result<PathBuf> {
    Ok(context.cache()?.join("flist/stamps").join(flist.to_string()))
}

//! The flists of a release, verified, and the content of their files.

use std::io::Write;
use std::sync::Arc;

use mos_channel::Release;
use mos_flist::{Flist, Image as _, ReadError, Reader};
use mos_store::Read;
use mos_update::{Content, Fetch, Layout, MAX_ROUTES, ROUTES, Wanted, WantedFlist};

use super::failure::Failure;

/// Largest flist in bytes: it is held in memory.
const LARGEST_FLIST: u64 = 64 << 20;

/// Reads the flists that a release names. One that the current generation has is not downloaded again.
pub fn flists(store: &dyn Read, layout: &Layout, release: &Release) -> Result<Vec<Arc<Flist>>, Failure> {
    release
        .flists
        .iter()
        .map(|named| flist(store, layout, release, named).map(Arc::new))
        .collect()
}

fn flist(store: &dyn Read, layout: &Layout, release: &Release, named: &mos_channel::Flist) -> Result<Flist, Failure> {
    if named.length > LARGEST_FLIST {
        let why = format!(
            "flist {}: {} bytes, more than {LARGEST_FLIST}",
            named.name, named.length
        );
        return Err(Failure::Release(release.sequence, why));
    }
    let bytes = match kept(layout, named) {
        Some(bytes) => bytes,
        None => download(store, named)?,
    };
    // The digest was right: what cannot be read was signed that way.
    let bad = |error| Failure::Release(release.sequence, format!("flist {}: {error}", named.name));
    Flist::parse(bytes).map_err(bad)
}

fn kept(layout: &Layout, named: &mos_channel::Flist) -> Option<Vec<u8>> {
    let path = layout.current().join(format!("flists/{}.fl", named.name));
    let length = std::fs::metadata(&path).ok()?.len();
    let bytes = (length == named.length).then(|| std::fs::read(&path))?.ok()?;
    named.blake3.matches(&bytes).then_some(bytes)
}

fn download(store: &dyn Read, named: &mos_channel::Flist) -> Result<Vec<u8>, Failure> {
    let tampered = |why: &str| {
        Failure::Trust(format!(
            "{}: flist {} ({}) {why}",
            store.address(),
            named.name,
            named.path
        ))
    };
    let bytes = match store.get(&named.path, named.length) {
        Err(mos_store::StoreError::TooLarge { .. }) => return Err(tampered("is longer than the release says")),
        other => other.map_err(Failure::from)?,
    };
    if bytes.len() as u64 != named.length {
        return Err(tampered("is shorter than the release says"));
    }
    match named.blake3.matches(&bytes) {
        true => Ok(bytes),
        false => Err(tampered("is not the one that the release names: its digest differs")),
    }
}

/// The content of all files of a release.
pub struct Contents<'a> {
    readers: Vec<(&'a str, Reader)>,
}

impl<'a> Contents<'a> {
    /// `everything` says that nothing is there yet, so that reading ahead pays.
    pub fn new(store: &Arc<dyn Read>, release: &'a Release, flists: Vec<Arc<Flist>>, everything: bool) -> Self {
        let reader = |flist| match everything {
            true => Reader::sequential(flist, store.clone()),
            false => Reader::new(flist, store.clone()),
        };
        let names = release.flists.iter().map(|named| named.name.as_str());
        Self {
            readers: names.zip(flists.into_iter().map(reader)).collect(),
        }
    }

    /// What the release asks for, routed.
    pub fn wanted(&self, release: &Release, envelope: Vec<u8>) -> Result<Wanted, Failure> {
        let bad = |error| Failure::of_update(release.sequence, error);
        let mut flists = Vec::new();
        for (name, reader) in &self.readers {
            let routes = self.routes(release, name, reader)?;
            flists.push(WantedFlist::new(name, reader.flist(), routes.as_deref()).map_err(bad)?);
        }
        Wanted::new(release, envelope, flists).map_err(bad)
    }

    fn routes(&self, release: &Release, flist: &str, reader: &Reader) -> Result<Option<Vec<u8>>, Failure> {
        let Some(entry) = reader.find(ROUTES.as_bytes()) else {
            return Ok(None);
        };
        if entry.size().is_none_or(|size| size > MAX_ROUTES) {
            let why = format!("flist {flist}: {ROUTES} is no file of at most {MAX_ROUTES} bytes");
            return Err(Failure::Release(release.sequence, why));
        }
        let mut routes = Vec::new();
        reader.read_file(&entry, &mut routes)?;
        Ok(Some(routes))
    }
}

impl Content for Contents<'_> {
    fn read(&self, fetch: &Fetch, out: &mut dyn Write) -> Result<(), ReadError> {
        let reader = self.readers.iter().find(|(name, _)| *name == fetch.flist);
        match reader.and_then(|(_, reader)| Some((reader, reader.find(fetch.file.as_bytes())?))) {
            Some((reader, entry)) => reader.read_file(&entry, out),
            None => Err(ReadError::NotAFile(format!("{}: {}", fetch.flist, fetch.file))),
        }
    }
}

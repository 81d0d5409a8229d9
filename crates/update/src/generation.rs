//! A generation read back from the disk.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use mos_channel::{MAX_RELEASE, Release};
use mos_flist::{Flist, ObjectDigest};

use crate::wanted::routes_place;
use crate::{Layout, MAX_ROUTES, ROUTES, UpdateError, Wanted, WantedFlist};

/// A stored generation whose release is believed and whose flists are the ones it names. Its files are not looked at
/// yet: see [`check`](crate::check()).
#[derive(Debug, Clone)]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// The release it was made from.
    pub release: Release,
    /// What it has to hold.
    pub wanted: Wanted,
}

/// Reads a generation. `verify` decides whether its envelope is believed.
///
/// # Errors
/// [`UpdateError::Broken`] with what is missing or wrong.
pub fn load(
    layout: &Layout,
    number: u64,
    verify: &dyn Fn(&[u8]) -> Result<Release, String>,
) -> Result<Generation, UpdateError> {
    let broken = |why| UpdateError::Broken {
        generation: number,
        why,
    };
    let root = layout.generation(number);
    let envelope = read_bounded(&root.join("release.json"), MAX_RELEASE).map_err(broken)?;
    let release = verify(&envelope).map_err(|why| broken(format!("release.json: {why}")))?;
    let flists = release
        .flists
        .iter()
        .map(|flist| load_flist(&root, flist).map_err(broken));
    let flists = flists.collect::<Result<Vec<_>, _>>()?;
    let wanted = Wanted::new(&release, envelope, flists)?;
    Ok(Generation {
        number,
        release,
        wanted,
    })
}

fn load_flist(root: &Path, named: &mos_channel::Flist) -> Result<WantedFlist, String> {
    let path = root.join(format!("flists/{}.fl", named.name));
    let bytes = read_bounded(&path, named.length)?;
    if !named.blake3.matches(&bytes) {
        return Err(format!("{}: not the flist that the release names", path.display()));
    }
    let flist = Flist::parse(bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    let routes = match routes_object(&flist) {
        None => None,
        Some(object) => Some(load_routes(root, &named.name, &object)?),
    };
    WantedFlist::new(&named.name, &flist, routes.as_deref()).map_err(|error| error.to_string())
}

fn load_routes(root: &Path, name: &str, object: &ObjectDigest) -> Result<Vec<u8>, String> {
    let path = root.join(routes_place(name));
    let bytes = read_bounded(&path, MAX_ROUTES)?;
    match ObjectDigest::of(&bytes) == *object {
        true => Ok(bytes),
        false => Err(format!("{}: not the routes that the flist names", path.display())),
    }
}

/// The object of an flist's routes file.
fn routes_object(flist: &Flist) -> Option<ObjectDigest> {
    flist.find(ROUTES)?.object()
}

/// All bytes of a file that has at most `limit` of them.
fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path);
    let read = file.and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes));
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    if bytes.len() as u64 > limit {
        return Err(format!("{}: more than {limit} bytes", path.display()));
    }
    Ok(bytes)
}

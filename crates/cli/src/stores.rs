//! Which stores hold the content of an flist: the one rule for all verbs.
//!
//! `--store URL`, else `MOS_STORE`, else `stores.default` of the config repository around the current folder. An flist of
//! version 2 never says it itself: addresses change, and credentials have no place in a file that is handed around.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mos_oci::{Artefact, Credentials, OciError, Options, Reference, Registry};
use mos_store::{Address, Read, Route, RoutedStore, Routes, Write};

use crate::commands::oci_error;
use crate::context::Context;
use crate::error::{CliError, Result};

/// The variable that names the stores when no option does.
const VARIABLE: &str = "MOS_STORE";

/// The option of every verb that reads or writes content.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct StoreArgs {
    /// Where the content is: a URL (dir:///…, http(s)://…, s3://…, oci://…) or a folder [default: MOS_STORE, then stores.default of
    /// mos.toml]. May be repeated: mirrors, or with 00-7f=URL the blobs whose name begins so
    #[arg(long, value_name = "URL")]
    store: Vec<String>,
}

impl StoreArgs {
    /// Opens the stores for reading.
    pub(crate) fn read(&self, context: &Context) -> Result<Arc<dyn Read>> {
        self.read_with(context, &mos_store::Options::default())
    }

    /// The same for who waits longer or shorter than usual.
    pub(crate) fn read_with(&self, context: &Context, options: &mos_store::Options) -> Result<Arc<dyn Read>> {
        let url = self.url(context)?;
        is_there(&url)?;
        open_read_with(&url, options)
    }

    /// Each of the stores by itself, with the blobs that it holds; none where there is only one.
    pub(crate) fn replicas(&self, context: &Context) -> Result<Vec<RoutedStore>> {
        let url = url(&self.url(context)?)?;
        if url.starts_with(OCI) {
            return Ok(Vec::new());
        }
        Ok(mos_store::open_replicas(&url, &mos_store::Options::default())?)
    }

    /// Opens the stores for writing.
    pub(crate) fn write(&self, context: &Context) -> Result<Box<dyn Write>> {
        open_write(&self.url(context)?)
    }

    /// All stores as `mos-store` takes them.
    pub(crate) fn url(&self, context: &Context) -> Result<String> {
        let given = self.given()?;
        match given.is_empty() {
            false => Ok(given.join(" ")),
            true => of_repository(context),
        }
    }

    /// Whether content is on this machine's own disk.
    pub(crate) fn is_local(&self, context: &Context) -> bool {
        self.url(context)
            .is_ok_and(|url| url.starts_with("dir://") && !url.contains(' '))
    }

    /// Those that are folders of this machine.
    pub(crate) fn folders(&self, context: &Context) -> Vec<PathBuf> {
        self.url(context).map(|url| folders(&url)).unwrap_or_default()
    }

    /// Stores that are named elsewhere on the command line.
    pub(crate) fn of(store: Vec<String>) -> Self {
        Self { store }
    }

    /// What the command line says.
    pub(crate) fn options(&self) -> Result<Vec<String>> {
        self.store.iter().map(|given| url(given)).collect()
    }

    /// What the command line or the environment says; nothing when neither does.
    pub(crate) fn given(&self) -> Result<Vec<String>> {
        if !self.store.is_empty() {
            return self.options();
        }
        let variable = std::env::var(VARIABLE).unwrap_or_default();
        variable.split_whitespace().map(url).collect()
    }
}

/// Opens a store that has no other rule, or several with spaces between them, for reading.
pub(crate) fn open_read(given: &str) -> Result<Arc<dyn Read>> {
    open_read_with(given, &mos_store::Options::default())
}

fn open_read_with(given: &str, options: &mos_store::Options) -> Result<Arc<dyn Read>> {
    let url = url(given)?;
    if url.starts_with(OCI) {
        return Ok(Arc::new(artefact(&url).map_err(oci_error)?));
    }
    Ok(mos_store::open_read_with(&url, options)?.into())
}

/// The same for writing.
pub(crate) fn open_write(given: &str) -> Result<Box<dyn Write>> {
    let url = url(given)?;
    if url.starts_with(OCI) {
        let message = format!("{url}: a registry takes whole artefacts only");
        return Err(CliError::usage(message).with_hint("pack into a folder or a bucket, then `mos flist push`"));
    }
    Ok(mos_store::open_write(&url)?)
}

/// Says so when content is looked for in a single folder that does not exist: a slip of the pen, rather than a store that has
/// lost everything.
pub(crate) fn is_there(given: &str) -> Result<()> {
    match &folders(&url(given)?)[..] {
        [folder] if is_absent(folder) => Err(CliError::not_found(format!(
            "{}: there is no such store",
            folder.display()
        ))
        .with_hint("packing, cloning and pulling make the folder of a store")),
        _ => Ok(()),
    }
}

/// The stores of these that are folders; none when it is not understood, which whoever opens them says.
fn folders(urls: &str) -> Vec<PathBuf> {
    let routes = Routes::parse(urls);
    let routes = routes.iter().flat_map(Routes::as_slice);
    let folder = |route: &Route| match &route.address {
        Address::Dir(path) => Some(path.clone()),
        _ => None,
    };
    routes.filter_map(folder).collect()
}

fn is_absent(path: &Path) -> bool {
    path.symlink_metadata()
        .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// What the addresses of registries begin with.
const OCI: &str = "oci://";

/// An artefact in a registry is a store too, for reading.
fn artefact(url: &str) -> std::result::Result<Artefact, OciError> {
    let reference = Reference::parse(url)?;
    let credentials = Credentials::find(&reference.registry)?;
    Artefact::open(Registry::reader(&reference, credentials, Options::default())?)
}

/// The default store of the config repository that was named, or in which somebody stands.
fn of_repository(context: &Context) -> Result<String> {
    let missing = || {
        CliError::usage("no store is given for the content")
            .with_hint("add --store URL (dir:///…, http(s)://…, s3://…), or set MOS_STORE")
            .with_hint("in a config repository, `default` under [stores] of mos.toml is used")
    };
    if context.config().is_err() {
        return Err(missing());
    }
    context.default_store()?.ok_or_else(missing)
}

/// The URL of a store: as given, or that of a folder, behind its range if there is one.
fn url(given: &str) -> Result<String> {
    if given.contains("://") {
        return Ok(given.to_owned());
    }
    let (range, folder) = match given.split_once('=') {
        Some((range, folder)) if is_range(range) => (format!("{range}="), folder),
        _ => (String::new(), given),
    };
    let path = std::path::absolute(folder).map_err(crate::error::io(given.as_ref()))?;
    Ok(format!("{range}dir://{}", path.display()))
}

/// `00-7f`: the first bytes of the names of blobs.
fn is_range(text: &str) -> bool {
    let hex = |byte: &u8| byte.is_ascii_hexdigit();
    matches!(text.as_bytes(), [a, b, b'-', c, d] if [a, b, c, d].into_iter().all(hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_may_stand_behind_a_range() {
        assert_eq!(url("00-7f=/srv/a").unwrap(), "00-7f=dir:///srv/a");
        assert_eq!(url("00-7g=/srv/a").unwrap().split('/').next_back(), Some("a"));
        assert!(url("x=y").unwrap().ends_with("/x=y"));
        assert_eq!(url("80-ff=s3://h/b").unwrap(), "80-ff=s3://h/b");
    }

    #[test]
    fn a_folder_that_is_not_there_is_told_and_several_stores_are_not_looked_at() {
        let room = tempfile::tempdir().unwrap();
        let here = room.path().display();
        assert!(is_there(&here.to_string()).is_ok());
        assert!(is_there(&format!("{here}/typo")).is_err());
        assert!(is_there(&format!("dir://{here}/typo dir://{here}")).is_ok());
        assert!(is_there("http://127.0.0.1:1/x").is_ok());
    }
}

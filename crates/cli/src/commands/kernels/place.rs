//! Which store and folder hold the boot images: the one rule for all verbs.

use mos_rfs::{Conf, KERNELS};

use super::catalog_error;
use crate::commands::flist::{conf, read_conf};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::stores;

/// The variable of mos_builder that asks for an upload after a build.
const UPLOAD: &str = "UPLOAD_KERNEL";
/// That of the folder.
const SUBPATH: &str = "KERNEL_SUBPATH";

/// Where the boot images are.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct PlaceArgs {
    /// The store: a URL (s3://KEY:SECRET@host/bucket/prefix, dir:///…) or a folder [default: config/rfs.conf of the config
    /// repository, then stores.default of mos.toml]
    #[arg(long, value_name = "URL", visible_alias = "from")]
    to: Option<String>,

    /// The folder below it [default: KERNEL_SUBPATH, then that of config/rfs.conf, or kernel]
    #[arg(long, value_name = "NAME")]
    folder: Option<String>,
}

/// A store's URL, with its secrets, and a folder in it.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) folder: String,
}

impl PlaceArgs {
    pub(crate) fn find(&self, context: &Context) -> Result<Place> {
        let (url, folder) = self.store(context)?;
        let named = std::env::var(SUBPATH).ok().filter(|folder| !folder.is_empty());
        let folder = self.folder.clone().or(named).unwrap_or(folder);
        let folder = folder.trim_matches('/').to_owned();
        match folder.is_empty() {
            true => Err(CliError::usage("the folder of the boot images has no name")),
            false => Ok(Place { url, folder }),
        }
    }

    fn store(&self, context: &Context) -> Result<(String, String)> {
        if let Some(url) = &self.to {
            return Ok((url.clone(), KERNELS.to_owned()));
        }
        if let Some((route, conf)) = conf(context)? {
            return Ok((route.url, conf.kernels));
        }
        let missing = || {
            CliError::usage("no store is given for boot images")
                .with_hint("add --to URL (s3://KEY:SECRET@host/bucket/prefix, dir:///…)")
                .with_hint("in a config repository, config/rfs.conf or `default` under [stores] of mos.toml names it")
        };
        let default = context.config().ok().map(|_| context.default_store()).transpose()?;
        let url = default.flatten().ok_or_else(missing)?;
        Ok((url, KERNELS.to_owned()))
    }
}

impl Place {
    /// Opens the catalog for writing, and does something with it.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&mos_catalog::Catalog<'_>) -> std::result::Result<T, mos_catalog::CatalogError>,
    ) -> Result<T> {
        let store = stores::open_write(&self.url)?;
        work(&mos_catalog::Catalog::new(&*store, &self.folder)).map_err(catalog_error)
    }
}

/// Whether an image that was built is uploaded too: `UPLOAD_KERNEL`, else what config/rfs.conf says.
pub(crate) fn is_wanted(context: &Context) -> Result<bool> {
    match std::env::var(UPLOAD) {
        Ok(text) => {
            mos_rfs::flag(&text).ok_or_else(|| CliError::usage(format!("{UPLOAD} is `{text}`: write true or false")))
        }
        Err(_) => Ok(read_conf(context)?.is_some_and(|(_, conf): (String, Conf)| conf.upload_kernel)),
    }
}

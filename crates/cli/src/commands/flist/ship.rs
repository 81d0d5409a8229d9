//! What `pack-modules` and `pack-firmware` share: where the flist goes, what it is called, and the copy of it in the store.

use std::path::{Path, PathBuf};

use mos_flist::PackOptions;
use mos_tree::{Tree, directory};

use super::pack::{self, FormatName, Job};
use super::rfs;
use crate::context::Context;
use crate::error::{CliError, Result, io, system};
use crate::stores::StoreArgs;

/// The folder of flists in a store, when nothing else is said.
const MANIFESTS: &str = "manifests";
/// Longest part of a name behind the dash: file systems take 255 bytes, and temporary names are longer.
const LONGEST_TAG: usize = 100;

/// The options of both verbs.
#[derive(Debug, clap::Args)]
pub(crate) struct ShipArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// rfs is the older format, which rfs and myfs read
    #[arg(long, value_name = "FORMAT", default_value = "mos", value_enum)]
    format: FormatName,

    /// Where the flist is written
    #[arg(long, value_name = "DIR", default_value = "dist/flists")]
    output_dir: PathBuf,

    /// Put the flist into the store too, as manifests/NAME.fl [also with UPLOAD_MANIFESTS=true in config/rfs.conf]
    #[arg(long)]
    upload: bool,

    /// The folder of the store that --upload puts flists into [default: that of config/rfs.conf, then manifests]
    #[arg(long, value_name = "PATH", env = "MANIFESTS_SUBPATH", hide_env_values = true)]
    manifests: Option<String>,

    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// Where a tree will go; found out before anything is read.
pub(crate) struct Shipment<'a> {
    args: &'a ShipArgs,
    /// The bucket of an older builder's settings, when they count.
    bucket: Option<StoreArgs>,
    /// The folder of the store that the flist goes to.
    manifests: Option<String>,
}

impl ShipArgs {
    /// Finds out where things go: `--store`, `MOS_STORE`, the settings of an older builder, and at last the default.
    pub(crate) fn open(&self, context: &Context) -> Result<Shipment<'_>> {
        let conf = match self.store.given()?.is_empty() {
            true => rfs::conf(context)?,
            false => None,
        };
        if conf.is_none() {
            self.store.url(context)?;
        }
        let settings = conf.as_ref().map(|(_, conf)| conf);
        let upload = self.upload || settings.is_some_and(|conf| conf.upload_manifests);
        let folder = self.manifests.as_deref();
        let folder = folder
            .or(settings.map(|conf| conf.manifests.as_str()))
            .unwrap_or(MANIFESTS);
        Ok(Shipment {
            args: self,
            manifests: upload.then(|| folder.trim_matches('/').to_owned()),
            bucket: conf.map(|(target, _)| StoreArgs::of(vec![target.url])),
        })
    }
}

impl Shipment<'_> {
    /// Packs, writes `NAME.fl`, uploads it when that was asked, and reports.
    pub(crate) fn send(&self, context: &Context, name: &str, tree: &Tree) -> Result<()> {
        let args = self.args;
        let file = args.output_dir.join(format!("{name}.fl"));
        std::fs::create_dir_all(&args.output_dir).map_err(io(&args.output_dir))?;
        let work = context.ui.work(format!("packing {name}"));
        let report = pack::write(
            context,
            Job {
                tree,
                // The older format looks at the settings itself, for the routes that go into it.
                store: match args.format {
                    FormatName::Mos => self.store(),
                    FormatName::Rfs => &args.store,
                },
                output: &file,
                format: args.format,
                options: PackOptions::default(),
                strip_password: true,
                folder: None,
            },
        )?;
        let uploaded = self.upload(context, name, &file)?;
        drop(work);
        report.print(context, args.json)?;
        uploaded
            .iter()
            .for_each(|place| context.ui.line(format!("Uploaded {place}.")));
        Ok(())
    }

    fn store(&self) -> &StoreArgs {
        self.bucket.as_ref().unwrap_or(&self.args.store)
    }

    fn upload(&self, context: &Context, name: &str, file: &Path) -> Result<Option<String>> {
        let Some(folder) = &self.manifests else { return Ok(None) };
        let name = match folder.as_str() {
            "" => format!("{name}.fl"),
            folder => format!("{folder}/{name}.fl"),
        };
        let store = self.store().write(context)?;
        store.put(&name, &std::fs::read(file).map_err(io(file))?)?;
        Ok(Some(format!("{}/{name}", store.address())))
    }
}

/// `KIND-TAG`, when that can be the name of a file and of an object.
pub(crate) fn name(kind: &str, tag: &str) -> Result<String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._+-~".contains(letter);
    match !tag.is_empty() && tag.len() <= LONGEST_TAG && tag.chars().all(plain) {
        true => Ok(format!("{kind}-{tag}")),
        false => {
            let message = format!("`{}` cannot be part of a file's name", tag.escape_debug());
            Err(CliError::usage(message).with_hint(format!("letters, digits and ._+-~, {LONGEST_TAG} at most")))
        }
    }
}

/// A folder as it will be on nodes: everything belongs to root.
pub(crate) fn read(folder: &Path) -> Result<Tree> {
    let read = directory::read(folder, directory::Options::default());
    read.map_err(|error| system(error.kind(), error.to_string()))
}

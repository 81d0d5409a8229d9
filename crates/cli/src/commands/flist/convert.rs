//! `mos flist convert`.

use std::path::PathBuf;

use mos_flist::PackOptions;
use mos_rfs::{ConvertError, Spooled};

use super::open::{Format, Opened, read_error};
use super::pack::{FormatName, Job, write};
use super::places::check_output;
use crate::context::Context;
use crate::error::{CliError, Result, io, system};
use crate::stores::StoreArgs;

/// Convert an flist to another format, content included
///
/// Everything is read, verified and packed anew into --store; the cache needs room for all content meanwhile. The older format
/// holds no attributes and no hard links, and whole seconds only; the newer one no time of the last change (ctime), no tags
/// and no stores. What is lost is said, each kind once with how often, also in --json.
///
/// Examples: mos flist convert old.fl -o new.fl --to mos --store /srv/store; mos flist convert web.fl -o old.fl --to rfs --from
/// /srv/store --store s3://KEY:SECRET@host:9000/blobs
///
/// Exit codes: 0 fine, 1 it cannot be converted, 3 content is not what was packed, 4 something cannot be found or reached.
#[derive(Debug, clap::Args)]
pub(crate) struct ConvertArgs {
    /// The flist
    #[arg(value_name = "F")]
    file: PathBuf,

    /// Where the new flist is written
    #[arg(long, short, value_name = "G")]
    output: PathBuf,

    /// The new format
    #[arg(long, value_name = "FORMAT")]
    to: FormatName,

    /// Where the old content is [default: the stores that an flist of the older format names, else as --store]
    #[arg(long, value_name = "URL")]
    from: Vec<String>,

    #[command(flatten)]
    store: StoreArgs,

    /// Keep passwords in the stores that an flist of the older format names
    #[arg(long)]
    no_strip_password: bool,

    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(context: &Context, args: &ConvertArgs) -> Result<()> {
    let opened = Opened::open(&args.file)?;
    check_output(&args.output)?;
    let from = StoreArgs::of(args.from.clone());
    let image = match &opened.format {
        Format::Mos(_) if args.from.is_empty() => opened.whole_image(context, &args.store)?,
        _ => opened.whole_image(context, &from)?,
    };
    let cache = context.cache()?;
    std::fs::create_dir_all(&cache).map_err(io(&cache))?;
    let work = context.ui.work(format!("reading {}", args.file.display()));
    let spooled = Spooled::new(&*image, &cache).map_err(convert_error)?;
    drop(work);
    let mut report = write(
        context,
        Job {
            tree: spooled.tree(),
            store: &args.store,
            output: &args.output,
            format: args.to,
            options: PackOptions::default(),
            strip_password: !args.no_strip_password,
            folder: None,
        },
    )?;
    if let Format::Rfs(rfs) = &opened.format {
        report.lose(&rfs.left_behind());
    }
    report.print(context, args.json)
}

fn convert_error(error: ConvertError) -> CliError {
    let message = error.to_string();
    match error {
        ConvertError::Read(error) => read_error(error),
        ConvertError::Spool { source, .. } => system(source.kind(), message),
        _ => CliError::problem(message),
    }
}

//! `mos image upload`, and the upload that `UPLOAD_KERNEL` asks for after a build.

use std::path::{Path, PathBuf};

use mos_build::BuiltImage;
use mos_catalog::{Entry, Upload, Uploaded, is_versioned, name_of};

use crate::commands::kernels::{Place, PlaceArgs, is_wanted};
use crate::context::{Context, now};
use crate::error::{CliError, Result};
use crate::pipeline::Pipeline;
use crate::{output, ui};

/// Put a boot image into a bucket or folder, by its versioned name, and into the index beside it
///
/// With --env alone the environment's image is built if need be. It is put below the store's prefix as
/// kernel/vmlinuz-{VERSION}-{HASH}.efi, where kernels.txt (a name per line) and kernels.json list all images for web pages and
/// scripts. Several uploads may go on at once: none is lost. UPLOAD_KERNEL=true makes `mos build` and `mos image build` do this
/// as well.
///
/// Examples: mos image upload --env dev --to s3://KEY:SECRET@host:3900/mos/flists/mos_builder?region=garage;
/// mos image upload dist/vmlinuz.efi --to /srv/images --release 12
///
/// Exit codes: 0 fine or already there, 1 the store refused, 4 something cannot be found or reached, 5 another image has that
/// name.
#[derive(Debug, clap::Args)]
pub(crate) struct UploadArgs {
    /// An EFI file that is there [default: the environment's image]
    #[arg(required_unless_present = "env")]
    file: Option<PathBuf>,

    /// The environment, a file in environments/; with a file, only what the index says
    #[arg(long)]
    env: Option<String>,

    #[command(flatten)]
    place: PlaceArgs,

    /// The release that the index says the image belongs to
    #[arg(long, value_name = "NAME")]
    release: Option<String>,

    /// The name of the image [default: that of the file when it is a versioned one, else by kernel and content]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Print the entry of the image as JSON
    #[arg(long)]
    json: bool,
}

/// An image that shall be uploaded.
struct Image {
    bytes: Vec<u8>,
    name: String,
    kernel: Option<String>,
    environment: Option<String>,
}

pub(crate) fn run(context: &Context, args: &UploadArgs) -> Result<()> {
    let place = args.place.find(context)?;
    let mut image = match (&args.file, &args.env) {
        (Some(file), environment) => of_file(file, environment.as_deref())?,
        (None, Some(environment)) => {
            let mut pipeline = Pipeline::open(context, environment)?;
            of_build(&pipeline.image()?, environment)?
        }
        (None, None) => unreachable!("clap asks for one of the two"),
    };
    if let Some(name) = &args.name {
        image.name.clone_from(name);
    }
    let entry = upload(context, &place, image, args.release.clone())?;
    if args.json { output::json(&entry) } else { Ok(()) }
}

/// Uploads an image that was just built, when `UPLOAD_KERNEL` or config/rfs.conf says so.
pub(crate) fn if_wanted(context: &Context, image: &BuiltImage, environment: &str) -> Result<()> {
    if !is_wanted(context)? {
        return Ok(());
    }
    let place = PlaceArgs::default().find(context)?;
    upload(context, &place, of_build(image, environment)?, None).map(drop)
}

fn upload(context: &Context, place: &Place, image: Image, release: Option<String>) -> Result<Entry> {
    let now = now()?;
    let work = context.ui.work(format!("uploading {}", image.name));
    let (entry, uploaded, at) = place.with(|catalog| {
        let mut entry = Entry::new(&image.name, &image.bytes, now)?;
        (entry.kernel, entry.environment, entry.release) = (image.kernel, image.environment, release);
        let upload = Upload {
            entry: entry.clone(),
            bytes: &image.bytes,
        };
        let uploaded = catalog.upload(&upload)?;
        catalog.reindex(now)?;
        Ok((entry, uploaded, catalog.place()))
    })?;
    drop(work);
    let size = ui::bytes(entry.size);
    Ok(match uploaded {
        Uploaded::New => {
            context.ui.line(format!("Uploaded {at}/{}, {size}.", entry.name));
            entry
        }
        Uploaded::Already(known) => {
            context.ui.line(format!(
                "{at}/{} is there since {}, {size}.",
                entry.name, known.uploaded
            ));
            known
        }
    })
}

fn of_build(image: &BuiltImage, environment: &str) -> Result<Image> {
    Ok(Image {
        bytes: super::read(&image.efi)?,
        name: image.versioned_name(),
        kernel: Some(image.report.kernel.clone()),
        environment: Some(environment.to_owned()),
    })
}

fn of_file(path: &Path, environment: Option<&str>) -> Result<Image> {
    let bytes = super::read(path)?;
    let sections = mos_boot::uki::extract(&bytes);
    let sections = sections.map_err(|error| CliError::problem(format!("{}: {error}", path.display())))?;
    let kernel = sections.get(".uname").map(|text| {
        let text = String::from_utf8_lossy(text);
        text.trim_end_matches(['\0', '\n']).to_owned()
    });
    let own = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Image {
        name: match is_versioned(&own) {
            true => own,
            false => name_of(kernel.as_deref(), &bytes),
        },
        kernel,
        bytes,
        environment: environment.map(str::to_owned),
    })
}

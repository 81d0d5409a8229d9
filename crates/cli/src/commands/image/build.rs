//! `mos image build`.

use std::path::{Path, PathBuf};

use mos_build::{BuiltImage, ImageReport};

use crate::context::Context;
use crate::error::Result;
use crate::pipeline::{Pipeline, deliver};
use crate::{output, ui};

/// Build the boot image of an environment: vmlinuz.efi, which firmware starts as it is
///
/// Base packages, a packaged kernel with the modules asked for and all they need, my_init, mos-node, services, settings and
/// the key to trust, in a reproducible initramfs; as an ordinary user, without a container.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// The environment, a file in environments/
    #[arg(long)]
    env: String,

    /// Where vmlinuz.efi and the initramfs are put
    #[arg(long, value_name = "DIR", default_value = "dist")]
    output_dir: PathBuf,

    /// Print what the image is made of as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(context: &Context, args: &BuildArgs) -> Result<()> {
    let mut pipeline = Pipeline::open(context, &args.env)?;
    let image = pipeline.image()?;
    let efi = deliver_image(&image, &args.output_dir)?;
    if args.json {
        output::json(&image.report)?;
    } else {
        output::line(sizes(&image.report))?;
        context.ui.line(format!("Wrote {}.", efi.display()));
    }
    Ok(())
}

/// Copies the image and its initramfs into a folder; returns the EFI file.
pub(crate) fn deliver_image(image: &BuiltImage, folder: &Path) -> Result<PathBuf> {
    for file in [&image.efi, &image.initramfs] {
        deliver(file, &folder.join(file.file_name().unwrap_or_default()))?;
    }
    Ok(folder.join(image.efi.file_name().unwrap_or_default()))
}

/// The sizes of an image, part by part.
pub(crate) fn sizes(report: &ImageReport) -> String {
    let row = |name: &str, bytes: u64| vec![name.to_owned(), ui::bytes(bytes)];
    let mut rows = vec![
        row("vmlinuz.efi", report.efi_bytes),
        row(&format!("  kernel {}", report.kernel), report.kernel_bytes),
        row("  initramfs, compressed", report.initramfs_bytes),
    ];
    rows.extend(
        report
            .parts
            .iter()
            .map(|part| row(&format!("    {}", part.name), part.bytes)),
    );
    ui::table(&["BOOT IMAGE", "SIZE"], &rows)
}

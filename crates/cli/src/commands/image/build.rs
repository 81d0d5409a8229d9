//! `mos image build`.

use std::path::{Path, PathBuf};

use mos_build::{BuiltImage, CONFIG_FILE, CONTENTS_FILE, ImageReport, OutputFile, Part};
use mos_channel::statement;
use mos_config::ImageOutput;
use serde::Serialize;

use crate::commands::image::upload;
use crate::context::Context;
use crate::error::{Result, io};
use crate::pipeline::{self, Pipeline, build_error};
use crate::{output, ui};

/// Build the boot image of an environment: vmlinuz.efi, which firmware starts as it is
///
/// Base packages, a packaged kernel with the modules asked for and all they need, my_init, mos-node, services, settings and
/// the key to trust, in a reproducible initramfs; as an ordinary user, without a container. With UPLOAD_KERNEL=true the image
/// is uploaded too, as `mos image upload` does.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// The environment, a file in environments/
    #[arg(long)]
    env: String,

    /// Where the outputs are put
    #[arg(long, value_name = "DIR", default_value = "dist")]
    output_dir: PathBuf,

    /// What to make: efi, versioned (vmlinuz-{VERSION}-{HASH}.efi), initramfs, raw, qcow2, iso, pxe; `all`
    /// [default: `outputs` of the environment's `[image]`, or efi,initramfs]
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kinds)]
    output: Vec<Kinds>,

    /// Print what the image is made of as JSON
    #[arg(long)]
    json: bool,
}

/// One kind of output, or all.
#[derive(Debug, Clone)]
struct Kinds(Vec<ImageOutput>);

fn kinds(text: &str) -> std::result::Result<Kinds, String> {
    if text == "all" {
        return Ok(Kinds(ImageOutput::ALL.map(|(_, kind)| kind).to_vec()));
    }
    ImageOutput::from_name(text)
        .map(|kind| Kinds(vec![kind]))
        .ok_or_else(|| {
            let names = ImageOutput::ALL.map(|(name, _)| name);
            format!("no such kind of output; use some of: {}, all", names.join(", "))
        })
}

/// What `--json` prints.
#[derive(Serialize)]
struct Made<'m> {
    #[serde(flatten)]
    report: &'m ImageReport,
    outputs: &'m [OutputFile],
}

pub(crate) fn run(context: &Context, args: &BuildArgs) -> Result<()> {
    let mut pipeline = Pipeline::open(context, &args.env)?;
    let image = pipeline.image()?;
    let mut kinds: Vec<ImageOutput> = args.output.iter().flat_map(|kinds| kinds.0.clone()).collect();
    if kinds.is_empty() {
        kinds.clone_from(&pipeline.plan.image.outputs);
    }
    kinds.sort();
    kinds.dedup();
    let outputs = deliver(&pipeline, &image, &kinds, &args.output_dir)?;
    if args.json {
        let report = &image.report;
        output::json(&Made {
            report,
            outputs: &outputs,
        })?;
    } else {
        output::line(sizes(&image.report))?;
        tell(context, &outputs);
    }
    upload::if_wanted(context, &image, &args.env)
}

/// From what an image was made, and the same signed.
const PROVENANCE: &str = "provenance.json";
const SEALED_PROVENANCE: &str = "provenance.dsse.json";

fn tell(context: &Context, outputs: &[OutputFile]) {
    for file in outputs {
        let what = if file.written { "Wrote" } else { "Unchanged:" };
        context
            .ui
            .line(format!("{what} {}, {}.", file.path.display(), ui::bytes(file.bytes)));
    }
}

/// Puts an image's outputs into a folder, and the record of what is in it.
fn deliver(
    pipeline: &Pipeline<'_>,
    image: &BuiltImage,
    kinds: &[ImageOutput],
    folder: &Path,
) -> Result<Vec<OutputFile>> {
    let files = mos_build::write_outputs(image, &pipeline.plan.image, kinds, folder).map_err(build_error)?;
    // The records for `mos image explain`, `size` and `diff`: no outputs that anybody asks for.
    for name in [CONTENTS_FILE, CONFIG_FILE] {
        pipeline::deliver(&image.contents.with_file_name(name), &folder.join(name))?;
    }
    for document in pipeline.documents(image)? {
        pipeline::place(document.text.as_bytes(), &folder.join(document.name))?;
        if document.name == PROVENANCE {
            seal(pipeline, &document.text, &folder.join(SEALED_PROVENANCE))?;
        }
    }
    Ok(files)
}

/// Writes a statement signed by the key of the environment's releases. Where that is not at hand, none stays: it would be
/// of another image.
fn seal(pipeline: &Pipeline<'_>, text: &str, path: &Path) -> Result<()> {
    match pipeline.release_key()? {
        Some(pair) => pipeline::place(&statement::seal(text.as_bytes(), &pair), path),
        None => match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(path)(error)),
            _ => Ok(()),
        },
    }
}

/// Puts what the environment wants of an image into a folder, the EFI file in any case; returns that.
pub(crate) fn deliver_image(pipeline: &Pipeline<'_>, image: &BuiltImage, folder: &Path) -> Result<PathBuf> {
    let mut kinds = pipeline.plan.image.outputs.clone();
    kinds.push(ImageOutput::Efi);
    kinds.sort();
    kinds.dedup();
    deliver(pipeline, image, &kinds, folder)?;
    Ok(folder.join(image.efi.file_name().unwrap_or_default()))
}

/// The sizes of an image, part by part.
pub(crate) fn sizes(report: &ImageReport) -> String {
    let row = |name: &str, bytes: u64| vec![name.to_owned(), ui::bytes(bytes), String::new()];
    // Around its initramfs a kernel compresses both together.
    let around = report.kernel_bytes + report.initramfs_bytes > report.efi_bytes;
    let initramfs = if around { "uncompressed" } else { "compressed" };
    let mut rows = vec![
        row("vmlinuz.efi", report.efi_bytes),
        row(&format!("  kernel {}", report.kernel), report.kernel_bytes),
        row(&format!("  initramfs, {initramfs}"), report.initramfs_bytes),
    ];
    let part = |part: &Part| {
        vec![
            format!("    {}", part.name),
            ui::bytes(part.bytes),
            part.files.to_string(),
        ]
    };
    rows.extend(report.parts.iter().map(part));
    ui::table(&["BOOT IMAGE", "SIZE", "FILES"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_output_are_known_by_name() {
        assert_eq!(kinds("iso").unwrap().0, [ImageOutput::Iso]);
        assert_eq!(kinds("all").unwrap().0.len(), ImageOutput::ALL.len());
        let refused = kinds("vhd").unwrap_err();
        assert!(refused.contains("qcow2") && refused.contains("all"), "{refused}");
    }
}

//! `mos image inspect`.

use std::path::PathBuf;

use serde::Serialize;

use crate::error::{CliError, Result};
use crate::{output, ui};

/// Show what an EFI file is made of: sections, command line, kernel version, os-release
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// The file
    #[arg(default_value = "dist/vmlinuz.efi")]
    file: PathBuf,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Image {
    bytes: u64,
    command_line: Option<String>,
    kernel: Option<String>,
    os_release: Option<String>,
    sections: Vec<Section>,
}

#[derive(Serialize)]
struct Section {
    name: String,
    bytes: u64,
}

pub(crate) fn run(args: &InspectArgs) -> Result<()> {
    let bytes = super::read(&args.file)?;
    let unreadable = |error| CliError::problem(format!("{}: {error}", args.file.display()));
    let sections = mos_boot::uki::extract(&bytes).map_err(unreadable)?;
    let text = |name: &str| {
        let content = String::from_utf8_lossy(sections.get(name)?);
        Some(content.trim_end_matches(['\0', '\n']).to_owned())
    };
    let image = Image {
        bytes: bytes.len() as u64,
        command_line: text(".cmdline"),
        // A kernel with everything in it has no sections that tell.
        kernel: text(".uname").or_else(|| mos_boot::uki::kernel_banner(&bytes)),
        os_release: text(".osrel"),
        sections: sections
            .iter()
            .map(|(name, content)| Section {
                name: name.clone(),
                bytes: content.len() as u64,
            })
            .collect(),
    };
    if args.json {
        output::json(&image)
    } else {
        output::line(summary(&image))
    }
}

/// The sections as a table, and what a person asks first.
fn summary(image: &Image) -> String {
    let section = |it: &Section| vec![it.name.clone(), ui::bytes(it.bytes)];
    let rows: Vec<Vec<String>> = image.sections.iter().map(section).collect();
    let mut lines = vec![ui::table(&["SECTION", "SIZE"], &rows)];
    let facts = [("kernel", &image.kernel), ("command line", &image.command_line)];
    let known = facts.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    lines.extend(known.map(|(name, value)| format!("{name}: {value}")));
    lines.extend(image.os_release.clone());
    lines.join("\n")
}

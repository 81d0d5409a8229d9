//! `mos doctor`.

use std::path::PathBuf;

use serde::Serialize;

use crate::context::Context;
use crate::error::{CliError, Kind, Result};
use crate::{output, ui};

/// Check that the tools which MOS calls are there, and say which package brings each
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// A tool: program, what it is needed for, Debian package.
const TOOLS: [(&str, &str, &str); 7] = [
    ("cargo", "building components", "cargo (or rustup)"),
    ("git", "fetching components", "git"),
    ("cc", "building components", "gcc"),
    ("apt-get", "base packages and the kernel", "apt"),
    ("apt-cache", "base packages and the kernel", "apt"),
    ("qemu-system-x86_64", "mos run", "qemu-system-x86"),
    ("mkfs.ext4", "state disks of mos run", "e2fsprogs"),
];

#[derive(Serialize)]
struct Tool {
    name: &'static str,
    needed_for: &'static str,
    package: &'static str,
    found: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &DoctorArgs) -> Result<()> {
    let tools: Vec<Tool> = TOOLS
        .iter()
        .map(|&(name, needed_for, package)| tool(name, needed_for, package))
        .collect();
    if args.json {
        output::json(&tools)?;
    } else {
        let rows: Vec<Vec<String>> = tools.iter().map(cells).collect();
        output::line(ui::table(&["TOOL", "FOUND", "NEEDED FOR"], &rows))?;
    }
    let missing: Vec<&str> = tools
        .iter()
        .filter(|tool| tool.found.is_none())
        .map(|tool| tool.package)
        .collect();
    if missing.is_empty() {
        context.ui.line("Everything is there.");
        return Ok(());
    }
    Err(CliError::new(
        Kind::NotFound,
        format!("{} of {} tools are missing", missing.len(), tools.len()),
    )
    .with_hint(format!("sudo apt-get install {}", missing.join(" "))))
}

fn tool(name: &'static str, needed_for: &'static str, package: &'static str) -> Tool {
    Tool {
        name,
        needed_for,
        package,
        found: find(name),
    }
}

fn cells(tool: &Tool) -> Vec<String> {
    let found = tool.found.as_ref().map_or_else(
        || format!("missing: {}", tool.package),
        |path| path.display().to_string(),
    );
    vec![tool.name.into(), found, tool.needed_for.into()]
}

/// Looks a program up in `PATH`, and in the folders of system programs that an ordinary user's may lack.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

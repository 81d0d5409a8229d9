//! `mos completions` and `mos man`.

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::Cli;
use crate::context::Context;
use crate::error::{Result, io};
use crate::output;

/// Print the completion script of a shell
///
/// For bash: mos completions bash > ~/.local/share/bash-completion/completions/mos
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Write the manual pages of mos and all its verbs into a folder
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The folder, such as ~/.local/share/man/man1
    directory: PathBuf,
}

pub(crate) fn completions(args: &CompletionsArgs) -> Result<()> {
    // Into memory first: the generator panics when its output cannot be written.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mos", &mut script);
    output::print(&script)
}

pub(crate) fn man(context: &Context, args: &ManArgs) -> Result<()> {
    std::fs::create_dir_all(&args.directory).map_err(io(&args.directory))?;
    clap_mangen::generate_to(Cli::command(), &args.directory).map_err(io(&args.directory))?;
    context
        .ui
        .line(format!("Manual pages written to {}.", args.directory.display()));
    Ok(())
}

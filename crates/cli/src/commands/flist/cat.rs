//! `mos flist cat`.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use mos_flist::ReadError;

use super::open::{Opened, read_error};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::stores::StoreArgs;

/// Print the content of a file of an flist
///
/// Fetches only what the file needs; no byte is printed before its digest was checked. Symbolic links are not followed.
///
/// Example: mos flist cat web.fl etc/os-release --store https://releases.example.org/dev
#[derive(Debug, clap::Args)]
pub(crate) struct CatArgs {
    /// The flist
    #[arg(value_name = "F")]
    file: PathBuf,

    /// A path in it
    path: String,

    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) fn run(context: &Context, args: &CatArgs) -> Result<()> {
    let flist = Opened::open(&args.file)?;
    let entry = flist.find(&args.path, &args.file)?;
    if entry.size().is_none() {
        let message = format!("{}: {} is not a regular file", args.file.display(), args.path);
        return Err(CliError::usage(message));
    }
    let image = flist.image(context, &args.store)?;
    let written = image.read_file(&entry, &mut io::stdout().lock());
    match written {
        // Who closes the pipe has seen enough.
        Err(ReadError::Write { source, .. }) if source.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(read_error(error)),
        Ok(()) => flush(),
    }
}

fn flush() -> Result<()> {
    match io::stdout().flush() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CliError::problem(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

//! `mos flist unpack`.

use std::path::PathBuf;

use mos_flist::{UnpackError, UnpackOptions, Unpacked, unpack};
use serde::Serialize;

use super::open::{Opened, read_error, show, shown};
use crate::context::Context;
use crate::error::{CliError, Kind, Result, system};
use crate::stores::StoreArgs;
use crate::{output, ui};

/// Write the tree of an flist into a folder
///
/// Each file appears complete or not at all, and nothing is written outside the folder. Files of the same names are replaced,
/// others stay. What is there already as it should be is kept: after an interruption, running it again goes on. As root, owners, all attributes and device nodes are set; as an ordinary user, device nodes are left out and
/// everything belongs to that user.
///
/// Example: mos flist unpack web.fl /srv/web --store https://releases.example.org/dev
///
/// Exit codes: 0 fine, 1 the disk failed, 3 the store's content is not what was packed, 4 not found or offline, 5 another unpack
/// works in the folder.
#[derive(Debug, clap::Args)]
pub(crate) struct UnpackArgs {
    /// The flist
    #[arg(value_name = "F")]
    file: PathBuf,

    /// The folder; made when missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    #[command(flatten)]
    store: StoreArgs,

    /// Read what is there already too, and write it anew when its content is another; by default size, time, mode and owner
    /// are looked at
    #[arg(long)]
    paranoid: bool,

    /// Files that are written at a time [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    threads: Option<u16>,

    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    names: u64,
    /// Of these, names that were there already.
    kept: u64,
    bytes: u64,
    /// Device nodes that only root can make.
    left_out: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &UnpackArgs) -> Result<()> {
    let flist = Opened::open(&args.file)?;
    let image = flist.whole_image(context, &args.store)?;
    let text = format!("unpacking {}", args.file.display());
    let work = context.ui.transfer(text, Some(flist.content_length()));
    let done = unpack(&*image, &args.directory, &options(args), &shown(&work)).map_err(unpack_error)?;
    drop(work);
    report(context, args, &done)
}

fn options(args: &UnpackArgs) -> UnpackOptions {
    let default = UnpackOptions::default();
    UnpackOptions {
        paranoid: args.paranoid,
        threads: args.threads.map_or(default.threads, usize::from),
        ..default
    }
}

fn report(context: &Context, args: &UnpackArgs, done: &Unpacked) -> Result<()> {
    let left_out: Vec<String> = done.left_out.iter().map(|path| show(path)).collect();
    if !left_out.is_empty() {
        let list = left_out.join(", ");
        context
            .ui
            .line(format!("Left out, since only root can make device nodes: {list}."));
    }
    if args.json {
        return output::json(&Report {
            names: done.names,
            kept: done.kept,
            bytes: done.bytes,
            left_out,
        });
    }
    let (names, bytes, place) = (done.names, ui::bytes(done.bytes), args.directory.display());
    let kept = match done.kept {
        0 => String::new(),
        kept => format!("; {} there already", ui::count(kept, "file")),
    };
    context
        .ui
        .line(format!("Unpacked {names} names, {bytes}, into {place}{kept}."));
    Ok(())
}

fn unpack_error(error: UnpackError) -> CliError {
    let message = error.to_string();
    match error {
        UnpackError::Read(error) => read_error(error),
        UnpackError::Io { source, .. } if source.kind() == std::io::ErrorKind::IsADirectory => {
            CliError::problem(message).with_hint("a folder stands where the flist has something else: move it away")
        }
        UnpackError::Io { source, .. } => system(source.kind(), message),
        UnpackError::Busy(_) => CliError::new(Kind::Conflict, message),
        _ => CliError::problem(message),
    }
}

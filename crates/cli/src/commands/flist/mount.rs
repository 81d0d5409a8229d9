//! `mos flist mount`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mos_flist::Image;
use mos_mount::{How, MountError, MountOptions, Mounted, Prefetch, Source, TRIES, mount, parse_list, patience, reader};
use mos_store::{Cached, Read};
use mos_sys::signals::Signals;
use serde::Serialize;

use super::daemon;
use super::open::{Format, Opened, read_error};
use crate::context::Context;
use crate::error::{CliError, Kind, Result, io, system};
use crate::output;
use crate::stores::StoreArgs;

/// Mount an flist at a folder
///
/// `kernel`: root, all content local; the kernel serves it and no process stays. `fuse`: a daemon serves it, content arrives
/// as it is read, and files that are complete are read by the kernel itself where it can. `auto` takes the first that is
/// possible, and says which and why, for instance what the kernel lacks. Nothing unverified is ever read; a store that is
/// away is an I/O error after --wait, never a hang.
///
/// Content is kept in the folder `flist` of the cache (--cache DIR), and is checked again when it is doubtful.
///
/// Without --daemon the command stays until the folder is unmounted or Ctrl-C is pressed, unless the kernel serves it.
///
/// Examples: mos flist mount web.fl /mnt --store https://releases.example.org/dev --daemon; mos flist mount web.fl /mnt
/// --prefetch all --how kernel; mos flist mount web.fl /mnt --trace-to start.list, then --prefetch start.list
///
/// Exit codes: 0 fine, 1 it cannot be mounted, 3 content is not what was packed, 4 something cannot be found or reached,
/// 5 something is mounted there already.
#[derive(Debug, clap::Args)]
pub(crate) struct MountArgs {
    /// The flist
    #[arg(value_name = "F")]
    file: PathBuf,

    /// The folder
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    #[command(flatten)]
    store: StoreArgs,

    /// auto, fuse or kernel
    #[arg(long, value_name = "HOW", default_value = "auto")]
    how: How,

    /// GiB of content that may be kept, in the folder `flist` of the cache
    #[arg(long, value_name = "N", default_value_t = 10)]
    cache_size: u32,

    /// Read what is kept of this flist first, and fetch again what is damaged
    #[arg(long)]
    check_cache: bool,

    /// Keep serving in the background, and return when the mount answers
    #[arg(long)]
    daemon: bool,

    /// Where a daemon writes what an operator should know, such as which content is damaged [default: a file in the folder
    /// `logs` of the cache, named after DIR and begun anew by each mount there; the mount says which]
    #[arg(long, value_name = "FILE", requires = "daemon")]
    log: Option<PathBuf>,

    /// Fetch ahead: a file with one path per line, as --trace-to writes it, or `all`
    #[arg(long, value_name = "LIST")]
    prefetch: Option<String>,

    /// Write the path of each file that is read, in order of first use
    #[arg(long, value_name = "LIST")]
    trace_to: Option<PathBuf>,

    /// Let the mount be written to; what is written goes into this folder
    #[arg(long, value_name = "UPPER")]
    writable: Option<PathBuf>,

    /// How many seconds a read waits for the store
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u32,

    /// Print how it is mounted as JSON
    #[arg(long)]
    json: bool,

    /// This is the daemon
    #[arg(long, hide = true, env = daemon::VARIABLE)]
    serving: bool,
}

/// Signals that end a mount in the foreground: SIGHUP, SIGINT, SIGTERM.
const ENDING: [i32; 3] = [1, 2, 15];
/// The folder of the cache that content is kept in.
const CACHE: &str = "flist";
/// The folder in that for pieces of blobs, when the store is not on this machine.
const BLOBS: &str = "blobs";

#[derive(Serialize)]
struct Report {
    directory: String,
    way: String,
    why: String,
    /// The process that serves it, if one does.
    process: Option<u32>,
    /// Where that writes what an operator should know.
    log: Option<String>,
}

pub(crate) fn run(context: &Context, args: &MountArgs) -> Result<()> {
    if args.daemon && !args.serving {
        return daemon::start();
    }
    let log = match args.serving {
        true => {
            daemon::detach();
            let path = match &args.log {
                Some(path) => path.clone(),
                None => daemon::log_file(&context.cache()?, &args.directory)?,
            };
            Some((daemon::log(&path)?, path))
        }
        false => None,
    };
    // Blocked before there are threads, so that no thread takes them.
    let signals = Signals::new(&ENDING).map_err(|error| CliError::problem(format!("signals: {error}")))?;
    let source = source(context, args)?;
    let options = options(context, args)?;
    let work = context.ui.work(format!("mounting {}", args.file.display()));
    let mounted = mount(source, &args.directory, &options).map_err(mount_error)?;
    drop(work);
    report(context, args, &mounted, log.as_ref().map(|(_, path)| path.as_path()))?;
    if let Some((log, _)) = &log {
        daemon::ready(log)?;
    }
    mounted.serve(&signals).map_err(mount_error)
}

fn source(context: &Context, args: &MountArgs) -> Result<Source> {
    let opened = Opened::open(&args.file)?;
    let (image, flist): (Arc<dyn Image>, _) = match &opened.format {
        Format::Mos(flist) => {
            let reader = reader(flist.clone(), store(context, args)?);
            (Arc::new(reader), Some(flist.clone()))
        }
        Format::Rfs(_) => (opened.image(context, &args.store)?, None),
    };
    Ok(Source {
        image,
        flist,
        name: args.file.display().to_string(),
    })
}

/// The store; what comes from another machine is kept.
fn store(context: &Context, args: &MountArgs) -> Result<Arc<dyn Read>> {
    let store = args.store.read_with(context, &patience(TRIES))?;
    if args.store.is_local(context) {
        return Ok(store);
    }
    let folder = cache(context)?.join(BLOBS);
    Ok(Arc::new(Cached::new(store, folder, gib(args.cache_size))))
}

fn cache(context: &Context) -> Result<PathBuf> {
    Ok(context.cache()?.join(CACHE))
}

fn gib(count: u32) -> u64 {
    u64::from(count) << 30
}

fn options(context: &Context, args: &MountArgs) -> Result<MountOptions> {
    Ok(MountOptions {
        how: args.how,
        cache: Some(cache(context)?),
        cache_bytes: gib(args.cache_size),
        check: args.check_cache,
        local_store: args.store.is_local(context),
        wait: Duration::from_secs(args.wait.into()),
        writable: args.writable.clone(),
        trace_to: args.trace_to.clone(),
        prefetch: prefetch(args.prefetch.as_deref())?,
        log: Arc::new(|line| output::say(line)),
        ..MountOptions::default()
    })
}

fn prefetch(list: Option<&str>) -> Result<Prefetch> {
    match list {
        None => Ok(Prefetch::Nothing),
        Some("all") => Ok(Prefetch::All),
        Some(file) => {
            let list = std::fs::read(file).map_err(io(file.as_ref()))?;
            Ok(Prefetch::Paths(parse_list(&list)))
        }
    }
}

fn report(context: &Context, args: &MountArgs, mounted: &Mounted, log: Option<&Path>) -> Result<()> {
    // Without a daemon nobody writes to it.
    let log = log.filter(|_| mounted.needs_this_process());
    let (way, why) = (mounted.way().to_string(), mounted.why().to_owned());
    let place = mounted.place().display().to_string();
    if args.json {
        let process = mounted.needs_this_process().then(std::process::id);
        return output::json(&Report {
            directory: place,
            way,
            why,
            process,
            log: log.map(|path| path.display().to_string()),
        });
    }
    let until = match mounted.needs_this_process() && !args.serving {
        true => "; Ctrl-C unmounts it",
        false => "",
    };
    context.ui.line(format!("Mounted at {place} by {way}: {why}{until}."));
    if let Some(log) = log {
        context
            .ui
            .line(format!("What goes wrong is written to {}.", log.display()));
    }
    Ok(())
}

/// What keeps a mount from coming or going.
pub(crate) fn mount_error(error: MountError) -> CliError {
    let message = error.to_string();
    match error {
        MountError::Read(error) => read_error(error),
        MountError::Io { source, .. } => system(source.kind(), message),
        MountError::Place { .. } => CliError::new(Kind::Conflict, message),
        MountError::Impossible { way: "kernel", .. } => {
            CliError::problem(message).with_hint("--how auto takes the way that is possible")
        }
        _ => CliError::problem(message),
    }
}

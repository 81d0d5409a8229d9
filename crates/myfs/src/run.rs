//! What the verbs do.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use mos_flist::{Flist, FlistError, ReadError};
use mos_mount::{MountError, MountOptions, Prefetch, Source, TRIES, Unmounted, daemon, reader};
use mos_store::{Address, Authorities, Cached, Options, Read, Routes, StoreError};
use mos_sys::signals::Signals;

use crate::arguments::{IN_BACKGROUND, Mount};

/// SIGINT and SIGTERM (signal(7)).
pub(crate) const END: [i32; 2] = [2, 15];
/// Who may vouch for the servers of a node: what `mos-node` believes about its channel, from the signed boot image.
const AUTHORITIES: &str = "etc/mos/ca.pem";
const AUTHORITIES_HINT: &str =
    "name a PEM file with the server's authority in `ca` of the environment and make a new image, or in SSL_CERT_FILE";

/// Why the program stops.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Flist { path: PathBuf, source: FlistError },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("--store is missing: where is the content?")]
    NoStore,
    #[error("the background process ended: {0}")]
    Ended(std::process::ExitStatus),
}

impl Failure {
    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::NoStore | Self::Store(StoreError::BadUrl { .. }) => 2,
            Self::Store(StoreError::Unreachable { .. } | StoreError::NotFound { .. }) => 4,
            Self::Flist { .. } | Self::Read(ReadError::Tampered { .. }) => 3,
            Self::Mount(MountError::Read(ReadError::Tampered { .. })) => 3,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => 4,
            Self::Read(ReadError::Store { .. }) | Self::Mount(MountError::Read(ReadError::Store { .. })) => 4,
            // What the background process found out; it has told why.
            Self::Ended(status) => status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
            _ => 1,
        }
    }
}

/// `myfs mount`.
pub(crate) fn mount(mount: Mount) -> ExitCode {
    let say = say(mount.in_background);
    let done = match mount.daemon && !mount.in_background {
        true => to_background(mount.log.as_deref()),
        false => serve(mount, say),
    };
    ended(done, say)
}

/// `myfs unmount`.
pub(crate) fn unmount(directory: &Path) -> ExitCode {
    let done = mos_mount::unmount(directory).map(|how| {
        if how == Unmounted::Lazy {
            eprintln!(
                "myfs: {}: still in use; it ends with its last user",
                directory.display()
            );
        }
    });
    ended(done.map_err(Failure::from), say(false))
}

/// Where messages go while somebody waits for them: the process that started us in the background takes them from our
/// standard output.
fn say(in_background: bool) -> fn(&str) {
    match in_background {
        true => |line| println!("myfs: {line}"),
        false => |line| eprintln!("myfs: {line}"),
    }
}

fn ended(done: Result<(), Failure>, say: fn(&str)) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Ended(status)) => Failure::Ended(status).code().into(),
        Err(error) => {
            say(&error.to_string());
            error.code().into()
        }
    }
}

/// Runs the same line again, in the background.
fn to_background(log: Option<&Path>) -> Result<(), Failure> {
    let failed = |source| Failure::Io {
        path: log.unwrap_or(Path::new("/proc/self/exe")).to_owned(),
        source,
    };
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command
        .args(std::env::args_os().skip(1))
        .arg(format!("--{IN_BACKGROUND}"));
    daemon::start(&mut command, log)
        .map_err(failed)?
        .map_err(Failure::Ended)
}

fn serve(mut mount: Mount, say: fn(&str)) -> Result<(), Failure> {
    mos_sys::memory::give_back();
    // Before there are threads, so that all of them leave the signals alone.
    let signals = Signals::new(&END).map_err(io_error(&mount.directory))?;
    if let Some(path) = &mount.prefetch {
        let list = std::fs::read(path).map_err(io_error(path))?;
        mount.options.prefetch = Prefetch::Paths(mos_mount::parse_list(&list));
    }
    mount.options.log = Arc::new(|line| eprintln!("myfs: {line}"));
    let url = mount.store.as_deref().ok_or(Failure::NoStore)?;
    let source = source(&mount.flist, url, &mut mount.options, &patience(TRIES, Path::new("/")))?;
    let mounted = mos_mount::mount(source, &mount.directory, &mount.options)?;
    say(&format!(
        "{}: {} ({})",
        mount.directory.display(),
        mounted.way(),
        mounted.why()
    ));
    let stays = mounted.needs_this_process();
    if let Some(path) = mount.pidfile.as_deref().filter(|_| stays) {
        std::fs::write(path, format!("{}\n", std::process::id())).map_err(io_error(path))?;
    }
    if mount.in_background {
        daemon::ready().map_err(io_error(&mount.directory))?;
    }
    let done = mounted.serve(&signals);
    if let Some(path) = mount.pidfile.as_deref().filter(|_| stays) {
        // Somebody else may have removed it.
        let _ = std::fs::remove_file(path);
    }
    Ok(done?)
}

/// Tells where something went wrong.
pub(crate) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Failure + use<> {
    let path = path.to_owned();
    move |source| Failure::Io { path, source }
}

/// An flist and its store.
pub(crate) fn source(
    path: &Path,
    url: &str,
    options: &mut MountOptions,
    patience: &Options,
) -> Result<Source, Failure> {
    let bytes = std::fs::read(path).map_err(io_error(path))?;
    let flist = Flist::parse(bytes).map_err(|source| Failure::Flist {
        path: path.to_owned(),
        source,
    })?;
    let routes = Routes::parse(url)?;
    let local = routes
        .as_slice()
        .iter()
        .all(|route| matches!(route.address, Address::Dir(_)));
    options.local_store = local;
    let store: Arc<dyn Read> = mos_store::open_read_with(url, patience)?.into();
    // What is far away is kept; what is on a local disk already would only be there twice.
    let store = match options.cache.as_ref().filter(|_| !local) {
        Some(cache) => Arc::new(Cached::new(store, cache, options.cache_bytes)),
        None => store,
    };
    let flist = Arc::new(flist);
    Ok(Source {
        image: Arc::new(reader(flist.clone(), store)),
        flist: Some(flist),
        name: path.display().to_string(),
    })
}

/// A store is asked this often for each part. Below `root` is who may vouch for it.
pub(crate) fn patience(tries: u32, root: &Path) -> Options {
    Options {
        authorities: authorities(root),
        ..mos_mount::patience(tries)
    }
}

/// Who may vouch for servers: those that `SSL_CERT_FILE` names, else those of a node's image, else this host's.
fn authorities(root: &Path) -> Authorities {
    let host = Authorities::default();
    let file = root.join(AUTHORITIES);
    let named = std::env::var_os("SSL_CERT_FILE").is_some_and(|file| !file.is_empty());
    match named || !file.is_file() {
        true => host,
        false => Authorities {
            file,
            hint: AUTHORITIES_HINT.into(),
        },
    }
}

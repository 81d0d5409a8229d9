//! Mounting, and what is there afterwards.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};

use fuser::BackgroundSession;
use mos_sys::signals::Signals;
use rustix::event::{PollFd, PollFlags, poll};

use crate::ahead::Ahead;
use crate::around::Around;
use crate::content::{Content, CopyError, Shared};
use crate::error::MountError;
use crate::fuse::ImageFs;
use crate::index::{Index, NodeId};
use crate::kernel::{self, Failure, Upper, Wanted};
use crate::objects::{Here, Objects};
use crate::opened::Opened;
use crate::options::{MountOptions, Prefetch, Source};
use crate::prefetch::{self, Coming, Shelf};
use crate::refusal::explain;
use crate::system::{Linux, System};
use crate::trace::Trace;
use crate::unmount::{Unmounted, clear, unmount};
use crate::way::{Facts, Way, choose, instead};
use crate::workers::Workers;
use crate::{session, table};

/// Files that wait for becoming objects.
const PROMOTIONS: usize = 256;

/// A mount that is there and answers.
#[derive(Debug)]
pub struct Mounted {
    place: PathBuf,
    way: Way,
    why: String,
    daemon: Option<Daemon>,
}

/// What answers for a FUSE mount. Dropping it takes the mount away.
#[derive(Debug)]
struct Daemon {
    session: Option<BackgroundSession>,
    place: PathBuf,
    stop: Arc<AtomicBool>,
}

/// Mounts an image at a directory. When this returns, the mount answers.
///
/// The kernel's way leaves nothing behind in this process. A FUSE mount is answered by threads of this process for as
/// long as the [`Mounted`] lives: [`Mounted::serve`] waits for its end. What a dead daemon left at the directory is
/// replaced; a living mount of ours there is an error.
///
/// # Errors
/// [`MountError`]; nothing is mounted then.
pub fn mount(source: Source, directory: &Path, options: &MountOptions) -> Result<Mounted, MountError> {
    mount_on(&Linux, source, directory, options)
}

/// The same, on a system that may lack something.
pub(crate) fn mount_on(
    system: &dyn System,
    source: Source,
    directory: &Path,
    options: &MountOptions,
) -> Result<Mounted, MountError> {
    let place = clear(directory)?;
    let name = source.name.clone();
    let mut index = Index::build(&*source.image).map_err(|why| MountError::Image { name, why })?;
    let shelf = shelf(options)?;
    if shelf.is_none() {
        index.forget_objects();
    }
    let content = Arc::new(Content::new(source, index, options.log.clone()));
    let files = external(&content);
    if let (true, Some(shelf)) = (options.check, &shelf) {
        prefetch::check(&content, shelf, &files);
    }
    if let (Prefetch::All, Some(shelf)) = (&options.prefetch, &shelf) {
        prefetch::fetch(&content, shelf, &files, &AtomicBool::new(false))
            .map_err(|(_, error)| copy_error(error, shelf))?;
    }
    let whiteout = content.index.whiteout();
    if let (Some(path), Some(_)) = (&whiteout, &options.writable) {
        let path = mos_flist::show(path);
        let why = format!("overlayfs would hide {path}, a character device 0:0; mount without it");
        return Err(MountError::Impossible { way: "writable", why });
    }
    let upper = options.writable.as_deref().map(Upper::prepare).transpose()?;
    let job = Job {
        system,
        place,
        content,
        shelf,
        options,
        upper,
        root: rustix::process::geteuid().is_root(),
    };
    // Before everything else that takes time.
    let fetching = job.prefetch();
    let stop = fetching.stop.clone();
    let mounted = job.carry_out(&files, whiteout.is_some(), fetching);
    mounted.inspect_err(|_| stop.store(true, Ordering::Relaxed))
}

/// What is fetched ahead in the background.
struct Fetching {
    coming: Arc<Coming>,
    stop: Arc<AtomicBool>,
}

struct Job<'a> {
    system: &'a dyn System,
    place: PathBuf,
    content: Shared,
    shelf: Option<Shelf>,
    options: &'a MountOptions,
    upper: Option<Upper>,
    root: bool,
}

impl Job<'_> {
    /// What is known of those of the files that are local.
    fn local(&self, files: &[NodeId]) -> Vec<Here> {
        let Some(shelf) = &self.shelf else { return Vec::new() };
        let index = &self.content.index;
        let look = |id: &NodeId| shelf.objects.look(&index.object(*id)?, index.node(*id).size);
        files.iter().filter_map(look).collect()
    }

    /// Mounts in the best way. `files`: those with content outside of the image; `whiteout`: it has what overlayfs hides.
    fn carry_out(self, files: &[NodeId], whiteout: bool, fetching: Fetching) -> Result<Mounted, MountError> {
        let local = self.local(files);
        let facts = Facts {
            root: self.root,
            erofs: self.content.source.flist.is_some(),
            cache: self.shelf.is_some(),
            whiteout,
            traced: self.options.trace_to.is_some(),
            missing: files.len() - local.len(),
        };
        let (kernel, why) = choose(self.options.how, facts)?;
        let protected = local.iter().all(|here| here.protected);
        if !kernel {
            return self.by_fuse(why, fetching);
        }
        let why = match self.by_kernel(protected) {
            Ok(()) => return Ok(self.without_daemon(why)),
            Err(Failure::Ours(error)) => return Err(error),
            Err(Failure::Refused(refusal)) => instead(self.options.how, &refusal, &release())?,
        };
        let neither = |fuse| MountError::Neither {
            fuse: Box::new(fuse),
            kernel: why.clone(),
        };
        self.by_fuse(why.clone(), fetching).map_err(neither)
    }

    /// `protected`: fs-verity is on for all content.
    fn by_kernel(&self, protected: bool) -> Result<(), Failure> {
        let (Some(flist), Some(shelf)) = (&self.content.source.flist, &self.shelf) else {
            return Err(Failure::Ours(MountError::place(&self.place, "no flist or no cache")));
        };
        let wanted = Wanted {
            flist,
            objects: &shelf.objects,
            protected,
            cache: &shelf.cache,
            place: &self.place,
            source: &table::source(&self.content.source.name, Some(&flist.digest())),
            upper: self.upper.as_ref(),
        };
        kernel::mount(&wanted, self.system)
    }

    fn without_daemon(self, why: String) -> Mounted {
        Mounted {
            place: self.place,
            way: Way::Kernel,
            why,
            daemon: None,
        }
    }

    fn by_fuse(self, why: String, fetching: Fetching) -> Result<Mounted, MountError> {
        let abilities = Arc::new(OnceLock::new());
        let trace = self.options.trace_to.as_deref();
        let trace = trace.map(|path| Trace::create(path, &self.content.index).map_err(MountError::io("write", path)));
        let filesystem = ImageFs {
            content: self.content.clone(),
            objects: self.shelf.as_ref().map(|shelf| shelf.objects.clone()),
            stack: self.stack(),
            opened: Opened::default(),
            workers: Workers::new(self.options.wait),
            at_once: self.options.local_store,
            given_up: Arc::default(),
            coming: fetching.coming,
            ahead: Ahead::default(),
            around: match self.shelf {
                Some(_) => None,
                None => Around::start(self.content.clone(), self.place.clone()).map(Arc::new),
            },
            others: self.options.allow_other,
            trace: trace.transpose()?,
            promote: self.promoter(),
            kernel: abilities.clone(),
        };
        let source = table::source(&self.content.source.name, None);
        let session = session::start(filesystem, &self.place, &source, self.options, self.root)?;
        let daemon = Daemon {
            session: Some(session),
            place: self.place.clone(),
            stop: fetching.stop,
        };
        if let Some(upper) = &self.upper {
            let done = kernel::make_writable(&self.place, &source, upper, self.system);
            done.map_err(|refusal| MountError::Impossible {
                way: "writable",
                why: explain(&refusal, &release()),
            })?;
        }
        let way = match abilities.get() {
            Some(abilities) if abilities.passthrough => Way::Passthrough,
            _ => Way::Fuse,
        };
        Ok(Mounted {
            place: self.place,
            way,
            why,
            daemon: Some(daemon),
        })
    }

    /// How deep file systems are stacked with passthrough: one on top of where the objects are, or 0 for none.
    fn stack(&self) -> u32 {
        match &self.shelf {
            Some(shelf) if self.root && first_namespace() => 1 + depth(shelf.objects.root()),
            _ => 0,
        }
    }

    fn promoter(&self) -> Option<mpsc::SyncSender<NodeId>> {
        let shelf = self.shelf.clone()?;
        let content = self.content.clone();
        let (sender, queue) = mpsc::sync_channel(PROMOTIONS);
        let thread = std::thread::Builder::new().name("mos-promote".to_owned());
        thread.spawn(move || prefetch::promote(&content, &shelf, &queue)).ok()?;
        Some(sender)
    }

    /// The files to fetch ahead, in their order.
    fn expected(&self) -> Vec<NodeId> {
        let index = &self.content.index;
        let files: Vec<NodeId> = match &self.options.prefetch {
            Prefetch::Own => self
                .content
                .source
                .image
                .prefetch()
                .iter()
                .filter_map(|ino| index.find(*ino))
                .collect(),
            Prefetch::Paths(paths) => paths.iter().filter_map(|path| index.at(path)).collect(),
            Prefetch::Nothing | Prefetch::All => Vec::new(),
        };
        let file = |id: &NodeId| self.shelf.is_some() && index.object(*id).is_some();
        files.into_iter().filter(file).collect()
    }

    /// Starts to fetch them.
    fn prefetch(&self) -> Fetching {
        let files = self.expected();
        let stop = Arc::new(AtomicBool::new(false));
        let coming = Arc::new(Coming::new(files.clone()));
        if let (Some(shelf), false) = (&self.shelf, files.is_empty()) {
            let (content, shelf) = (self.content.clone(), shelf.clone());
            prefetch::in_background(content, shelf, files, coming.clone(), stop.clone());
        }
        Fetching { coming, stop }
    }
}

impl Mounted {
    /// Where it is.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Which way was taken.
    pub fn way(&self) -> Way {
        self.way
    }

    /// Why that way was taken.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// True when threads of this process answer for it.
    pub fn needs_this_process(&self) -> bool {
        self.daemon.is_some()
    }

    /// Answers until somebody unmounts it or one of the signals comes, which unmounts it. Returns at once for a mount
    /// that the kernel serves; that one stays.
    ///
    /// # Errors
    /// [`MountError::Io`] when it cannot be unmounted.
    pub fn serve(mut self, signals: &Signals) -> Result<(), MountError> {
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        let place = daemon.place.clone();
        let failed = || MountError::io::<std::io::Error>("wait at", &place);
        let (ended, end) = std::io::pipe().map_err(failed())?;
        let session = daemon.session.take();
        let thread = std::thread::spawn(move || {
            let result = session.map_or(Ok(()), BackgroundSession::join);
            drop(end);
            result
        });
        loop {
            let mut both = [
                PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
            ];
            match poll(&mut both, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed()(error.into())),
            }
            if !both[1].revents().is_empty() {
                let result = thread
                    .join()
                    .unwrap_or_else(|_| Err(std::io::Error::other("a thread panicked")));
                return result.map_err(failed());
            }
            if signals.next().is_ok_and(|signal| signal.is_some()) {
                unmount(&daemon.place)?;
                daemon.stop.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Takes it away.
    ///
    /// # Errors
    /// As [`unmount`].
    pub fn unmount(mut self) -> Result<Unmounted, MountError> {
        let how = unmount(&self.place)?;
        if let Some(daemon) = self.daemon.take() {
            daemon.end(how);
        }
        Ok(how)
    }
}

impl Daemon {
    /// Waits for the threads, unless somebody still uses the mount.
    fn end(mut self, how: Unmounted) {
        self.stop.store(true, Ordering::Relaxed);
        if let (Some(session), Unmounted::Clean) = (self.session.take(), how) {
            // The mount is gone, so whatever the threads have to say helps nobody.
            let _ = session.join();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.session.is_some() {
            // Gone already when somebody else unmounted it.
            let _ = unmount(&self.place);
        }
    }
}

fn shelf(options: &MountOptions) -> Result<Option<Shelf>, MountError> {
    let Some(cache) = &options.cache else { return Ok(None) };
    let failed = MountError::io("make a cache in", cache);
    let objects = Objects::open(cache).map_err(failed)?;
    Ok(Some(Shelf {
        objects,
        cache: cache.clone(),
        limit: options.cache_bytes,
    }))
}

/// The files whose content is outside the image.
fn external(content: &Content) -> Vec<NodeId> {
    let index = &content.index;
    let inline = |id: &NodeId| {
        let flist = content.source.flist.as_ref();
        flist.is_some_and(|flist| flist.is_inline(index.node(*id).ino))
    };
    index
        .ids()
        .filter(|id| index.node(*id).is_file() && !inline(id))
        .collect()
}

fn copy_error(error: CopyError, shelf: &Shelf) -> MountError {
    match error {
        CopyError::Read(error) => MountError::Read(error),
        CopyError::Io(source) => MountError::Io {
            doing: "keep files in",
            path: shelf.objects.root().to_owned(),
            source,
        },
    }
}

/// Only there does root have what passthrough needs (`CAP_SYS_ADMIN` of the first user namespace, `fuse_backing_open` in the
/// kernel's `fs/fuse/backing.c`). Its map is the one that maps every user to himself, see user_namespaces(7).
fn first_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The kernel's, as `uname -r` prints it.
fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// How many file systems are stacked below a directory: overlay is one, everything else that objects lie on is none.
fn depth(directory: &Path) -> u32 {
    /// `OVERLAYFS_SUPER_MAGIC` of Linux `include/uapi/linux/magic.h`.
    const OVERLAY: u64 = 0x794c_7630;
    let found = rustix::fs::statfs(directory);
    u32::from(found.is_ok_and(|found| found.f_type.cast_unsigned() == OVERLAY))
}

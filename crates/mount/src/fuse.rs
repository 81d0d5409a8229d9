//! What the daemon answers to the kernel.
//!
//! The tree never changes, so the kernel is told to keep everything for as long as it likes: names, also those that
//! are not there, attributes, lists of directories, targets of links and pages of files. All of that is answered from
//! memory. Without a cache of objects there is nothing to decide when a file or a directory is opened, and the kernel
//! is told not to ask at all.

use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use crate::ahead::Ahead;
use crate::around::Around;
use crate::content;
use crate::given_up::GivenUp;
use crate::index::{Index, Node, NodeId};
use crate::objects::Objects;
use crate::opened::{Opened, Served};
use crate::prefetch::Coming;
use crate::trace::Trace;
use crate::workers::Workers;

/// How long the kernel may believe an answer: a year, that is, for as long as the mount is there.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// Reads ahead that the kernel may have under way at once. More than threads, so that none is idle.
const BACKGROUND: u16 = 64;
/// Fetches ahead of a reader of many files that are under way at once.
const FETCHES: usize = 4;
/// Bytes of a block in answers to stat(2) and statfs(2).
const BLOCK: u32 = 4096;
/// Longest name (`NAME_MAX`).
const NAME_LIMIT: u32 = 255;
/// What the kernel keeps for an open file. There is nothing to flush in one that cannot be written.
const KEEP: FopenFlags = FopenFlags::FOPEN_KEEP_CACHE.union(FopenFlags::FOPEN_NOFLUSH);

/// A filesystem of one image.
#[derive(Debug)]
pub(crate) struct ImageFs {
    pub(crate) content: content::Shared,
    /// Whole files; without them nothing is kept on the disk.
    pub(crate) objects: Option<Objects>,
    /// How deep file systems may be stacked for passthrough; 0 for none.
    pub(crate) stack: u32,
    pub(crate) opened: Opened,
    /// For work that may wait.
    pub(crate) workers: Workers,
    /// Answer reads at once, because nothing they need is far away.
    pub(crate) at_once: bool,
    /// What did not come in time.
    pub(crate) given_up: Arc<GivenUp>,
    pub(crate) ahead: Ahead,
    /// None where opening a file is a request, which this must not make.
    pub(crate) around: Option<Arc<Around>>,
    /// What is fetched in any case.
    pub(crate) coming: Arc<Coming>,
    /// Others than the one who mounts are let in.
    pub(crate) others: bool,
    pub(crate) trace: Option<Trace>,
    /// Takes files that were read to their end and should become objects.
    pub(crate) promote: Option<SyncSender<NodeId>>,
    /// What the kernel can do, known after [`Filesystem::init`].
    pub(crate) kernel: Arc<OnceLock<Abilities>>,
}

/// What the kernel can do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Abilities {
    pub(crate) passthrough: bool,
    /// Does without being asked when a file, or a directory, is opened.
    no_open: bool,
    no_opendir: bool,
}

impl ImageFs {
    fn index(&self) -> &Index {
        &self.content.index
    }

    fn kernel(&self) -> Abilities {
        self.kernel.get().copied().unwrap_or_default()
    }

    fn find(&self, ino: INodeNo) -> Result<NodeId, Errno> {
        self.index().find(ino.0).ok_or(Errno::ESTALE)
    }

    /// Gives the bytes of an open file to `answer`.
    fn read_into(&self, id: NodeId, offset: u64, size: u32, reply: ReplyData) {
        let length = self.index().node(id).size;
        let end = offset.saturating_add(u64::from(size)).min(length);
        if let Some(trace) = &self.trace {
            trace.read(self.index(), id);
        }
        if offset >= end {
            return reply.data(&[]);
        }
        if let Some(Served::Object(file)) = self.opened.read(id, end - offset) {
            match read_object(&file, offset, end) {
                Some(bytes) => return reply.data(&bytes),
                // A damaged disk, or damaged content that fs-verity does not let through; the store has it.
                None => self.discard(id),
            }
        }
        self.go_ahead(id);
        self.read_image(id, offset..end, reply);
    }

    /// Gives bytes of a file to `answer`, from the image.
    fn read_image(&self, id: NodeId, range: Range<u64>, reply: ReplyData) {
        let part = self.around(id, &range);
        let content = self.content.clone();
        let wanted = range.clone();
        let fetch = move || {
            let Some((around, part)) = part else {
                return content.read(id, wanted);
            };
            let skip = usize::try_from(wanted.start - part.start).ok()?;
            let length = usize::try_from(wanted.end - wanted.start).ok()?;
            let bytes = content.read(id, part.clone())?.part(skip..skip.saturating_add(length));
            // Not before it is here: the kernel would only wait for what does not come.
            around.ask(id, part);
            Some(bytes)
        };
        if self.at_once {
            answer(reply, fetch().as_deref());
        } else if self.given_up.has(id, &range) {
            answer(reply, None);
        } else {
            let given_up = self.given_up.clone();
            self.workers.submit(
                Box::new(fetch),
                Box::new(move |bytes| {
                    if bytes.is_none() {
                        given_up.note(id, range);
                    }
                    answer(reply, bytes);
                }),
            );
        }
    }

    /// What to decode with these bytes, so that the kernel can have all of it.
    fn around(&self, id: NodeId, range: &Range<u64>) -> Option<(Arc<Around>, Range<u64>)> {
        let around = self.around.as_ref()?;
        let part = self.content.around(id, range)?;
        let fits = part.start <= range.start && range.end <= part.end;
        (fits && around.takes(id, &part)).then(|| (around.clone(), part))
    }

    /// Fetches what is likely to be read next.
    fn go_ahead(&self, id: NodeId) {
        // The list knows better, and this would only take the line from it.
        if self.coming.has(id) {
            return;
        }
        let Some(next) = self.ahead.note(self.index(), id) else {
            return;
        };
        // One thread to decode what is near; several to wait for what is far away.
        let parts = if self.at_once { 1 } else { FETCHES };
        let step = next.len().div_ceil(parts).max(1);
        for start in next.clone().step_by(step) {
            let (content, part) = (self.content.clone(), start..(start + step).min(next.end));
            let fetch = move || {
                content.warm(part);
                None
            };
            self.workers.submit(Box::new(fetch), Box::new(|_| {}));
        }
    }

    /// How a file that nobody has open is served.
    fn serve(&self, id: NodeId, reply: &ReplyOpen) -> Served {
        let object = self.index().object(id).zip(self.objects.as_ref());
        let file = object.and_then(|(digest, objects)| objects.get(&digest, self.index().node(id).size));
        let Some(file) = file else {
            return Served::Image;
        };
        Objects::touch(&file);
        if self.kernel().passthrough
            && let Ok(backing) = reply.open_backing(&file)
        {
            return Served::Passthrough(Arc::new(backing));
        }
        Served::Object(Arc::new(file))
    }

    fn discard(&self, id: NodeId) {
        if let (Some(digest), Some(objects)) = (self.index().object(id), &self.objects) {
            objects.discard(&digest);
        }
    }

    fn xattr(&self, ino: INodeNo, name: &[u8]) -> Result<&[u8], Errno> {
        let id = self.find(ino)?;
        let all = self.index().xattrs(id);
        let place = all.binary_search_by(|(known, _)| (**known).cmp(name));
        place.map(|place| &*all[place].1).map_err(|_| Errno::NO_XATTR)
    }
}

impl Filesystem for ImageFs {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let can = config.capabilities();
        let wanted = [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
        ];
        // With it the kernel no longer says who asks, which has to be known where only one may.
        let idmap = self.others.then_some(InitFlags::FUSE_ALLOW_IDMAP);
        for flag in wanted.into_iter().chain(idmap) {
            // What an older kernel lacks costs speed, nothing else.
            let _ = config.add_capabilities(flag);
        }
        if self.index().has_access_lists() {
            let posix = InitFlags::FUSE_POSIX_ACL;
            config.add_capabilities(posix).map_err(|_| io::ErrorKind::Unsupported)?;
        }
        let passthrough = self.stack > 0
            && config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
            && config.set_max_stack_depth(self.stack).is_ok();
        // The kernel asks once for a connection.
        let _ = self.kernel.set(Abilities {
            passthrough,
            no_open: can.contains(InitFlags::FUSE_NO_OPEN_SUPPORT),
            no_opendir: can.contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT),
        });
        // Never refused: it is not zero.
        let _ = config.set_max_background(BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let Ok(parent) = self.find(parent) else {
            return reply.error(Errno::ESTALE);
        };
        match self.index().child(parent, name.as_bytes()) {
            Some(node) => reply.entry(&FOREVER, &attributes(node), Generation(0)),
            // Number 0 says that there is no such name, and for how long.
            None => reply.entry(&FOREVER, &nothing(), Generation(0)),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.find(ino) {
            Ok(id) => reply.attr(&FOREVER, &attributes(self.index().node(id))),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.find(ino).map(|id| self.index().target(id)) {
            Ok(Some(target)) => reply.data(target),
            Ok(None) => reply.error(Errno::EINVAL),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Errno::EROFS);
        }
        if self.objects.is_none() && self.kernel().no_open {
            // The kernel does not ask again for any file.
            return reply.error(Errno::ENOSYS);
        }
        let Ok(id) = self.find(ino) else {
            return reply.error(Errno::ESTALE);
        };
        match self.opened.open(id, || self.serve(id, &reply)) {
            Served::Passthrough(backing) => {
                if let Some(trace) = &self.trace {
                    trace.read(self.index(), id);
                }
                reply.opened_passthrough(FileHandle(0), FopenFlags::empty(), &backing);
            }
            Served::Image | Served::Object(_) => reply.opened(FileHandle(0), KEEP),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.find(ino) {
            Ok(id) => self.read_into(id, offset, size, reply),
            Err(error) => reply.error(error),
        }
    }

    /// Asked once, when the first file is closed; the kernel does not ask again.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
        if let Some(around) = &self.around {
            around.begin();
        }
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        if let Ok(id) = self.find(ino)
            && let Some(read) = self.opened.release(id)
            && read >= self.index().node(id).size
            && !self.coming.has(id)
            && let Some(promote) = &self.promote
        {
            // When the queue is full the file becomes an object another time.
            let _ = promote.try_send(id);
        }
        reply.ok();
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.kernel().no_opendir {
            return reply.error(Errno::ENOSYS);
        }
        let keep = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR;
        reply.opened(FileHandle(0), keep);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let Ok(id) = self.find(ino) else {
            return reply.error(Errno::ESTALE);
        };
        list(self.index(), id, offset, |next, name, node| {
            reply.add(INodeNo(node.ino), next, kind(node), OsStr::from_bytes(name))
        });
        reply.ok();
    }

    fn readdirplus(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let Ok(id) = self.find(ino) else {
            return reply.error(Errno::ESTALE);
        };
        list(self.index(), id, offset, |next, name, node| {
            let (name, ino) = (OsStr::from_bytes(name), INodeNo(node.ino));
            reply.add(ino, next, name, &FOREVER, &attributes(node), Generation(0))
        });
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = self.index().content_length().div_ceil(u64::from(BLOCK));
        let files = self.index().len() as u64;
        reply.statfs(blocks, 0, 0, files, 0, BLOCK, NAME_LIMIT, BLOCK);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        if !self.index().has_xattrs() {
            // The kernel does not ask again for any file.
            return reply.error(Errno::ENOSYS);
        }
        match self.xattr(ino, name.as_bytes()) {
            Ok(value) => sized(reply, size, value),
            Err(error) => reply.error(error),
        }
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let Ok(id) = self.find(ino) else {
            return reply.error(Errno::ESTALE);
        };
        let mut names = Vec::new();
        for (name, _) in self.index().xattrs(id) {
            // Names of `trusted.` attributes included: the kernel does not say who asks, and guards their values itself.
            names.extend_from_slice(name);
            names.push(0);
        }
        sized(reply, size, &names);
    }

    // Whoever remounts this for writing still cannot write. The kernel asks none of these while it is mounted read-only.

    fn setattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn mkdir(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn unlink(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn rmdir(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn symlink(&self, _: &Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn rename(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: INodeNo,
        _: &OsStr,
        _: fuser::RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn create(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        reply.error(Errno::EROFS);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }

    fn setxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: &[u8], _: i32, _: u32, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }
}

/// Gives the names of a directory from `offset` on to `add`, each with the offset behind it, until that says it is
/// full. `.` and `..` come first.
fn list(index: &Index, id: NodeId, offset: u64, mut add: impl FnMut(u64, &[u8], &Node) -> bool) {
    let dots = [(&b"."[..], index.node(id)), (&b".."[..], index.parent(id))];
    let skip = usize::try_from(offset).unwrap_or(usize::MAX);
    let dots = dots.into_iter().skip(skip);
    let children = index
        .children(id, skip.saturating_sub(2))
        .map(|child| (child.name, child.node));
    for (next, (name, node)) in (offset + 1..).zip(dots.chain(children)) {
        if add(next, name, node) {
            return;
        }
    }
}

fn read_object(file: &std::fs::File, offset: u64, end: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(end - offset).ok()?];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

fn answer(reply: ReplyData, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => reply.data(bytes),
        None => reply.error(Errno::EIO),
    }
}

/// Answers a question for a value of at most `size` bytes; 0 asks for its length (getxattr(2)).
fn sized(reply: ReplyXattr, size: u32, value: &[u8]) {
    match u32::try_from(value.len()) {
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(value),
        _ => reply.error(Errno::ERANGE),
    }
}

fn kind(node: &Node) -> FileType {
    match node.mode & 0o170_000 {
        0o040_000 => FileType::Directory,
        0o120_000 => FileType::Symlink,
        0o020_000 => FileType::CharDevice,
        0o060_000 => FileType::BlockDevice,
        0o010_000 => FileType::NamedPipe,
        0o140_000 => FileType::Socket,
        _ => FileType::RegularFile,
    }
}

fn attributes(node: &Node) -> FileAttr {
    let time = time(node.seconds, node.nanoseconds);
    FileAttr {
        ino: INodeNo(node.ino),
        size: node.size,
        blocks: node.size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: kind(node),
        perm: (node.mode & 0o7777) as u16,
        nlink: node.links,
        uid: node.uid,
        gid: node.gid,
        rdev: node.device,
        blksize: BLOCK,
        flags: 0,
    }
}

fn nothing() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

/// A time of the image; one that the system cannot hold is the epoch.
fn time(seconds: i64, nanoseconds: u32) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = match seconds {
        0.. => SystemTime::UNIX_EPOCH.checked_add(whole),
        _ => SystemTime::UNIX_EPOCH.checked_sub(whole),
    };
    let exact = second.and_then(|second| second.checked_add(Duration::from_nanos(nanoseconds.into())));
    exact.unwrap_or(SystemTime::UNIX_EPOCH)
}

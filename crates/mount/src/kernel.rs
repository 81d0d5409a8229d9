//! The kernel's way: names from the flist itself, which is an EROFS image, content from whole files through overlayfs.
//!
//! ```text
//! DIR  overlay, read-only, metacopy    <- upper/ when writable
//!        lower     cache/flists/<blake3>.erofs     (redirects each file to its object)
//!        data only cache/objects/
//! ```
//!
//! The lower layer is made from the flist, see [`overlay_image`]; a copy of the flist lies beside it. What the kernel reads
//! is what was checked, whoever writes to the original. No process stays. While the mount is there, the copy keeps its
//! objects from being evicted, see [`pins`].

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mos_flist::{Flist, overlay_image};
use mos_sys::durable;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MoveMountFlags, UnmountFlags, move_mount};

use crate::error::MountError;
use crate::objects::Objects;
use crate::system::{Context, Part, Refusal, System};
use crate::table;

/// Copies of mounted flists, below the cache.
const FLISTS: &str = "flists";
/// Permission bits of a copy: nobody should write to what the kernel reads.
const MODE: u32 = 0o444;
/// Between the copy and the mount there are milliseconds.
const YOUNG: Duration = Duration::from_secs(60);

/// A directory for what is written to a mount.
#[derive(Debug)]
pub(crate) struct Upper {
    upper: PathBuf,
    work: PathBuf,
}

impl Upper {
    /// Makes `upper/` and `work/` in a directory.
    pub(crate) fn prepare(directory: &Path) -> Result<Self, MountError> {
        let directory = directory.canonicalize().map_err(MountError::io("find", directory))?;
        let upper = Self {
            upper: directory.join("upper"),
            work: directory.join("work"),
        };
        for path in [&upper.upper, &upper.work] {
            fs::create_dir_all(path).map_err(MountError::io("make", path))?;
        }
        Ok(upper)
    }
}

/// Why the kernel does not serve a mount.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It lacks something, or does not let us.
    Refused(Refusal),
    /// What it would be given could not be made.
    Ours(MountError),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What the kernel is to serve.
pub(crate) struct Wanted<'a> {
    pub(crate) flist: &'a Flist,
    /// All content is here.
    pub(crate) objects: &'a Objects,
    /// All content has fs-verity.
    pub(crate) protected: bool,
    pub(crate) cache: &'a Path,
    pub(crate) place: &'a Path,
    /// What the mount table calls it.
    pub(crate) source: &'a str,
    pub(crate) upper: Option<&'a Upper>,
}

/// Mounts an flist. After a failure nothing is mounted.
pub(crate) fn mount(wanted: &Wanted<'_>, system: &dyn System) -> Result<(), Failure> {
    // Before anything is written: most kernels that cannot do it say so here.
    let names = Context::open(system, Part::Erofs)?;
    let overlay = Context::open(system, Part::Overlay)?;
    let image = keep(wanted.flist, wanted.cache).map_err(Failure::Ours)?;
    let names = erofs(names, &image, system)?;
    // Overlayfs took lower layers without a place only from Linux 6.15 on, so they get one that nobody sees for long.
    let corner = Corner::make(wanted.cache);
    let corner = corner.map_err(|error| Failure::Ours(MountError::io("make a directory in", wanted.cache)(error)))?;
    attach(&names, &corner.path)?;
    let layers = Layers {
        lower: &corner.path,
        data: Some(wanted.objects.root()),
        protected: wanted.protected,
        upper: wanted.upper,
    };
    let mount = layers.mount(&overlay, wanted.source)?;
    drop(corner);
    Ok(attach(&mount, wanted.place)?)
}

/// Puts a writable layer over what is mounted at a directory.
pub(crate) fn make_writable(place: &Path, source: &str, upper: &Upper, system: &dyn System) -> Result<(), Refusal> {
    let layers = Layers {
        lower: place,
        data: None,
        protected: false,
        upper: Some(upper),
    };
    let mount = layers.mount(&Context::open(system, Part::Overlay)?, source)?;
    attach(&mount, place)
}

/// The objects that mounts by the kernel use: names in the directory of objects.
pub(crate) fn pins(cache: &Path) -> HashSet<String> {
    let mut pinned = HashSet::new();
    let mounted = mounted_digits();
    for entry in fs::read_dir(cache.join(FLISTS)).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".fl") || !mounted.contains(table::digits(&name)) {
            continue;
        }
        let flist = fs::read(entry.path()).ok().and_then(|bytes| Flist::parse(bytes).ok());
        for entry in flist.iter().flat_map(Flist::entries) {
            pinned.extend(entry.object().map(|object| object.to_string()));
        }
    }
    pinned
}

/// Digits of the flists that are mounted by the kernel, here or in the first process's view.
fn mounted_digits() -> HashSet<String> {
    let entries = table::all()
        .unwrap_or_default()
        .into_iter()
        .chain(table::of_first_process());
    let digits = entries.filter_map(|entry| Some(String::from_utf8_lossy(entry.digits()?).into_owned()));
    digits.collect()
}

/// A copy of the flist in the cache, and the image of it that the kernel takes, which this returns.
fn keep(flist: &Flist, cache: &Path) -> Result<PathBuf, MountError> {
    let directory = cache.join(FLISTS);
    fs::create_dir_all(&directory).map_err(MountError::io("make", &directory))?;
    sweep(&directory);
    let path = |kind: &str| directory.join(format!("{}.{kind}", flist.digest()));
    // The flist first: an image that somebody mounts has one that pins its objects.
    write_once(&path("fl"), flist.as_bytes())?;
    let malformed = |error: mos_flist::FlistError| io::Error::new(io::ErrorKind::InvalidData, error);
    let image = path("erofs");
    let bytes = overlay_image(flist).map_err(|error| MountError::io("make", &image)(malformed(error)))?;
    write_once(&image, &bytes)?;
    Ok(image)
}

/// Writes a file durably, unless it is there with these bytes; then it is young again, see [`sweep`].
fn write_once(path: &Path, bytes: &[u8]) -> Result<(), MountError> {
    let same = fs::read(path).is_ok_and(|found| found == bytes);
    let young = same
        && File::open(path)
            .and_then(|file| file.set_modified(SystemTime::now()))
            .is_ok();
    if young {
        return Ok(());
    }
    durable::write(path, bytes, MODE).map_err(MountError::io("write", path))
}

/// Removes copies that nothing is mounted from, but for young ones: somebody may be about to mount them.
fn sweep(directory: &Path) {
    let mounted = mounted_digits();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map(|time| time.elapsed());
        let old = matches!(age, Ok(Ok(age)) if age > YOUNG);
        if old && !mounted.contains(table::digits(&entry.file_name().to_string_lossy())) {
            // Not ours, perhaps; then it stays.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The names of an flist, mounted without a place: from the file itself, or through a loop device on kernels before
/// Linux 6.12 and for files on a file system that is stacked itself.
fn erofs(context: Context<'_>, file: &Path, system: &dyn System) -> Result<OwnedFd, Failure> {
    match erofs_from(&context, file) {
        Err(refusal) if refusal.errno == Errno::NOTBLK => {
            let file = File::open(file).map_err(|error| Failure::Ours(MountError::io("open", file)(error)))?;
            let device = system.loop_device(&file);
            let device = device.map_err(|error| Refusal::of(Part::Loop, &error))?;
            Ok(erofs_from(&Context::open(system, Part::Erofs)?, device.path())?)
        }
        other => Ok(other?),
    }
}

fn erofs_from(context: &Context<'_>, file: &Path) -> Result<OwnedFd, Refusal> {
    context.set("source", file)?;
    context.set_flag("ro")?;
    context.mount(MountAttrFlags::MOUNT_ATTR_RDONLY)
}

/// The layers of an overlay.
struct Layers<'a> {
    lower: &'a Path,
    /// Where whole files are found by the redirects of the lower layer.
    data: Option<&'a Path>,
    /// All content has fs-verity.
    protected: bool,
    upper: Option<&'a Upper>,
}

impl Layers<'_> {
    /// Mounts them without a place.
    fn mount(&self, context: &Context<'_>, source: &str) -> Result<OwnedFd, Refusal> {
        context.set("source", source)?;
        context.set("lowerdir+", self.lower)?;
        if let Some(data) = self.data {
            context.set("datadir+", data)?;
            context.set("metacopy", "on")?;
            context.set("redirect_dir", "on")?;
        }
        if self.protected {
            // Each object must have the digest that the flist names. Linux has it since 6.6; content was checked anyway.
            let _ = context.set("verity", "on");
        }
        let Some(layer) = self.upper else {
            context.set_flag("ro")?;
            return context.mount(MountAttrFlags::MOUNT_ATTR_RDONLY);
        };
        context.set("upperdir", &layer.upper)?;
        context.set("workdir", &layer.work)?;
        context.mount(MountAttrFlags::empty())
    }
}

fn attach(mount: &OwnedFd, place: &Path) -> Result<(), Refusal> {
    let done = move_mount(mount, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
    done.map_err(|errno| Refusal::new(Part::Place, errno))
}

/// A directory to put a mount for a moment; taken away when dropped.
struct Corner {
    path: PathBuf,
}

impl Corner {
    fn make(cache: &Path) -> io::Result<Self> {
        let path = durable::temporary_beside(&cache.canonicalize()?.join("mount"))?;
        fs::create_dir(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Corner {
    fn drop(&mut self) {
        // The overlay holds its layers; nothing was mounted here if it did not come so far.
        let _ = rustix::mount::unmount(&self.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        let _ = fs::remove_dir(&self.path);
    }
}

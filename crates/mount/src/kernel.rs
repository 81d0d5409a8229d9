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
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mos_flist::{Flist, overlay_image};
use mos_sys::durable;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

use crate::error::MountError;
use crate::objects::Objects;
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

/// Mounts an flist whose content is all in `objects`; `protected` when all of it has fs-verity.
pub(crate) fn mount(
    flist: &Flist,
    objects: &Objects,
    protected: bool,
    cache: &Path,
    place: &Path,
    source: &str,
    upper: Option<&Upper>,
) -> Result<(), MountError> {
    let failed = |error: io::Error| MountError::Io {
        doing: "mount on",
        path: place.to_owned(),
        source: error,
    };
    let image = keep(flist, cache)?;
    let names = erofs(&image).map_err(failed)?;
    // Overlayfs took lower layers without a place only from Linux 6.15 on, so they get one that nobody sees for long.
    let corner = Corner::make(cache).map_err(MountError::io("make a directory in", cache))?;
    corner.take(&names).map_err(failed)?;
    let layers = Layers {
        lower: &corner.path,
        data: Some(objects.root()),
        protected,
        upper,
    };
    let mount = layers.mount(source).map_err(failed)?;
    drop(corner);
    attach(&mount, place).map_err(failed)
}

/// Puts a writable layer over what is mounted at a directory.
pub(crate) fn make_writable(place: &Path, source: &str, upper: &Upper) -> Result<(), MountError> {
    let layers = Layers {
        lower: place,
        data: None,
        protected: false,
        upper: Some(upper),
    };
    let mounted = layers.mount(source).and_then(|mount| attach(&mount, place));
    mounted.map_err(MountError::io("put a writable layer over", place))
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
fn erofs(file: &Path) -> io::Result<OwnedFd> {
    match erofs_from(file) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTBLK) => {
            let device = mos_sys::loop_device::attach(&File::open(file)?)?;
            erofs_from(device.path())
        }
        other => other,
    }
}

fn erofs_from(file: &Path) -> io::Result<OwnedFd> {
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    explained(&context, fsconfig_set_string(&context, "source", file))?;
    fsconfig_set_flag(&context, "ro")?;
    explained(&context, fsconfig_create(&context))?;
    Ok(fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )?)
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
    fn mount(&self, source: &str) -> io::Result<OwnedFd> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", source)?;
        let set = |key: &str, path: &Path| explained(&context, fsconfig_set_string(&context, key, path));
        set("lowerdir+", self.lower)?;
        if let Some(data) = self.data {
            set("datadir+", data)?;
            fsconfig_set_string(&context, "metacopy", "on")?;
            fsconfig_set_string(&context, "redirect_dir", "on")?;
        }
        if self.protected {
            // Each object must have the digest that the flist names. Linux has it since 6.6; content was checked anyway.
            let _ = fsconfig_set_string(&context, "verity", "on");
        }
        let mut flags = MountAttrFlags::empty();
        match self.upper {
            Some(layer) => {
                set("upperdir", &layer.upper)?;
                set("workdir", &layer.work)?;
            }
            None => {
                fsconfig_set_flag(&context, "ro")?;
                flags = MountAttrFlags::MOUNT_ATTR_RDONLY;
            }
        }
        explained(&context, fsconfig_create(&context))?;
        Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
    }
}

fn attach(mount: &OwnedFd, place: &Path) -> io::Result<()> {
    Ok(move_mount(
        mount,
        "",
        CWD,
        place,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?)
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

    fn take(&self, mount: &OwnedFd) -> io::Result<()> {
        attach(mount, &self.path)
    }
}

impl Drop for Corner {
    fn drop(&mut self) {
        // The overlay holds its layers; nothing was mounted here if it did not come so far.
        let _ = rustix::mount::unmount(&self.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        let _ = fs::remove_dir(&self.path);
    }
}

/// Adds what the kernel has to say about a failure (the messages of a file system context) to its error.
fn explained<T>(context: impl AsFd, result: rustix::io::Result<T>) -> io::Result<T> {
    result.map_err(|errno| {
        let error = io::Error::from(errno);
        let Ok(fd) = context.as_fd().try_clone_to_owned() else {
            return error;
        };
        // One message for each read; each begins with its level.
        let mut message = [0; 512];
        match File::from(fd).read(&mut message) {
            Ok(length) if length > 2 && errno != Errno::NOTBLK => {
                let said = String::from_utf8_lossy(&message[2..length]);
                io::Error::new(error.kind(), format!("{error}: {}", said.trim()))
            }
            _ => error,
        }
    })
}

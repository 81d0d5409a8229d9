//! Where things are below the state directory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use mos_flist::ObjectDigest;
use mos_sys::durable;
use rustix::fs::FlockOperation;

use crate::UpdateError;

/// The paths of a state directory (`/var/cache/mos` on a node).
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

/// Held while the state directory may be changed; released when dropped, also by a crash.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Layout {
    /// The layout below this directory. Nothing is made yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The state directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whole files by digest.
    pub fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    /// One whole file.
    pub fn object(&self, digest: &ObjectDigest) -> PathBuf {
        self.objects().join(digest.path())
    }

    /// All generations.
    pub fn generations(&self) -> PathBuf {
        self.root.join("generations")
    }

    /// One generation.
    pub fn generation(&self, number: u64) -> PathBuf {
        self.generations().join(number.to_string())
    }

    /// A generation while it is built.
    pub fn unfinished(&self, number: u64) -> PathBuf {
        self.generations()
            .join(format!("{}{number}", durable::TEMPORARY_PREFIX))
    }

    /// The link to the current generation.
    pub fn current(&self) -> PathBuf {
        self.root.join("current")
    }

    /// What is remembered of the channel.
    pub fn channel(&self) -> PathBuf {
        self.root.join("channel")
    }

    /// Makes the fixed directories and takes the lock. Whoever changes anything here holds it.
    ///
    /// # Errors
    /// [`UpdateError::Locked`]; [`UpdateError::Io`] when the directory is full or not ours, or read-only and without the lock file.
    pub fn lock(&self) -> Result<Lock, UpdateError> {
        for directory in [self.objects(), self.generations(), self.channel()] {
            fs::create_dir_all(&directory).map_err(UpdateError::io("make directory", &directory))?;
        }
        let path = self.root.join("lock");
        let file = match File::options().create(true).truncate(false).write(true).open(&path) {
            // A disk with errors turns read-only; what is on it may still be sound, and is started.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(&path),
            other => other,
        };
        let file = file.map_err(UpdateError::io("open", &path))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(UpdateError::Locked(self.root.clone())),
            Err(error) => Err(UpdateError::io("lock", &path)(error.into())),
        }
    }

    /// The number of the current generation: `None` when there is no link or it points at nothing.
    ///
    /// # Errors
    /// [`UpdateError::Io`].
    pub fn current_number(&self) -> Result<Option<u64>, UpdateError> {
        let link = self.current();
        let target = match fs::read_link(&link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(UpdateError::io("read link", &link))?,
        };
        let number = target.strip_prefix("generations").ok().and_then(number_of);
        Ok(number.filter(|number| self.generation(*number).is_dir()))
    }

    /// The numbers of all finished generations, ascending.
    ///
    /// # Errors
    /// [`UpdateError::Io`].
    pub fn numbers(&self) -> Result<Vec<u64>, UpdateError> {
        let directory = self.generations();
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(UpdateError::io("list", &directory))?,
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let entry = entry.map_err(UpdateError::io("list", &directory))?;
            numbers.extend(number_of(Path::new(&entry.file_name())));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}

/// The number that a path is, written as we write numbers: `1`, not `01`.
fn number_of(path: &Path) -> Option<u64> {
    let text = path.to_str()?;
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_process_may_work_here() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("mos"));
        let lock = layout.lock().unwrap();
        assert!(matches!(layout.lock(), Err(UpdateError::Locked(_))));
        drop(lock);
        layout.lock().unwrap();
    }

    #[test]
    fn a_disk_that_turned_read_only_can_still_be_started_from() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        let mount = |arguments: &[&str]| {
            let mut command = std::process::Command::new("mount");
            command.args(arguments).arg(directory.path()).output()
        };
        if !mount(&["-t", "tmpfs", "tmpfs"]).is_ok_and(|output| output.status.success()) {
            println!("skipped: needs root and mount(8)");
            return;
        }
        drop(layout.lock().unwrap());
        assert!(mount(&["-o", "remount,ro"]).unwrap().status.success());
        let locked = layout.lock();
        let again = layout.lock();
        let unmounted = std::process::Command::new("umount")
            .arg("-l")
            .arg(directory.path())
            .status();
        assert!(unmounted.unwrap().success());
        assert!(locked.is_ok(), "{locked:?}");
        assert!(matches!(again, Err(UpdateError::Locked(_))));
    }

    #[test]
    fn what_is_no_generation_is_not_taken_for_one() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        for name in ["1", "10", "2", "02", ".tmp-3", "x"] {
            fs::create_dir_all(layout.generations().join(name)).unwrap();
        }
        assert_eq!(layout.numbers().unwrap(), [1, 2, 10]);
        assert_eq!(layout.current_number().unwrap(), None);
        durable::symlink(Path::new("generations/2"), &layout.current()).unwrap();
        assert_eq!(layout.current_number().unwrap(), Some(2));
        durable::symlink(Path::new("generations/7"), &layout.current()).unwrap();
        assert_eq!(layout.current_number().unwrap(), None);
    }
}

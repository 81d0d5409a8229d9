//! Step outputs on disk, under the hash of their inputs.
//!
//! ```text
//! steps/<step>/<key>/…           the files that the step wrote
//! steps/<step>/<key>/.manifest   digest and name of each, written last
//! ```
//!
//! An output directory appears by one rename when it is complete. A reader checks every file against the manifest: a
//! damaged output is removed and made again. Of two builds at once one makes an output and the other waits for it: the
//! directory in which it is made is locked (`flock`), and the lock ends with the process, however that ends.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use mos_store::Digest;
use mos_sys::durable::{self, TEMPORARY_PREFIX};

const MANIFEST: &str = ".manifest";

/// The cache of one user.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// A step's output.
#[derive(Debug, Clone)]
pub struct Cached {
    /// The directory that holds the files.
    pub path: PathBuf,
    /// False when it was made just now.
    pub hit: bool,
}

/// Why the cache could not be used; `E` is the step's own error.
#[derive(Debug, thiserror::Error)]
pub enum CacheError<E> {
    /// The step itself failed.
    #[error(transparent)]
    Step(E),
    /// The cache directory.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Cache {
    /// Uses a directory, which is made on first use.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where an output with this key is or would be.
    fn place(&self, step: &str, key: &Digest) -> PathBuf {
        self.root.join("steps").join(step).join(key.to_string())
    }

    /// The output of a step, if it is there and whole.
    pub fn find(&self, step: &str, key: &Digest) -> Option<Cached> {
        let path = self.place(step, key);
        intact(&path).then_some(Cached { path, hit: true })
    }

    /// The output of a step: from the cache, or made now by `produce`, which writes plain files into the directory it
    /// is given, and into folders there.
    ///
    /// # Errors
    /// [`CacheError::Step`] when `produce` fails (nothing is kept), [`CacheError::Io`] for the cache's own files.
    pub fn step<E>(
        &self,
        step: &str,
        key: &Digest,
        produce: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<Cached, CacheError<E>> {
        if let Some(cached) = self.find(step, key) {
            return Ok(cached);
        }
        let path = self.place(step, key);
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| CacheError::Io { path, source }
        };
        let parent = self.root.join("steps").join(step);
        fs::create_dir_all(&parent).map_err(at(&parent))?;
        let work = parent.join(format!("{TEMPORARY_PREFIX}{key}"));
        let _turn = claim(&work).map_err(at(&work))?;
        // Another build may have made it while this one waited for its turn.
        if let Some(cached) = self.find(step, key) {
            fs::remove_dir_all(&work).map_err(at(&work))?;
            return Ok(cached);
        }
        let made = produce(&work).map_err(CacheError::Step).and_then(|()| {
            seal(&work).map_err(at(&work))?;
            if path.exists() {
                fs::remove_dir_all(&path).map_err(at(&path))?;
            }
            durable::rename(&work, &path).map_err(at(&path))
        });
        if let Err(error) = made {
            // The error is what counts; whatever stays behind is emptied by whoever tries next.
            let _ = fs::remove_dir_all(&work);
            return Err(error);
        }
        Ok(Cached { path, hit: false })
    }
}

/// Makes an empty directory to work in, or takes over what an ended build left of it; waits while another build works
/// there. It is this process's own until the file is dropped.
fn claim(work: &Path) -> io::Result<File> {
    loop {
        match fs::create_dir(work) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let folder = match File::open(work) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        folder.lock()?;
        // Whoever had it may be done, and have renamed or removed it.
        let locked = folder.metadata()?.ino();
        if fs::metadata(work).is_ok_and(|now| now.ino() == locked) {
            empty(work)?;
            return Ok(folder);
        }
    }
}

fn empty(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// Writes the manifest of the files in a directory.
fn seal(directory: &Path) -> io::Result<()> {
    let mut lines = Vec::new();
    list(directory, "", &mut lines)?;
    lines.sort();
    durable::write(&directory.join(MANIFEST), lines.concat().as_bytes(), 0o644)
}

fn list(directory: &Path, prefix: &str, lines: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry
            .file_name()
            .into_string()
            .map_err(|name| io::Error::other(format!("{name:?} is not UTF-8")))?;
        match entry.file_type()?.is_dir() {
            true => list(&entry.path(), &format!("{prefix}{name}/"), lines)?,
            false => lines.push(format!("{} {prefix}{name}\n", of_file(&entry.path())?)),
        }
    }
    Ok(())
}

/// True when every file of the manifest is there with its digest.
fn intact(directory: &Path) -> bool {
    let Ok(manifest) = fs::read_to_string(directory.join(MANIFEST)) else {
        return false;
    };
    manifest.lines().all(|line| {
        let Some((digest, name)) = line.split_once(' ') else {
            return false;
        };
        of_file(&directory.join(name)).is_ok_and(|own| digest == own.to_string())
    })
}

fn of_file(path: &Path) -> io::Result<Digest> {
    Digest::of_reader(File::open(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn make(cache: &Cache, key: &Digest, text: &str) -> Cached {
        cache
            .step("pack", key, |directory| fs::write(directory.join("out"), text))
            .unwrap()
    }

    #[test]
    fn second_time_is_a_hit_and_damage_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path());
        let key = Digest::of(b"inputs");
        let first = make(&cache, &key, "right");
        assert!(!first.hit);
        assert!(make(&cache, &key, "never written").hit);
        fs::write(first.path.join("out"), "damaged").unwrap();
        assert!(cache.find("pack", &key).is_none());
        assert!(!make(&cache, &key, "right").hit);
        assert_eq!(fs::read_to_string(first.path.join("out")).unwrap(), "right");
    }

    #[test]
    fn files_in_folders_are_looked_at_as_well() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path());
        let key = Digest::of(b"inputs");
        let made = cache.step("pack", &key, |directory| {
            fs::create_dir_all(directory.join("a/b"))?;
            fs::write(directory.join("a/b/out"), "right")
        });
        let file = made.unwrap().path.join("a/b/out");
        assert!(cache.find("pack", &key).is_some());
        fs::write(&file, "damaged").unwrap();
        assert!(cache.find("pack", &key).is_none());
        fs::remove_file(&file).unwrap();
        assert!(cache.find("pack", &key).is_none());
    }

    #[test]
    fn of_many_builds_at_once_one_makes_the_output_and_none_loses_it() {
        let directory = tempfile::tempdir().unwrap();
        for round in 0..20_u32 {
            let key = Digest::of(&round.to_le_bytes());
            let made = AtomicUsize::new(0);
            let build = || {
                let cache = Cache::new(directory.path());
                let cached = cache.step("pack", &key, |directory| {
                    made.fetch_add(1, Ordering::Relaxed);
                    std::thread::yield_now();
                    fs::write(directory.join("out"), "right")
                });
                let path = cached.unwrap().path.join("out");
                (0..20).for_each(|_| assert_eq!(fs::read_to_string(&path).unwrap(), "right"));
            };
            std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(build))));
            assert_eq!(made.into_inner(), 1);
        }
        assert_eq!(fs::read_dir(directory.path().join("steps/pack")).unwrap().count(), 20);
    }

    #[test]
    fn what_a_killed_build_left_is_not_in_the_output() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path());
        let key = Digest::of(b"inputs");
        let work = directory.path().join(format!("steps/pack/{TEMPORARY_PREFIX}{key}"));
        fs::create_dir_all(work.join("folder")).unwrap();
        fs::write(work.join("half"), "").unwrap();
        let made = make(&cache, &key, "right").path;
        let mut names: Vec<_> = fs::read_dir(&made)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, [MANIFEST, "out"]);
    }

    #[test]
    fn failed_step_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path());
        let key = Digest::of(b"inputs");
        let failed = cache.step("pack", &key, |directory| {
            fs::write(directory.join("out"), "half")?;
            Err(io::Error::other("no"))
        });
        assert!(matches!(failed, Err(CacheError::Step(_))));
        assert_eq!(fs::read_dir(directory.path().join("steps/pack")).unwrap().count(), 0);
    }
}

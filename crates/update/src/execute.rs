//! Carrying out a plan, step by step. Only reads and [`Disk`]: no change to the disk escapes the observer.

use std::io::Write;
use std::path::{Path, PathBuf};

use mos_flist::{ReadError, VerityHasher};
use mos_sys::verity::Verity;

use crate::disk::{Disk, Observer};
use crate::{Fetch, Layout, Lock, PLACES, Plan, Step, UpdateError, Wanted, installed};

/// Where the content of objects comes from.
pub trait Content {
    /// Writes all bytes of a file of a component.
    ///
    /// # Errors
    /// [`ReadError`]; what was written until then is thrown away.
    fn read(&self, fetch: &Fetch, out: &mut dyn Write) -> Result<(), ReadError>;
}

/// What a plan is carried out on.
#[expect(missing_debug_implementations, reason = "holds a trait object")]
pub struct Job<'a> {
    /// The state directory.
    pub layout: &'a Layout,
    /// What the plan was made from.
    pub wanted: &'a Wanted,
    /// Where objects come from.
    pub content: &'a dyn Content,
}

/// Carries out a plan. After an error, or a crash at any point, either the old or the new generation is current and
/// complete; carrying out a new plan then finishes the work, and fetches no object twice.
///
/// # Errors
/// [`UpdateError`]; errors after the switch concern only the removal of old things.
pub fn execute(_lock: &Lock, job: &Job<'_>, plan: &Plan, observer: &mut dyn Observer) -> Result<(), UpdateError> {
    let total = plan.steps.len();
    let verity = Verity::default();
    for (number, step) in plan.steps.iter().enumerate() {
        observer.step(step, number + 1, total);
        let disk = Disk {
            observer: &mut *observer,
            verity: &verity,
        };
        Run {
            job,
            disk,
            generation: plan.generation,
        }
        .step(step)?;
    }
    Ok(())
}

/// Makes another generation current, to go back to one that is sound. As durable as [`Step::Switch`].
///
/// # Errors
/// [`UpdateError::Io`]; the old one is then still current.
pub fn switch_to(_lock: &Lock, layout: &Layout, generation: u64) -> Result<(), UpdateError> {
    let mut disk = Disk {
        observer: &mut (),
        verity: &Verity::default(),
    };
    switch(&mut disk, layout, generation)
}

fn switch(disk: &mut Disk<'_>, layout: &Layout, generation: u64) -> Result<(), UpdateError> {
    disk.switch(&PathBuf::from(format!("generations/{generation}")), &layout.current())
}

struct Run<'a, 'o> {
    job: &'a Job<'a>,
    disk: Disk<'o>,
    generation: u64,
}

impl Run<'_, '_> {
    fn step(&mut self, step: &Step) -> Result<(), UpdateError> {
        let layout = self.job.layout;
        match step {
            Step::Sweep => self.sweep(),
            Step::Fetch(fetch) => self.fetch(fetch),
            Step::Begin => PLACES.iter().chain(&["flists"]).try_for_each(|place| {
                let path = self.path(place);
                self.disk.make_directories(&path)
            }),
            Step::Place {
                object,
                place,
                executable,
                copy,
            } => self.place(&layout.object(object), place, *executable, *copy),
            Step::Link { place, target } => {
                let path = self.prepared(place)?;
                self.disk.symlink(Path::new(target), &path)
            }
            Step::KeepFlist { name } => self.keep_flist(name),
            Step::KeepRelease => self.keep("release.json", &self.job.wanted.envelope),
            Step::Sync => self.sync(&layout.unfinished(self.generation)),
            Step::Finish => self
                .disk
                .rename(&layout.unfinished(self.generation), &layout.generation(self.generation)),
            Step::Switch => switch(&mut self.disk, layout, self.generation),
            Step::Prune { generation } => self.prune(*generation),
            Step::Drop { object } => self.disk.remove_file(&layout.object(object)),
        }
    }

    fn sweep(&mut self) -> Result<(), UpdateError> {
        let layout = self.job.layout;
        for directory in [layout.root().to_owned(), layout.generations(), layout.channel()] {
            self.disk.sweep(&directory)?;
        }
        for shelf in installed::list(&layout.objects())? {
            if shelf.path().is_dir() {
                self.disk.sweep(&shelf.path())?;
            }
        }
        Ok(())
    }

    fn fetch(&mut self, fetch: &Fetch) -> Result<(), UpdateError> {
        let layout = self.job.layout;
        let path = layout.object(&fetch.object);
        let shelf = path.parent().unwrap_or(&path);
        if !shelf.is_dir() {
            self.disk.make_directories(shelf)?;
            self.disk.sync(&layout.objects())?;
        }
        let content = self.job.content;
        self.disk
            .write(&path, fetch.executable, |out| fetch_verified(content, fetch, out))?;
        self.disk.protect(&path, &fetch.object)
    }

    fn place(&mut self, object: &Path, place: &str, executable: bool, copy: bool) -> Result<(), UpdateError> {
        let path = self.prepared(place)?;
        match copy {
            true => self.disk.copy(object, &path, executable),
            false => self.disk.link(object, &path, executable),
        }
    }

    fn keep_flist(&mut self, name: &str) -> Result<(), UpdateError> {
        let flists = &self.job.wanted.flists;
        match flists.iter().find(|flist| flist.name == name) {
            Some(flist) => self.keep(&format!("flists/{name}.fl"), &flist.bytes),
            None => Err(UpdateError::Broken {
                generation: self.generation,
                why: format!("the plan names flist {name}, which is not wanted"),
            }),
        }
    }

    fn keep(&mut self, place: &str, bytes: &[u8]) -> Result<(), UpdateError> {
        let path = self.prepared(place)?;
        let written = |out: &mut dyn Write| out.write_all(bytes).map_err(UpdateError::io("write", &path));
        self.disk.write(&path, false, written)
    }

    /// Syncs a directory after everything below it.
    fn sync(&mut self, directory: &Path) -> Result<(), UpdateError> {
        for entry in installed::list(directory)? {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.sync(&entry.path())?;
            }
        }
        self.disk.sync(directory)
    }

    /// A generation loses its final name first: a half-removed one is a leftover, not a generation.
    fn prune(&mut self, generation: u64) -> Result<(), UpdateError> {
        let layout = self.job.layout;
        let doomed = layout.unfinished(generation);
        self.disk.rename(&layout.generation(generation), &doomed)?;
        self.disk.remove_directory(&doomed)
    }

    fn path(&self, place: &str) -> PathBuf {
        self.job.layout.unfinished(self.generation).join(place)
    }

    /// The path of a place, whose directory is there.
    fn prepared(&mut self, place: &str) -> Result<PathBuf, UpdateError> {
        let path = self.path(place);
        if let Some(parent) = path.parent() {
            self.disk.make_directories(parent)?;
        }
        Ok(path)
    }
}

/// Passes the content on and compares its digest at the end.
fn fetch_verified(content: &dyn Content, fetch: &Fetch, out: &mut dyn Write) -> Result<(), UpdateError> {
    let mut verified = Verified {
        out,
        hasher: VerityHasher::new(),
    };
    content.read(fetch, &mut verified)?;
    let found = verified.hasher.finish();
    if found == fetch.object {
        return Ok(());
    }
    Err(UpdateError::WrongObject {
        file: fetch.file.clone(),
        expected: fetch.object,
        found,
    })
}

struct Verified<'a> {
    out: &'a mut dyn Write,
    hasher: VerityHasher,
}

impl Write for Verified<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

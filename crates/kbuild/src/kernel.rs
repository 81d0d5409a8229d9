//! From exact source and settings to a kernel in the cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use mos_cache::{Cached, Inputs};
use mos_components::{Progress, Workshop};
use mos_config::{KernelBase, KernelSetting, KernelSource};
use mos_store::Digest;
use mos_tree::{Tree, cpio};

use crate::dotconfig;
use crate::error::KbuildError;
use crate::make::{Machine, tools};
use crate::source::{NAME, Source};
use crate::verdict;
use crate::work::Work;

/// The step's name in the cache.
const STEP: &str = "kernel";
/// Raised whenever the same inputs would give another kernel than before.
const FORMAT: u32 = 1;
/// In the step's output: the files of a kernel as an archive, its settings, and what `uname -r` will say.
const TREE_FILE: &str = "kernel.cpio";
const CONFIG_FILE: &str = "config";
const RELEASE_FILE: &str = "release";
/// In a folder that is kept: written when everything in it is compiled, with the time of the source.
const COMPLETE: &str = "complete";
/// In a folder that is kept: the configuration before an initramfs was put in.
pub(crate) const KEPT_CONFIG: &str = "config";
/// As many digits of a key tell builds apart.
const SHORT: usize = 16;

/// A kernel from source: what goes into it, and where it is made. The source itself is asked for only when it is compiled.
#[derive(Debug, Clone)]
pub struct Kernel {
    wanted: KernelSource,
    needed: Vec<KernelSetting>,
    pub(crate) shop: Workshop,
    machine: Machine,
    key: Digest,
}

/// A compiled kernel in the cache.
#[derive(Debug, Clone)]
pub struct BuiltKernel {
    /// `boot/vmlinuz-VERSION`, `boot/config-VERSION`, `boot/System.map-VERSION` and `lib/modules/VERSION` in a cpio archive.
    pub archive: PathBuf,
    /// What `uname -r` will say, as the kernel's own build computed it.
    pub release: String,
    /// The hash of everything that went into it.
    pub key: Digest,
    /// True when it was there already.
    pub cached: bool,
    /// What make said when it was compiled here.
    pub log: PathBuf,
}

impl BuiltKernel {
    /// Its files, as those of a kernel package.
    ///
    /// # Errors
    /// [`KbuildError`].
    pub fn tree(&self) -> Result<Tree, KbuildError> {
        let bytes = fs::read(&self.archive).map_err(KbuildError::at(&self.archive))?;
        Ok(cpio::read(&bytes)?)
    }
}

impl Kernel {
    /// Plans a kernel. `source` is what decides the source's content, [`Source::identity`]; `needed` are settings that the image will not start without, and what for, beside those that every
    /// node needs: `("EFI_STUB", "starting under firmware")`. The tools on this machine are asked for their versions, which
    /// are part of its key.
    ///
    /// # Errors
    /// [`KbuildError::Tool`] when a tool is missing.
    pub fn new(
        source: &str,
        wanted: &KernelSource,
        needed: &[(&str, &str)],
        shop: &Workshop,
    ) -> Result<Self, KbuildError> {
        let machine = Machine::new(shop.architecture());
        let base = match &wanted.base {
            KernelBase::Target(target) => target.clone(),
            KernelBase::File { settings, .. } => dotconfig::lines(settings),
        };
        let key = Inputs::new(STEP, FORMAT)
            .add("source", source)
            .add("architecture", shop.architecture().name())
            .add("base", base)
            .add("settings", dotconfig::lines(&wanted.settings))
            .add("localversion", &wanted.localversion)
            .add("tools", tools(machine)?)
            .key();
        Ok(Self {
            wanted: wanted.clone(),
            needed: verdict::needed(needed),
            shop: shop.clone(),
            machine,
            key,
        })
    }

    /// The hash of everything that decides its bytes.
    pub fn key(&self) -> Digest {
        self.key
    }

    /// The kernel, if it is in the cache.
    ///
    /// # Errors
    /// [`KbuildError::Refused`] when it lacks what this image needs.
    pub fn find(&self) -> Result<Option<BuiltKernel>, KbuildError> {
        let cached = self.shop.cache().find(STEP, &self.key);
        cached.map(|cached| self.built(cached)).transpose()
    }

    /// The kernel, from the cache or compiled now. A failed build leaves nothing behind but its log.
    ///
    /// # Errors
    /// [`KbuildError`]; [`KbuildError::Refused`] names every setting that did not take.
    pub fn build(&self, source: &Source, progress: &mut Progress<'_>) -> Result<BuiltKernel, KbuildError> {
        let root = self.shop.folder("build").join(format!("kernel-{}-once", self.short()));
        self.step(|output| {
            // Gigabytes that a killed build left; nobody else works there, since steps take turns.
            remove_folder(&root)?;
            let made = self.compile(source, &root, progress);
            let made = made.and_then(|mut work| self.pack(&mut work, output));
            // The result is what counts; a leftover goes with the next build of this kernel, or `mos clean`.
            let _ = remove_folder(&root);
            made
        })
    }

    fn step(&self, produce: impl FnOnce(&Path) -> Result<(), KbuildError>) -> Result<BuiltKernel, KbuildError> {
        self.built(self.shop.cache().step(STEP, &self.key, produce)?)
    }

    fn built(&self, cached: Cached) -> Result<BuiltKernel, KbuildError> {
        let read = |name: &str| {
            let path = cached.path.join(name);
            fs::read_to_string(&path).map_err(KbuildError::at(&path))
        };
        // What is needed depends on the image and is no part of the key.
        let got = dotconfig::parse(&read(CONFIG_FILE)?);
        verdict::check(&self.needed, &got, None).map_err(KbuildError::Refused)?;
        Ok(BuiltKernel {
            archive: cached.path.join(TREE_FILE),
            release: read(RELEASE_FILE)?,
            key: self.key,
            cached: cached.hit,
            log: self.shop.log(NAME),
        })
    }

    fn short(&self) -> String {
        self.key.to_string()[..SHORT].to_owned()
    }

    fn compile<'w, 'p>(
        &self,
        source: &Source,
        root: &Path,
        progress: &'w mut Progress<'p>,
    ) -> Result<Work<'w, 'p>, KbuildError> {
        let mut work = Work::unpack(root, source, self.machine, &self.shop, progress)?;
        let got = work.configure(&self.wanted, &self.needed)?;
        work.compile(&got)?;
        Ok(work)
    }

    fn pack(&self, work: &mut Work<'_, '_>, output: &Path) -> Result<(), KbuildError> {
        let path = work.file(".config");
        let config = fs::read(&path).map_err(KbuildError::at(&path))?;
        let got = dotconfig::parse(&String::from_utf8_lossy(&config));
        let mut archive = Vec::new();
        cpio::write(&work.install(&got)?, &mut archive)?;
        let release = work.release()?.into_bytes();
        for (name, bytes) in [(TREE_FILE, archive), (CONFIG_FILE, config), (RELEASE_FILE, release)] {
            let path = output.join(name);
            fs::write(&path, bytes).map_err(KbuildError::at(&path))?;
        }
        Ok(())
    }

    /// The folder in which this kernel was compiled, kept, so that it can be linked again. Whoever else wants it waits
    /// until the returned file is dropped.
    pub(crate) fn kept<'w, 'p>(
        &self,
        source: &Source,
        progress: &'w mut Progress<'p>,
    ) -> Result<(Work<'w, 'p>, File), KbuildError> {
        let root = self.shop.folder("build").join(format!("kernel-{}", self.short()));
        fs::create_dir_all(&root).map_err(KbuildError::at(&root))?;
        let path = root.join("lock");
        let lock = File::create(&path).map_err(KbuildError::at(&path))?;
        lock.lock().map_err(KbuildError::at(&path))?;
        let complete = root.join(COMPLETE);
        let time = fs::read_to_string(&complete)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        if let Some(time) = time {
            let work = Work::again(&root, time, self.machine, &self.shop, progress)?;
            return Ok((work, lock));
        }
        let linux = root.join("linux");
        remove_folder(&linux)?;
        let work = self.compile(source, &root, progress)?;
        let (from, to) = (work.file(".config"), root.join(KEPT_CONFIG));
        fs::copy(&from, &to).map_err(KbuildError::at(&from))?;
        let time = work.time.to_string();
        mos_sys::durable::write(&complete, time.as_bytes(), 0o644).map_err(KbuildError::at(&complete))?;
        Ok((work, lock))
    }

    /// The kernel, from the cache or from the folder that is kept.
    ///
    /// # Errors
    /// As [`Kernel::build`].
    pub fn build_kept(&self, source: &Source, progress: &mut Progress<'_>) -> Result<BuiltKernel, KbuildError> {
        self.step(|output| {
            let (mut work, _lock) = self.kept(source, progress)?;
            self.pack(&mut work, output)
        })
    }
}

/// Removes a folder, if it is there.
fn remove_folder(path: &Path) -> Result<(), KbuildError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(KbuildError::at(path)(error)),
        _ => Ok(()),
    }
}

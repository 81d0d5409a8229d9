//! One kernel in the folder where it is compiled: configure, compile, take the result.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mos_components::{Log, Progress, Workshop};
use mos_config::{KernelBase, KernelSetting, KernelSource};
use mos_tree::{Kind, Timestamp, Tree, directory};

use crate::dotconfig::{self, Values};
use crate::error::KbuildError;
use crate::make::{self, Machine};
use crate::source::{NAME, Source};
use crate::verdict;

/// What the kernel's own tools are compiled with, when these settings are on, and the packages that have it.
const HEADERS: [(&str, &str, &str); 3] = [
    ("OBJTOOL", "gelf.h", "libelf-dev"),
    ("SYSTEM_TRUSTED_KEYRING", "openssl/opensslv.h", "libssl-dev"),
    ("MODULE_SIG", "openssl/opensslv.h", "libssl-dev"),
];
/// Lists of what is built in, which a package has with the modules.
const LISTS: [&str; 3] = ["modules.builtin", "modules.builtin.modinfo", "modules.order"];
/// Where modules are installed to, beside the source.
const STAGE: &str = "stage";
/// The key that the build makes for modules when it is given none.
const MADE_KEY: &str = "\"certs/signing_key.pem\"";

/// A folder with the source of a kernel, and what is made of it.
pub(crate) struct Work<'w, 'p> {
    /// The folder around the source: everything in it belongs to this build.
    root: PathBuf,
    /// When the source was made, in seconds since 1970.
    pub(crate) time: i64,
    machine: Machine,
    log: Log,
    pub(crate) progress: &'w mut Progress<'p>,
}

impl<'w, 'p> Work<'w, 'p> {
    /// Unpacks a source into a new folder.
    pub(crate) fn unpack(
        root: &Path,
        source: &Source,
        machine: Machine,
        shop: &Workshop,
        progress: &'w mut Progress<'p>,
    ) -> Result<Self, KbuildError> {
        progress("unpacking the source");
        let time = source.unpack(&root.join("linux"))?;
        Self::again(root, time, machine, shop, progress)
    }

    /// Goes on in a folder where a kernel was compiled before.
    pub(crate) fn again(
        root: &Path,
        time: i64,
        machine: Machine,
        shop: &Workshop,
        progress: &'w mut Progress<'p>,
    ) -> Result<Self, KbuildError> {
        Ok(Self {
            // The path goes into flags that map it away: it must be the one that the compiler sees.
            root: root.canonicalize().map_err(KbuildError::at(root))?,
            time,
            machine,
            log: Log::begin(NAME, shop.log(NAME))?,
            progress,
        })
    }

    /// A file of the source, or of what is made of it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.join("linux").join(name)
    }

    /// The kernel as a PE file.
    pub(crate) fn image(&self) -> PathBuf {
        self.file(self.machine.image)
    }

    fn make(&mut self, arguments: &[&str]) -> Result<(), KbuildError> {
        let command = make::command(&self.root.join("linux"), self.machine, self.time, arguments);
        Ok(self.log.run(command, self.progress)?)
    }

    /// Makes the configuration: the base with the wanted settings on top.
    pub(crate) fn configure(&mut self, wanted: &KernelSource, needed: &[KernelSetting]) -> Result<Values, KbuildError> {
        let base = match &wanted.base {
            KernelBase::File { settings, .. } => dotconfig::lines(settings),
            KernelBase::Target(target) => self.base(target)?,
        };
        let mut settings = wanted.settings.clone();
        if !wanted.localversion.is_empty() {
            settings.retain(|setting| setting.name != "LOCALVERSION");
            settings.push(KernelSetting {
                name: "LOCALVERSION".to_owned(),
                value: format!("\"{}\"", wanted.localversion),
                place: "mos.toml: [kernel] localversion".to_owned(),
            });
        }
        let got = self.settle(&base, &settings, needed)?;
        self.check_headers(&got)?;
        if got.contains_key("MODULE_SIG") && got.get("MODULE_SIG_KEY").is_some_and(|key| key == MADE_KEY) {
            (self.progress)(
                "warning: the kernel's modules are signed with a key that each build makes anew: builds differ; \
                 CONFIG_MODULE_SIG_KEY names one of your own",
            );
        }
        Ok(got)
    }

    /// What a target of make makes.
    fn base(&mut self, target: &str) -> Result<String, KbuildError> {
        self.make(&[target])?;
        self.read(".config")
    }

    /// Has the kernel's own tool complete a configuration, and checks that what was wanted is in it.
    pub(crate) fn settle(
        &mut self,
        base: &str,
        wanted: &[KernelSetting],
        needed: &[KernelSetting],
    ) -> Result<Values, KbuildError> {
        let path = self.file(".config");
        fs::write(&path, dotconfig::merge(base, wanted)).map_err(KbuildError::at(&path))?;
        self.make(&["olddefconfig"])?;
        let got = dotconfig::parse(&self.read(".config")?);
        let missing = needed
            .iter()
            .filter(|need| !wanted.iter().any(|setting| setting.name == need.name));
        let all: Vec<KernelSetting> = wanted.iter().chain(missing).cloned().collect();
        let folder = self.root.join("linux");
        verdict::check(&all, &got, Some((&folder, self.machine.folder))).map_err(KbuildError::Refused)?;
        Ok(got)
    }

    /// Compiles the kernel, and its modules when it has any.
    pub(crate) fn compile(&mut self, got: &Values) -> Result<(), KbuildError> {
        let jobs = make::jobs();
        let mut targets = vec![jobs.as_str(), self.machine.target];
        targets.extend(got.contains_key("MODULES").then_some("modules"));
        self.make(&targets)
    }

    /// Links the kernel again.
    pub(crate) fn link(&mut self) -> Result<(), KbuildError> {
        let jobs = make::jobs();
        self.make(&[jobs.as_str(), self.machine.target])
    }

    /// What `uname -r` will say: the build wrote it down.
    pub(crate) fn release(&self) -> Result<String, KbuildError> {
        Ok(self.read("include/config/kernel.release")?.trim().to_owned())
    }

    /// The files as the package of a kernel has them.
    pub(crate) fn install(&mut self, got: &Values) -> Result<Tree, KbuildError> {
        let release = self.release()?;
        let modules = self.root.join(STAGE).join("lib/modules").join(&release);
        if got.contains_key("MODULES") {
            let stage = format!("INSTALL_MOD_PATH={}", self.root.join(STAGE).display());
            // What is stripped is signed afterwards. `modules.dep` is made from the modules of an image, not of a kernel.
            self.make(&[
                &make::jobs(),
                &stage,
                "INSTALL_MOD_STRIP=1",
                "DEPMOD=true",
                "modules_install",
            ])?;
            // Links to where it was compiled.
            for link in ["build", "source"] {
                remove(&modules.join(link))?;
            }
        }
        fs::create_dir_all(&modules).map_err(KbuildError::at(&modules))?;
        for list in LISTS {
            let (from, to) = (self.file(list), modules.join(list));
            if from.is_file() && !to.exists() {
                fs::copy(&from, &to).map_err(KbuildError::at(&from))?;
            }
        }
        let mut tree = directory::read(&self.root.join(STAGE), directory::Options::default())?;
        for (name, file) in [
            ("vmlinuz", self.image()),
            ("config", self.file(".config")),
            ("System.map", self.file("System.map")),
        ] {
            let bytes = fs::read(&file).map_err(KbuildError::at(&file))?;
            tree.insert_file(format!("boot/{name}-{release}"), 0o644, bytes)?;
        }
        normalise(&mut tree, self.time);
        Ok(tree)
    }

    fn read(&self, name: &str) -> Result<String, KbuildError> {
        let path = self.file(name);
        fs::read_to_string(&path).map_err(KbuildError::at(&path))
    }

    /// A missing header is told before minutes are spent.
    fn check_headers(&self, got: &Values) -> Result<(), KbuildError> {
        for (setting, header, package) in HEADERS {
            if got.contains_key(setting) && !has_header(header).map_err(KbuildError::at(Path::new("gcc")))? {
                return Err(KbuildError::Header {
                    setting,
                    header,
                    package,
                });
            }
        }
        Ok(())
    }
}

fn has_header(header: &str) -> io::Result<bool> {
    let mut command = Command::new("gcc");
    command.args(["-E", "-x", "c", "-include", header, "/dev/null"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.status()?.success())
}

fn remove(path: &Path) -> Result<(), KbuildError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(KbuildError::at(path)(error)),
        _ => Ok(()),
    }
}

/// Everything belongs to root and has the time of the source, whoever compiled it when.
fn normalise(tree: &mut Tree, time: i64) {
    let ids: Vec<_> = tree.walk().map(|entry| entry.id).collect();
    for id in ids {
        let inode = tree.inode_mut(id);
        let mode = match &inode.kind {
            Kind::Directory(_) => 0o755,
            Kind::Symlink(_) => 0o777,
            _ => 0o644,
        };
        inode.metadata.mode = mode;
        (inode.metadata.uid, inode.metadata.gid) = (0, 0);
        inode.metadata.mtime = Timestamp {
            seconds: time,
            ..Timestamp::default()
        };
    }
}

//! The tree that is packed: packages of the distribution, unpacked, in the oldest and the newest version that apt offers.
//!
//! About 1.06 GB and 23,600 entries on Debian 12: a kernel with all modules, a compiler, a Java runtime, Python, Perl, Node,
//! databases. Kept in `target/bench-flist`, so that it is made once; delete that folder for newer packages.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packages of both versions; most of them have had a security update, some have not.
const PACKAGES: [&str; 25] = [
    "cpp-12",
    "gcc-12",
    "git",
    "libc6",
    "libc6-dev",
    "libgs10",
    "libnode108",
    "libpython3.11-stdlib",
    "libruby3.1",
    "libssl3",
    "locales",
    "openjdk-17-jre-headless",
    "openssl",
    "perl-base",
    "perl-modules-5.36",
    "php8.2-cli",
    "postgresql-15",
    "python3-django",
    "python3-samba",
    "python3.11-minimal",
    "qemu-system-data",
    "samba-libs",
    "systemd",
    "tzdata",
    "udev",
];
/// Its dependency is the kernel image, whose name has the version in it.
const KERNEL: &str = "linux-image-amd64";
/// Where the corpus is kept, below the directory that the bench is started in.
const FOLDER: &str = "target/bench-flist";

/// The packages of the smaller corpus, without a kernel.
const SMALL: [&str; 7] = [
    "cpp-12",
    "git",
    "libnode108",
    "libpython3.11-stdlib",
    "perl-modules-5.36",
    "postgresql-15",
    "python3-django",
];

/// Two versions of one tree.
pub(super) struct Corpus {
    /// The folder of everything; work that must be on the same file system goes below it.
    pub(super) folder: PathBuf,
    /// The version to begin with.
    pub(super) old: PathBuf,
    /// After an upgrade of many packages.
    pub(super) new: PathBuf,
    packages: &'static [&'static str],
    kernel: bool,
}

impl Corpus {
    /// Makes the corpus, or takes the one of an earlier run.
    pub(super) fn make() -> Result<Self, String> {
        let small = std::env::var_os("MOS_BENCH_CORPUS").is_some_and(|size| size == "small");
        let folder = std::env::current_dir().map_err(text)?.join(FOLDER);
        let folder = if small { folder.join("small") } else { folder };
        fs::create_dir_all(folder.join("packages")).map_err(text)?;
        let corpus = Self {
            old: folder.join("old"),
            new: folder.join("new"),
            packages: if small { &SMALL } else { &PACKAGES },
            kernel: !small,
            folder,
        };
        corpus.unpack(&corpus.old, |versions| versions.first().cloned())?;
        corpus.unpack(&corpus.new, |versions| versions.last().cloned())?;
        Ok(corpus)
    }

    /// Bytes of content and number of entries of the old version.
    pub(super) fn size(&self) -> Result<(u64, u64), String> {
        let mut size = (0, 0);
        walk(&self.old, &mut |path| {
            let metadata = fs::symlink_metadata(path).map_err(text)?;
            size.0 += if metadata.is_file() { metadata.size() } else { 0 };
            size.1 += 1;
            Ok(())
        })?;
        Ok(size)
    }

    pub(super) fn describe(&self) -> Result<String, String> {
        let (bytes, entries) = self.size()?;
        Ok(format!(
            "{:.2} GB, {entries} entries, in {}",
            bytes as f64 / 1e9,
            self.old.display()
        ))
    }

    fn unpack(&self, target: &Path, choose: impl Fn(&[String]) -> Option<String>) -> Result<(), String> {
        if target.is_dir() {
            return Ok(());
        }
        // A run that is cut off leaves this behind, never half a corpus.
        let partial = target.with_extension("partial");
        let _ = fs::remove_dir_all(&partial);
        fs::create_dir(&partial).map_err(text)?;
        let chosen = |package: &str| choose(&versions(package)?).ok_or_else(|| format!("apt has no package {package}"));
        for package in self.packages {
            self.add(package, &chosen(package)?, &partial)?;
        }
        if self.kernel {
            let kernel = kernel(&chosen(KERNEL)?)?;
            self.add(&kernel, &chosen(&kernel)?, &partial)?;
        }
        fs::rename(&partial, target).map_err(text)
    }

    fn add(&self, package: &str, version: &str, target: &Path) -> Result<(), String> {
        let folder = self
            .folder
            .join("packages")
            .join(format!("{package}={}", version.replace(':', "%")));
        if !folder.is_dir() {
            let partial = folder.with_extension("partial");
            fs::create_dir_all(&partial).map_err(text)?;
            let wanted = format!("{package}={version}");
            output(
                Command::new("apt-get")
                    .args(["download", "-qq", &wanted])
                    .current_dir(&partial),
            )?;
            fs::rename(&partial, &folder).map_err(text)?;
        }
        for file in fs::read_dir(&folder).map_err(text)? {
            output(
                Command::new("dpkg-deb")
                    .arg("-x")
                    .arg(file.map_err(text)?.path())
                    .arg(target),
            )?;
        }
        Ok(())
    }
}

/// The versions of a package that apt offers, oldest first.
fn versions(package: &str) -> Result<Vec<String>, String> {
    let listed = output(Command::new("apt-cache").args(["madison", package]))?;
    let column = |line: &str| line.split('|').nth(1).map(|version| version.trim().to_owned());
    // apt lists the newest first.
    Ok(listed.lines().rev().filter_map(column).collect())
}

/// The package of the kernel that this version of the meta package wants.
fn kernel(version: &str) -> Result<String, String> {
    let shown = output(Command::new("apt-cache").args(["show", &format!("{KERNEL}={version}")]))?;
    let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: "));
    let name = depends.and_then(|depends| depends.split([' ', ',']).next());
    name.map(str::to_owned)
        .ok_or_else(|| format!("{KERNEL} {version} names no kernel"))
}

/// Visits a directory and everything below it.
pub(super) fn walk(path: &Path, visit: &mut dyn FnMut(&Path) -> Result<(), String>) -> Result<(), String> {
    visit(path)?;
    if !fs::symlink_metadata(path).map_err(text)?.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(text)? {
        walk(&entry.map_err(text)?.path(), visit)?;
    }
    Ok(())
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}

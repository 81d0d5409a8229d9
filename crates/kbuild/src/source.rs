//! The source of a kernel: exact, on this machine, unpacked where it is compiled.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mos_components::download::{self, DownloadError};
use mos_components::{Progress, Workshop, git};
use mos_packages::compression::Compression;
use mos_packages::deb;
use mos_tree::{Content, Kind};

use crate::error::KbuildError;

/// Where a package of source has its archive.
const PACKAGE_FOLDER: &str = "usr/src/";
/// An archive of a kernel is not larger, in bytes: that of 6.12 has 150 MB with xz, 1.5 GB plain.
const ARCHIVE_MAX: u64 = 4 << 30;
/// A compiled kernel and its source take about this many times its archive, as the one of 6.12 does with xz.
const ROOM_FACTOR: u64 = 16;
/// Where archives are kept in the cache, and what messages call the kernel.
const FOLDER: &str = "sources";
pub(crate) const NAME: &str = "kernel";

/// The source of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A Debian package with an archive in `/usr/src`.
    Package {
        /// The package, checked against the lock.
        deb: PathBuf,
        /// Of the package, in hex.
        sha256: String,
    },
    /// An archive, checked.
    Archive {
        /// The archive.
        file: PathBuf,
        /// Of the archive, in hex.
        sha256: String,
    },
    /// A commit in a bare repository.
    Commit {
        /// The repository.
        repository: PathBuf,
        /// In hex.
        commit: String,
    },
}

impl Source {
    /// Brings an archive into the cache, unless it is there, and checks its digest. A path begins at the config
    /// repository.
    ///
    /// # Errors
    /// [`KbuildError::Digest`], [`KbuildError::Download`], [`KbuildError::Io`].
    pub fn archive(url: &str, sha256: &str, shop: &Workshop, progress: &mut Progress<'_>) -> Result<Self, KbuildError> {
        let sha256 = sha256.to_owned();
        if !url.contains("://") {
            let file = shop.repository().join(url);
            let found = digest(&file)?;
            expect(&file.display().to_string(), &sha256, found)?;
            return Ok(Self::Archive { file, sha256 });
        }
        let file = shop.folder(FOLDER).join(&sha256);
        if !(file.is_file() && digest(&file)? == sha256) {
            download::fetch(url, &file, ARCHIVE_MAX, Some(&sha256), progress).map_err(failed)?;
        }
        Ok(Self::Archive { file, sha256 })
    }

    /// Brings a commit into the cache, unless it is there.
    ///
    /// # Errors
    /// [`KbuildError::Tool`].
    pub fn commit(url: &str, commit: &str, shop: &Workshop, progress: &mut Progress<'_>) -> Result<Self, KbuildError> {
        Ok(Self::Commit {
            repository: git::fetch_commit(NAME, url, commit, shop, progress)?,
            commit: commit.to_owned(),
        })
    }

    /// What decides its content: a digest or a commit.
    pub fn identity(&self) -> &str {
        match self {
            Self::Package { sha256, .. } | Self::Archive { sha256, .. } => sha256,
            Self::Commit { commit, .. } => commit,
        }
    }

    /// Unpacks it into a new folder. Returns when it was made, in seconds since 1970: the time of the commit, or of the
    /// newest of the package's files or of those at the top of the archive.
    pub(crate) fn unpack(&self, folder: &Path) -> Result<i64, KbuildError> {
        fs::create_dir_all(folder).map_err(KbuildError::at(folder))?;
        let time = match self {
            Self::Package { deb, .. } => {
                let (archive, time) = open_package(deb)?;
                let length = archive.len();
                let reader = archive.open().map_err(KbuildError::at(deb))?;
                unpack_archive(reader, length, deb, folder)?;
                time
            }
            Self::Archive { file, .. } => {
                let opened = File::open(file).map_err(KbuildError::at(file))?;
                let length = opened.metadata().map_err(KbuildError::at(file))?.len();
                unpack_archive(opened, length, file, folder)?;
                newest(folder)?
            }
            Self::Commit { repository, commit } => {
                git::export(NAME, repository, commit, folder)?;
                git::commit_time(NAME, repository, commit)?
            }
        };
        let has = |name: &str, word: &str| {
            fs::read(folder.join(name)).is_ok_and(|text| String::from_utf8_lossy(&text).contains(word))
        };
        if has("Makefile", "VERSION") && has("Kconfig", "") {
            Ok(time)
        } else {
            Err(KbuildError::NotAKernel(self.identity().to_owned()))
        }
    }
}

/// The archive in a package of source, and the time of the newest file of the package.
fn open_package(deb: &Path) -> Result<(Content, i64), KbuildError> {
    let tree = deb::read(deb)?.tree;
    let archive = tree.walk().find_map(|entry| {
        let name = std::str::from_utf8(entry.path.strip_prefix(PACKAGE_FOLDER.as_bytes())?).ok()?;
        match &entry.inode.kind {
            Kind::File(content) if name.contains(".tar") => Some(content.clone()),
            _ => None,
        }
    });
    let times = tree.walk().map(|entry| entry.inode.metadata.mtime.seconds);
    let time = times.max().unwrap_or(0);
    let archive = archive.ok_or_else(|| KbuildError::NoArchive(deb.to_owned()))?;
    Ok((archive, time))
}

/// Unpacks an archive of any compression without its folder at the top. A gigabyte of files does not go through memory:
/// `tar` writes them, which refuses names that lead out of the folder.
fn unpack_archive(mut reader: impl Read, length: u64, shown: &Path, folder: &Path) -> Result<(), KbuildError> {
    let free = mos_sys::space::free(folder).map_err(KbuildError::at(folder))?;
    let needed = length.saturating_mul(ROOM_FACTOR);
    if free < needed {
        let folder = folder.to_owned();
        return Err(KbuildError::NoRoom { folder, needed, free });
    }
    let mut head = [0; 6];
    let failed = || KbuildError::at(shown);
    let count = read_head(&mut reader, &mut head).map_err(failed())?;
    let whole = head[..count].chain(reader);
    let plain = Compression::of_content(&head[..count])
        .reader(whole)
        .map_err(failed())?;
    tar(plain, folder).map_err(failed())
}

fn read_head(reader: &mut impl Read, head: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < head.len() {
        match reader.read(&mut head[count..])? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}

fn tar(mut plain: impl Read, folder: &Path) -> io::Result<()> {
    let mut command = Command::new("tar");
    command
        .args([
            "--extract",
            "--no-same-owner",
            "--no-same-permissions",
            "--strip-components=1",
            "--file=-",
        ])
        .arg("--directory")
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let copied = child
        .stdin
        .take()
        .map_or(Ok(0), |mut input| io::copy(&mut plain, &mut input));
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    match copied {
        // When tar gave up, what it said is the reason, and the broken pipe is not.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ if output.status.success() => Ok(()),
        _ => Err(io::Error::other(format!(
            "tar failed ({}): {}",
            output.status,
            said.trim_end()
        ))),
    }
}

/// The newest of the files at the top: an archive that was made of a release gives all of them its time.
fn newest(folder: &Path) -> Result<i64, KbuildError> {
    use std::os::unix::fs::MetadataExt as _;
    let entries = fs::read_dir(folder).map_err(KbuildError::at(folder))?;
    let files = entries.flatten().filter_map(|entry| entry.metadata().ok());
    let times = files.filter(fs::Metadata::is_file).map(|metadata| metadata.mtime());
    Ok(times.max().unwrap_or(0))
}

fn digest(path: &Path) -> Result<String, KbuildError> {
    download::sha256(path).map_err(KbuildError::at(path))
}

fn failed(error: DownloadError) -> KbuildError {
    match error {
        DownloadError::Digest { url, expected, found } => KbuildError::Digest {
            path: url,
            expected,
            found,
        },
        other => other.into(),
    }
}

fn expect(path: &str, expected: &str, found: String) -> Result<(), KbuildError> {
    if found == expected {
        return Ok(());
    }
    Err(KbuildError::Digest {
        path: path.to_owned(),
        expected: expected.to_owned(),
        found,
    })
}

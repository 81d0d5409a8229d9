//! Which kernel images start with: `[kernel]` of `mos.toml`.
//!
//! ```toml
//! [kernel]
//! package = "linux-image-6.12-cloud-amd64"          # a package as it is, or instead:
//! source = "linux-source-6.12"                      # a Debian package of source
//! source = "https://…/linux-6.12.60.tar.xz"         # an archive; `sha256` says which
//! source = "https://…/linux.git"                    # a git repository; `commit` says which
//! base = "tinyconfig"                               # what make knows (tinyconfig, defconfig, …), or image/NAME.config
//! localversion = "-lab"                             # ends what `uname -r` says
//! ```

use mos_toml::{Item, Problem, Table};
use serde::Serialize;

use crate::kernel_config::KernelSetting;
use crate::names::{is_hex, is_inner_path, is_package};
use crate::source::{GitUrl, classify_url};

/// The base when none is named: everything that can be off is off, and what is needed is written down.
const DEFAULT_BASE: &str = "tinyconfig";
/// The kernel's own limit for what `uname -r` says, with the final NUL (`__NEW_UTS_LEN`); the version itself needs some.
const LOCALVERSION_MAX: usize = 48;

/// The kernel to be compiled for a project's images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelChoice {
    /// Where the source is.
    pub origin: KernelOrigin,
    /// Where its settings begin: a target of the kernel's `make`, or the path of a file.
    pub base: Item<String>,
    /// What is added to the version.
    pub localversion: String,
}

/// Where the source of a kernel is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelOrigin {
    /// A Debian package with an archive in `/usr/src`; its exact version is in the lock.
    Package(String),
    /// An archive.
    Archive {
        /// `https://`, `http://` or a path of the config repository.
        url: String,
        /// Of the archive, in hex.
        sha256: String,
    },
    /// A commit.
    Git {
        /// As git takes it; a relative path begins at the config repository.
        url: String,
        /// In hex.
        commit: String,
    },
}

/// A kernel to be compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KernelSource {
    /// Where its source is.
    pub origin: KernelOrigin,
    /// Where its settings begin.
    pub base: KernelBase,
    /// What is added to the version.
    pub localversion: String,
    /// What is wanted on top of the base, each name once, sorted by name.
    pub settings: Vec<KernelSetting>,
}

/// Where the settings of a kernel begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelBase {
    /// A target of the kernel's `make`: `tinyconfig`, `defconfig`.
    Target(String),
    /// A file of the config repository.
    File {
        /// Its path.
        path: String,
        /// What it says.
        #[serde(skip)]
        settings: Vec<KernelSetting>,
    },
}

impl KernelOrigin {
    /// What people call it.
    pub fn name(&self) -> &str {
        match self {
            Self::Package(name) => name,
            Self::Archive { url, .. } | Self::Git { url, .. } => url,
        }
    }
}

impl KernelChoice {
    /// Reads what `[kernel]` says of a source; what is wrong is reported there.
    pub(crate) fn read(kernel: &Table<'_>) -> Option<Self> {
        match kernel.string_item("source") {
            Some(_) if kernel.has("package") => {
                kernel.complain(
                    "source",
                    "`package` and `source` are both there: a kernel has one of them",
                );
                None
            }
            Some(source) => read_source(kernel, &source),
            None => {
                for key in ["sha256", "commit", "base", "localversion"]
                    .into_iter()
                    .filter(|key| kernel.has(key))
                {
                    kernel.complain(
                        key,
                        format!("`{key}` is for a kernel from `source`; a package is taken as it is"),
                    );
                    kernel.value(key);
                }
                None
            }
        }
    }
}

fn read_source(kernel: &Table<'_>, source: &Item<String>) -> Option<KernelChoice> {
    let origin = read_origin(kernel, source);
    let base = kernel.string_item("base").unwrap_or_else(|| Item {
        value: DEFAULT_BASE.to_owned(),
        position: kernel.position(),
    });
    if !is_target(&base.value) && !is_file(&base.value) {
        let message = format!("`{}` is neither a target of the kernel's make nor a file", base.value);
        let problem = Problem::error(Some(base.position.clone()), message);
        kernel.report(problem.with_hint("use tinyconfig, defconfig, or image/NAME.config"));
    }
    let localversion = kernel.string("localversion").unwrap_or_default();
    if !is_localversion(&localversion) {
        kernel.complain(
            "localversion",
            format!("`localversion` may have letters, digits and `-._+~`, {LOCALVERSION_MAX} at most"),
        );
    }
    Some(KernelChoice {
        origin: origin?,
        base,
        localversion,
    })
}

/// What decides is the key beside it: a digest means an archive, a commit means git.
fn read_origin(kernel: &Table<'_>, source: &Item<String>) -> Option<KernelOrigin> {
    let (sha256, commit) = (kernel.string("sha256"), kernel.string("commit"));
    let url = source.value.clone();
    let wrong = |key: &'static str, message: &str| {
        kernel.complain(key, message);
        None
    };
    match (sha256, commit) {
        (Some(_), Some(_)) => wrong(
            "commit",
            "`sha256` is for an archive and `commit` for git: name one of them",
        ),
        (Some(sha256), None) if !is_hex(&sha256, 64) => wrong("sha256", "`sha256` is not 64 lower-case hex digits"),
        (None, Some(commit)) if !is_hex(&commit, 40) => wrong("commit", "`commit` is not 40 lower-case hex digits"),
        (Some(_), None) if !is_archive(&url) => wrong(
            "source",
            "`source` is no archive: use https://…, http://… or a path of the config repository, ending in .tar, .tar.gz, .tar.xz or .tar.zst",
        ),
        (Some(sha256), None) => Some(KernelOrigin::Archive { url, sha256 }),
        (None, Some(_)) if classify_url(&url) == GitUrl::Bad => {
            wrong("source", "`source` is no URL of a git repository")
        }
        (None, Some(_)) if classify_url(&url) == GitUrl::WithPassword => wrong(
            "source",
            "`source` has a password in it; git's credential helpers keep it out of the repository",
        ),
        (None, Some(commit)) => Some(KernelOrigin::Git { url, commit }),
        (None, None) if is_package(&url) => Some(KernelOrigin::Package(url)),
        (None, None) => wrong(
            "source",
            "`source` is not the name of a Debian package; with a URL, `sha256` (an archive) or `commit` (git) says exactly what it is",
        ),
    }
}

fn is_archive(url: &str) -> bool {
    let elsewhere = url.starts_with("https://") || url.starts_with("http://");
    let ending = [".tar", ".tar.gz", ".tar.xz", ".tar.zst"]
        .iter()
        .any(|ending| url.ends_with(ending));
    ending && !url.contains(['?', '#', ' ']) && (elsewhere || is_inner_path(url))
}

/// True for the name of a target that makes a configuration.
fn is_target(base: &str) -> bool {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    base.ends_with("config") && base.chars().all(letters) && !base.starts_with('-')
}

fn is_file(base: &str) -> bool {
    base.starts_with("image/") && base.ends_with(".config") && is_inner_path(base)
}

/// The version is part of file names and of what make and the shell read.
fn is_localversion(text: &str) -> bool {
    text.len() <= LOCALVERSION_MAX && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._+~".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mos_toml::{Document, Problems};

    fn read(text: &str) -> (Option<KernelChoice>, String) {
        let document = Document::parse("mos.toml", format!("[kernel]\n{text}")).unwrap();
        let problems = Problems::default();
        let root = document.root(&problems);
        let kernel = root.table("kernel").unwrap();
        let choice = KernelChoice::read(&kernel);
        kernel.string("package");
        kernel.finish();
        (choice, problems.to_string())
    }

    fn origin(text: &str) -> KernelOrigin {
        match read(text) {
            (Some(KernelChoice { origin, .. }), problems) if problems.is_empty() => origin,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_source_is_a_package_an_archive_or_a_commit() {
        assert_eq!(
            origin("source = \"linux-source-6.12\"\n"),
            KernelOrigin::Package("linux-source-6.12".into())
        );
        let digest = "ab".repeat(32);
        let url = "https://example.org/linux-6.12.tar.xz";
        assert_eq!(
            origin(&format!("source = \"{url}\"\nsha256 = \"{digest}\"\n")),
            KernelOrigin::Archive {
                url: url.into(),
                sha256: digest
            }
        );
        let (url, commit) = ("repos/linux.bundle", "0a".repeat(20));
        assert_eq!(
            origin(&format!("source = \"{url}\"\ncommit = \"{commit}\"\n")),
            KernelOrigin::Git {
                url: url.into(),
                commit
            }
        );
        assert_eq!(read(""), (None, String::new()));
    }

    #[test]
    fn what_does_not_say_exactly_what_it_is_is_refused() {
        let digest = "ab".repeat(32);
        for (text, expected) in [
            (
                "source = \"https://example.org/l.tar.xz\"\n".to_owned(),
                "mos.toml:2:10: `source` is not the name",
            ),
            (
                format!("source = \"https://e.org/l.zip\"\nsha256 = \"{digest}\"\n"),
                "`source` is no archive",
            ),
            (
                format!("source = \"../l.tar\"\nsha256 = \"{digest}\"\n"),
                "`source` is no archive",
            ),
            (
                "source = \"a/b\"\ncommit = \"main\"\n".to_owned(),
                "not 40 lower-case hex digits",
            ),
            ("source = \"ls\"\npackage = \"ls\"\n".to_owned(), "are both there"),
            (
                "package = \"linux\"\nbase = \"defconfig\"\n".to_owned(),
                "`base` is for a kernel from",
            ),
            (
                "source = \"ls\"\nbase = \"menu config\"\n".to_owned(),
                "hint: use tinyconfig",
            ),
            (
                "source = \"ls\"\nlocalversion = \"-a b\"\n".to_owned(),
                "`localversion` may have",
            ),
        ] {
            let (_, problems) = read(&text);
            assert!(problems.contains(expected), "{text}: {problems}");
        }
    }
}

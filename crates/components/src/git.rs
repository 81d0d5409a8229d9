//! Git repositories, through the user's own git: any URL, any credentials it knows, and bundle files.
//!
//! One bare repository per URL is kept in the cache. Only what is asked for is fetched into it; a commit that is there
//! already needs no network. Nothing is ever checked out with filters or hooks: files are written as they are stored.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mos_config::{LockedComponent, Source};
use mos_store::Digest;

use crate::error::ComponentError;
use crate::release::expected;
use crate::run::output;
use crate::workshop::{Progress, Workshop};

/// Variables with which git finds repositories: those of a hook that called us must not lead it elsewhere.
const FOREIGN: [&str; 6] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
];

/// What gitattributes(5) in a repository could change about its files on the way out; this file has the last word.
const RAW: &str = "* -text -ident -filter -working-tree-encoding\n";

/// Brings a commit into the cache. Returns the bare repository and the commit.
pub(crate) fn fetch(
    component: &str,
    source: &Source,
    locked: Option<&LockedComponent>,
    shop: &Workshop,
    progress: &mut Progress<'_>,
) -> Result<(PathBuf, String), ComponentError> {
    let Source::Git {
        url,
        branch,
        tag,
        commit,
        ..
    } = source
    else {
        return Err(ComponentError::source(component, "not a git source"));
    };
    let url = absolute(url, shop);
    let git = Repository::open(component, &url, shop)?;
    let wanted = expected(commit.as_deref(), locked);
    let found = match wanted {
        Some(commit) if git.has(commit) => commit.to_owned(),
        Some(commit) => {
            progress(&format!("fetching {url} {commit}"));
            git.fetch_commit(commit)?
        }
        None => {
            let reference = match (tag, branch) {
                (Some(tag), _) => format!("refs/tags/{tag}"),
                (None, Some(branch)) => format!("refs/heads/{branch}"),
                (None, None) => "HEAD".to_owned(),
            };
            progress(&format!("fetching {url} {reference}"));
            git.fetch_reference(&reference)?
        }
    };
    if let (Some(tag), Some(expected)) = (tag, commit) {
        git.check_tag(tag, expected)?;
    }
    Ok((git.path, found))
}

/// Brings one commit of a repository into the cache, for something that is no component. Returns the bare repository.
///
/// # Errors
/// [`ComponentError`]: git is missing, or cannot reach the commit.
pub fn fetch_commit(
    name: &str,
    url: &str,
    commit: &str,
    shop: &Workshop,
    progress: &mut Progress<'_>,
) -> Result<PathBuf, ComponentError> {
    let url = absolute(url, shop);
    let git = Repository::open(name, &url, shop)?;
    if !git.has(commit) {
        progress(&format!("fetching {url} {commit}"));
        git.fetch_commit(commit)?;
    }
    Ok(git.path)
}

/// When a commit was made, in seconds since 1970.
///
/// # Errors
/// [`ComponentError::Source`].
pub fn commit_time(name: &str, repository: &Path, commit: &str) -> Result<i64, ComponentError> {
    let said = output(
        name,
        git(repository).args(["show", "--no-patch", "--format=%ct", commit]),
    )?;
    said.parse()
        .map_err(|_| ComponentError::source(name, format!("git gave no time for the commit {commit}")))
}

/// Writes the files of a commit into a folder, as they are stored.
///
/// # Errors
/// [`ComponentError`].
pub fn export(component: &str, repository: &Path, commit: &str, folder: &Path) -> Result<(), ComponentError> {
    fs::create_dir_all(folder).map_err(ComponentError::at(folder))?;
    let index = folder.with_extension("index");
    let run = |arguments: &[&str]| {
        let mut command = git(repository);
        command.arg("--work-tree").arg(folder).args(arguments);
        command.env("GIT_INDEX_FILE", &index).current_dir(folder);
        output(component, &mut command)
    };
    run(&["read-tree", commit])?;
    run(&["checkout-index", "--all", "--force"])?;
    fs::remove_file(&index).map_err(ComponentError::at(&index))
}

/// A relative path begins at the config repository.
fn absolute(url: &str, shop: &Workshop) -> String {
    let beside = shop.repository().join(url);
    let relative = !url.contains("://") && !url.split('/').next().unwrap_or_default().contains(':');
    match beside.canonicalize() {
        Ok(path) if relative => path.to_string_lossy().into_owned(),
        _ => url.to_owned(),
    }
}

struct Repository<'r> {
    component: &'r str,
    url: &'r str,
    path: PathBuf,
}

impl<'r> Repository<'r> {
    fn open(component: &'r str, url: &'r str, shop: &Workshop) -> Result<Self, ComponentError> {
        let name = Digest::of(url.as_bytes()).to_string();
        let path = shop.folder("git").join(format!("{}.git", &name[..16]));
        if !path.join("HEAD").is_file() {
            fs::create_dir_all(&path).map_err(ComponentError::at(&path))?;
            let mut init = Command::new("git");
            init.args(["init", "--quiet", "--bare"]).arg(&path);
            output(component, clean(&mut init))?;
            let attributes = path.join("info/attributes");
            fs::write(&attributes, RAW).map_err(ComponentError::at(&attributes))?;
        }
        Ok(Self { component, url, path })
    }

    fn git(&self, arguments: &[&str]) -> Result<String, ComponentError> {
        output(self.component, git(&self.path).args(arguments))
    }

    fn has(&self, commit: &str) -> bool {
        // All objects of the commit, not only itself: a fetch may have been cut off.
        self.git(&[
            "rev-list",
            "--quiet",
            "--objects",
            "--no-walk",
            &format!("{commit}^{{commit}}"),
        ])
        .is_ok()
    }

    fn fetch_reference(&self, reference: &str) -> Result<String, ComponentError> {
        let ours = format!("refs/mos/{}", reference.strip_prefix("refs/").unwrap_or(reference));
        let refspec = format!("+{reference}:{ours}");
        self.git(&["fetch", "--quiet", "--no-tags", "--depth=1", "--", self.url, &refspec])?;
        self.git(&["rev-parse", "--verify", "--quiet", &format!("{ours}^{{commit}}")])
    }

    /// The commit alone where the server gives it, otherwise everything that has a name.
    fn fetch_commit(&self, commit: &str) -> Result<String, ComponentError> {
        let alone = self.git(&["fetch", "--quiet", "--no-tags", "--depth=1", "--", self.url, commit]);
        if alone.is_err() || !self.has(commit) {
            let all = ["+refs/heads/*:refs/mos/heads/*", "+refs/tags/*:refs/mos/tags/*"];
            self.git(&["fetch", "--quiet", "--no-tags", "--", self.url, all[0], all[1]])?;
        }
        if self.has(commit) {
            return Ok(commit.to_owned());
        }
        let reason = format!("{} has no commit {commit}", self.url);
        Err(ComponentError::source(self.component, reason))
    }

    /// A tag beside a commit is a promise of the configuration: it is held to it whenever it can be asked for.
    fn check_tag(&self, tag: &str, expected: &str) -> Result<(), ComponentError> {
        let ours = format!("refs/mos/checked/{expected}/{tag}");
        if self.git(&["rev-parse", "--verify", "--quiet", &ours]).is_ok() {
            return Ok(());
        }
        let found = self.fetch_reference(&format!("refs/tags/{tag}"))?;
        if found != expected {
            return Err(ComponentError::MovedTag {
                name: self.component.to_owned(),
                tag: tag.to_owned(),
                expected: expected.to_owned(),
                found,
            });
        }
        self.git(&["update-ref", &ours, expected]).map(drop)
    }
}

fn git(repository: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("--git-dir").arg(repository);
    clean(&mut command);
    command
}

/// A question on the terminal would wait for ever in CI.
fn clean(command: &mut Command) -> &mut Command {
    FOREIGN.iter().for_each(|name| {
        command.env_remove(name);
    });
    command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C")
}

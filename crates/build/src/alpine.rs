//! A root file system of Alpine's packages: what is wanted, exactly which packages that means, and the tree of them.

use std::fs;
use std::path::{Path, PathBuf};

use mos_alpine::{
    Alpine, AlpineError, Apk, Database, Installed, Keys, LockedPackage as LockedApk, Progress, Repository, Settings,
    parse_world,
};
use mos_config::{AlpinePlan, ImagePlan, Lock, RepositoryPlace, split_tag};
use mos_packages::compression::Compression;
use mos_store::{Digest, Options};
use mos_tree::{Kind, Tree, tarball};

use crate::builder::Builder;
use crate::error::BuildError;

/// What a miniroot wants to have installed.
const WORLD: &str = "etc/apk/world";
/// Most bytes of files in a miniroot; Alpine's has 8 MB.
const MINIROOT_MAX: u64 = 1 << 30;
/// As many scripts that were not run are named in the line about them.
const SCRIPTS_SHOWN: usize = 8;

/// A miniroot, unpacked.
struct Miniroot {
    tree: Tree,
    database: Database,
}

impl Miniroot {
    fn read(builder: &Builder<'_>, plan: &AlpinePlan) -> Result<Option<Self>, BuildError> {
        let Some(file) = &plan.miniroot else { return Ok(None) };
        let path = builder.repository().join(file);
        let bytes = fs::read(&path).map_err(BuildError::at(&path))?;
        let damaged = |error: String| BuildError::Miniroot {
            path: path.clone(),
            problem: error,
        };
        let reader = Compression::of_content(&bytes).reader(&bytes[..]);
        let reader = reader.map_err(|error| damaged(error.to_string()))?;
        let tree = tarball::read(reader, MINIROOT_MAX).map_err(|error| damaged(error.to_string()))?;
        let database = Database::read(&tree)?;
        if database.packages.is_empty() {
            return Err(damaged(
                "it has no package: lib/apk/db/installed is missing or empty".to_owned(),
            ));
        }
        Ok(Some(Self { tree, database }))
    }

    /// What it wants besides what the image wants.
    fn world(&self) -> Result<Vec<String>, BuildError> {
        match self.tree.get(WORLD).map(|inode| &inode.kind) {
            Some(Kind::File(content)) => {
                let bytes = content.read().map_err(BuildError::at(Path::new(WORLD)))?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                Ok(text.split_whitespace().map(str::to_owned).collect())
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// The client for what a plan says, with the keys that it trusts.
fn client(builder: &Builder<'_>, plan: &AlpinePlan) -> Result<Alpine, BuildError> {
    // What is locked and in the cache needs no mirror, so that it is no error here when none is known.
    let known = plan.repositories.iter().filter_map(|line| address(builder, plan, line));
    let repositories = known.map(|address| address.parse());
    Ok(Alpine {
        repositories: repositories.collect::<Result<Vec<Repository>, AlpineError>>()?,
        keys: Keys::read(&builder.repository().join(&plan.keys))?,
        architecture: plan.architecture.name().to_owned(),
        cache: builder.cache().root().join("alpine"),
        options: Options::default(),
    })
}

/// The same, for questions that all repositories answer together.
fn whole_client(builder: &Builder<'_>, plan: &AlpinePlan) -> Result<Alpine, BuildError> {
    match plan
        .repositories
        .iter()
        .find(|line| address(builder, plan, line).is_none())
    {
        Some(repository) => Err(BuildError::NoMirror(repository.clone())),
        None => client(builder, plan),
    }
}

/// Where a repository of a plan is, as `/etc/apk/repositories` would have it; `None` when it is below a mirror and no
/// mirror is named.
fn address(builder: &Builder<'_>, plan: &AlpinePlan, line: &str) -> Option<String> {
    let folder = |folder: &str| {
        let path = builder.repository().join(folder);
        std::path::absolute(&path).unwrap_or(path).display().to_string()
    };
    let (tag, place) = split_tag(line);
    let place = match RepositoryPlace::of(place) {
        RepositoryPlace::Address(address) => address.to_owned(),
        RepositoryPlace::Folder(path) => folder(path),
        RepositoryPlace::Mirror(path) => match RepositoryPlace::of(builder.alpine_mirror().or(plan.mirror.as_deref())?)
        {
            RepositoryPlace::Address(mirror) => format!("{}/{path}", mirror.trim_end_matches('/')),
            RepositoryPlace::Folder(mirror) | RepositoryPlace::Mirror(mirror) => format!("{}/{path}", folder(mirror)),
        },
    };
    Some(tag.map_or_else(|| place.clone(), |tag| format!("@{tag} {place}")))
}

/// Lines for the node's own `/etc/apk/repositories`: addresses that mean something there, whichever mirror was used here.
fn lines_for_node(plan: &AlpinePlan) -> Vec<String> {
    let line = |line: &String| {
        let (tag, place) = split_tag(line);
        let mirror = plan.mirror.as_deref().map(RepositoryPlace::of);
        let place = match (RepositoryPlace::of(place), mirror) {
            (RepositoryPlace::Address(address), _) => address.to_owned(),
            (RepositoryPlace::Mirror(path), Some(RepositoryPlace::Address(mirror))) => format!("{mirror}/{path}"),
            _ => return None,
        };
        let remote = place.starts_with("http://") || place.starts_with("https://");
        remote.then(|| tag.map_or_else(|| place.clone(), |tag| format!("@{tag} {place}")))
    };
    plan.repositories.iter().filter_map(line).collect()
}

/// What a plan says of Alpine, which it does whenever it has packages of it.
fn settings(plan: Option<&AlpinePlan>) -> Result<&AlpinePlan, BuildError> {
    let missing = || AlpineError::Wanted("the plan names no repositories of Alpine".to_owned());
    Ok(plan.ok_or_else(missing)?)
}

/// The packages of the root file system, by way of the lock.
pub(crate) fn base(builder: &Builder<'_>, image: &ImagePlan, lock: &mut Lock) -> Result<Vec<LockedApk>, BuildError> {
    let plan = settings(image.alpine.as_ref())?;
    let from = base_reference(builder, plan)?;
    answer(builder, lock, &from, &image.packages, || {
        let miniroot = Miniroot::read(builder, plan)?;
        let database = miniroot.as_ref().map(|miniroot| &miniroot.database);
        let found = whole_client(builder, plan)?.resolve(&image.packages, database, &mut progress(builder))?;
        Ok(found)
    })
}

/// Whom the packages of the root file system are asked of, for the lock.
pub(crate) fn base_reference(builder: &Builder<'_>, plan: &AlpinePlan) -> Result<String, BuildError> {
    Ok(match &plan.miniroot {
        Some(file) => format!("{} miniroot {}", plan.reference(), file_digest(builder, file.as_ref())?),
        None => plan.reference(),
    })
}

/// The same for one package without what it needs.
pub(crate) fn single_reference(plan: &AlpinePlan) -> String {
    format!("{}, without what it needs", plan.reference())
}

/// One package without what it needs, by way of the lock: a kernel, or firmware.
pub(crate) fn single(
    builder: &Builder<'_>,
    plan: &AlpinePlan,
    name: &str,
    lock: &mut Lock,
) -> Result<LockedApk, BuildError> {
    let from = single_reference(plan);
    let found = answer(builder, lock, &from, &[name.to_owned()], || {
        Ok(vec![
            whole_client(builder, plan)?.resolve_alone(name, &mut progress(builder))?,
        ])
    })?;
    let none = || AlpineError::Wanted(format!("`{name}`: no package"));
    Ok(found.into_iter().next().ok_or_else(none)?)
}

fn answer(
    builder: &Builder<'_>,
    lock: &mut Lock,
    from: &str,
    wanted: &[String],
    ask: impl FnOnce() -> Result<Vec<LockedApk>, BuildError>,
) -> Result<Vec<LockedApk>, BuildError> {
    if let Some(locked) = lock.answer_apks(from, wanted) {
        return Ok(locked.into_iter().cloned().collect());
    }
    let names = wanted.join(" ");
    builder.report.line(&format!("resolving packages of Alpine: {names}"));
    let found = ask()?;
    lock.set_answer_apks(from, wanted, found.clone());
    Ok(found)
}

/// Brings packages into the cache and checks them, all before any is unpacked.
pub(crate) fn fetch(builder: &Builder<'_>, image: &ImagePlan, packages: &[LockedApk]) -> Result<Vec<Apk>, BuildError> {
    Ok(client(builder, settings(image.alpine.as_ref())?)?.fetch_all(packages, &mut progress(builder))?)
}

/// The files of one package by themselves.
pub(crate) fn tree(builder: &Builder<'_>, plan: Option<&AlpinePlan>, package: &LockedApk) -> Result<Tree, BuildError> {
    let apk = client(builder, settings(plan)?)?.fetch(package, &mut progress(builder))?;
    Ok(apk.tree()?)
}

/// What a package declares its licence to be.
pub(crate) fn licence(
    builder: &Builder<'_>,
    plan: Option<&AlpinePlan>,
    package: &LockedApk,
) -> Result<String, BuildError> {
    let apk = client(builder, settings(plan)?)?.fetch(package, &mut progress(builder))?;
    Ok(apk.package.license)
}

/// The root file system: a miniroot, when there is one, with the packages.
pub(crate) fn install(builder: &Builder<'_>, image: &ImagePlan, packages: &[Apk]) -> Result<Installed, BuildError> {
    let plan = settings(image.alpine.as_ref())?;
    let miniroot = Miniroot::read(builder, plan)?;
    let mut wanted = image.packages.clone();
    if let Some(miniroot) = &miniroot {
        wanted.extend(miniroot.world()?);
    }
    let installed = mos_alpine::install(
        miniroot.map(|miniroot| miniroot.tree).unwrap_or_default(),
        packages,
        &Settings {
            world: &parse_world(&wanted)?,
            architecture: plan.architecture.name(),
            repositories: &lines_for_node(plan),
            keys: Some(&Keys::read(&builder.repository().join(&plan.keys))?),
            devices: false,
        },
    )?;
    Ok(installed)
}

/// A line about scripts that were not run; nothing when there are none.
pub(crate) fn scripts_line(installed: &Installed) -> Option<String> {
    let scripts = &installed.scripts_not_run;
    let named = scripts.iter().take(SCRIPTS_SHOWN);
    let named: Vec<String> = named.map(|one| format!("{} ({})", one.package, one.kind)).collect();
    let more = if scripts.len() > SCRIPTS_SHOWN { ", …" } else { "" };
    (!scripts.is_empty()).then(|| {
        format!(
            "warning: scripts of packages are not run, and what these do was not done: {}{more}",
            named.join(", ")
        )
    })
}

/// The files that decide besides the packages: a miniroot and the keys.
pub(crate) fn files(builder: &Builder<'_>, plan: &AlpinePlan) -> Result<Vec<(String, Digest)>, BuildError> {
    let mut paths: Vec<PathBuf> = plan.miniroot.iter().map(PathBuf::from).collect();
    let keys = Keys::read(&builder.repository().join(&plan.keys))?;
    paths.extend(keys.iter().map(|(name, _)| Path::new(&plan.keys).join(name)));
    let named = |path: PathBuf| Ok((path.display().to_string(), file_digest(builder, &path)?));
    paths.into_iter().map(named).collect()
}

/// Of a file of the config repository.
fn file_digest(builder: &Builder<'_>, path: &Path) -> Result<Digest, BuildError> {
    let path = builder.repository().join(path);
    let bytes = fs::read(&path).map_err(BuildError::at(&path))?;
    Ok(Digest::of(&bytes))
}

fn progress<'b>(builder: &'b Builder<'_>) -> impl FnMut(Progress<'_>) + use<'b> {
    let report = builder.report;
    move |progress| match progress {
        Progress::UpdatingIndex(url) => report.detail(&format!("fetching {url}")),
        Progress::Warning(text) => report.line(&format!("warning: {text}")),
        Progress::Downloading { package, size } => {
            report.line(&format!("downloading {package} ({} KiB)", size / 1024));
        }
        _ => {}
    }
}

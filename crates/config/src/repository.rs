//! All parts of a config repository together.

use std::collections::BTreeMap;

use mos_toml::{Document, Problem, Problems};

use crate::access::AccessGroup;
use crate::component::Component;
use crate::environment::Environment;
use crate::image::ImageLists;
use crate::kernel::{KernelBase, KernelSource};
use crate::kernel_config::KernelConfig;
use crate::lock::{LOCK_FILE, Lock};
use crate::names::check_name;
use crate::project::Project;

/// A parsed config repository. Whether its parts fit each other is for [`check`](crate::check()) to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// `mos.toml`.
    pub project: Project,
    /// By name.
    pub environments: BTreeMap<String, Environment>,
    /// By name.
    pub components: BTreeMap<String, Component>,
    /// Service files by path.
    pub services: BTreeMap<String, Service>,
    /// Access groups by name.
    pub access: BTreeMap<String, AccessGroup>,
    /// Packages and modules of every boot image.
    pub image: ImageLists,
    /// Settings for a kernel from source.
    pub kernel_config: KernelConfig,
    /// What was locked when the repository was read.
    pub lock: Lock,
}

/// A service file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Path in the config repository.
    pub path: String,
    /// Content.
    pub text: String,
}

impl Service {
    /// The file's name without its folder.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

impl Repository {
    /// The kernel to be compiled in place of that of a package, with all its settings.
    pub fn kernel_source(&self) -> Option<KernelSource> {
        let choice = self.project.kernel_source.as_ref()?;
        let base = &choice.base.value;
        Some(KernelSource {
            origin: choice.origin.clone(),
            base: match self.kernel_config.file(base) {
                None => KernelBase::Target(base.clone()),
                Some(settings) => KernelBase::File {
                    path: base.clone(),
                    settings: settings.to_vec(),
                },
            },
            localversion: choice.localversion.clone(),
            settings: self.kernel_config.wanted(),
        })
    }

    /// The services of the boot image: those that no component installs.
    pub fn image_services(&self) -> impl Iterator<Item = &Service> {
        let installed = |path: &str| {
            let mut services = self
                .components
                .values()
                .filter_map(|component| component.install.service.as_ref());
            services.any(|service| service.value == path)
        };
        self.services.values().filter(move |service| !installed(&service.path))
    }
}

/// Makes a repository of texts by path. What is wrong goes to `problems`; there is no repository when `mos.toml`
/// itself cannot be used. Parts that cannot be read are left out.
pub fn parse(texts: &BTreeMap<String, String>, problems: &Problems) -> Option<Repository> {
    let environments = each(texts, "environments/", ".toml", problems, Environment::read);
    let components = each(texts, "components/", ".toml", problems, Component::read);
    let access = each(texts, "access/", ".toml", problems, |_, document, problems| {
        Some(AccessGroup::read(document, problems))
    });
    let image = ImageLists::read(texts, problems);
    let services = in_folder(texts, "services/", ".service.toml").map(|(_, path, text)| {
        let (path, text) = (path.to_owned(), text.to_owned());
        (path.clone(), Service { path, text })
    });
    Some(Repository {
        project: document("mos.toml", texts, problems).and_then(|it| Project::read(&it, problems))?,
        environments,
        components,
        services: services.collect(),
        access,
        image,
        kernel_config: KernelConfig::read(texts, problems),
        lock: read_lock(texts, problems),
    })
}

fn read_lock(texts: &BTreeMap<String, String>, problems: &Problems) -> Lock {
    let Some(text) = texts.get(LOCK_FILE) else {
        return Lock::default();
    };
    Lock::parse(LOCK_FILE, text).unwrap_or_else(|found| {
        found.into_iter().for_each(|problem| problems.push(problem));
        Lock::default()
    })
}

/// Parses one file; a missing one is a problem without a place.
fn document(file: &str, texts: &BTreeMap<String, String>, problems: &Problems) -> Option<Document> {
    let Some(text) = texts.get(file) else {
        problems.push(Problem::error(None, format!("{file} is missing")));
        return None;
    };
    Document::parse(file, text.as_str())
        .map_err(|problem| problems.push(problem))
        .ok()
}

/// Reads every file of a folder, by name without suffix.
fn each<T>(
    texts: &BTreeMap<String, String>,
    folder: &str,
    suffix: &str,
    problems: &Problems,
    read: impl Fn(&str, &Document, &Problems) -> Option<T>,
) -> BTreeMap<String, T> {
    let mut parts = BTreeMap::new();
    for (name, path, _) in in_folder(texts, folder, suffix) {
        check_name(problems, &format!("a file in {folder}"), name, None);
        let part = document(path, texts, problems).and_then(|document| read(name, &document, problems));
        parts.extend(part.map(|part| (name.to_owned(), part)));
    }
    parts
}

/// Name, path and text of the files directly in a folder.
fn in_folder<'t>(
    texts: &'t BTreeMap<String, String>,
    folder: &'t str,
    suffix: &'t str,
) -> impl Iterator<Item = (&'t str, &'t str, &'t str)> {
    texts.iter().filter_map(move |(path, text)| {
        let name = path.strip_prefix(folder)?.strip_suffix(suffix)?;
        (!name.contains('/')).then_some((name, path.as_str(), text.as_str()))
    })
}

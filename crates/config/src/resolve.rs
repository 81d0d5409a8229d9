//! One environment of a repository to a [`Plan`]. Pure.

use std::collections::BTreeMap;

use mos_toml::{Item, nearest};

use crate::check::effective;
use crate::distribution::RootSettings;
use crate::environment::{Environment, EnvironmentKind, Selection};
use crate::image::ImageOutput;
use crate::lock::Lock;
use crate::plan::{Authorities, FirmwarePlan, ImagePlan, Output, Plan, PlannedComponent, PlannedService, PlannedUser};
use crate::project::{Compression, InitramfsPlace};
use crate::repository::{Repository, Service};
use crate::source::Source;

/// zstd level for images that are made often: 0.2 s instead of 15 for 4 MB more.
const FAST_LEVEL: i32 = 3;
/// zstd level for images that are released: near the smallest, at a fraction of the memory of level 22.
const RELEASE_LEVEL: i32 = 19;
/// The folder that is laid over the root of the image.
const IMAGE_FILES: &str = "image/files";

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// No such environment.
    #[error("there is no environment `{name}`\n  hint: {hint}")]
    UnknownEnvironment {
        /// What was asked for.
        name: String,
        /// The nearest, or all.
        hint: String,
    },
    /// The environment does not fit the rest: [`check`](crate::check()) says where.
    #[error("environments/{environment}.toml: {part} cannot be resolved\n  hint: run `mos validate`")]
    Unchecked {
        /// The environment.
        environment: String,
        /// Which part of it.
        part: String,
    },
}

/// Resolves one environment of a checked repository.
///
/// # Errors
/// [`ResolveError`]; a repository without problems only fails for an unknown environment.
pub fn resolve(repository: &Repository, environment: &str, lock: &Lock) -> Result<Plan, ResolveError> {
    let Some(settings) = repository.environments.get(environment) else {
        return Err(unknown_environment(repository, environment));
    };
    let unchecked = |part: String| ResolveError::Unchecked {
        environment: environment.to_owned(),
        part,
    };
    let mut components = Vec::new();
    for (name, selection) in settings.components.iter().filter(|(_, selection)| selection.enabled) {
        let planned = plan_component(repository, name, selection, lock);
        components.push(planned.ok_or_else(|| unchecked(format!("the component `{name}`")))?);
    }
    let users = plan_users(repository, settings).map_err(|group| unchecked(format!("the access group `{group}`")))?;
    let flists = components.iter().map(|component| Output::Flist {
        name: component.name.clone(),
    });
    Ok(Plan {
        project: repository.project.name.value.clone(),
        environment: environment.to_owned(),
        kind: settings.kind,
        channel: settings.channel.value.clone(),
        trust: settings.trust.value.clone(),
        store: repository.project.default_store.as_ref().map(|url| url.value.clone()),
        outputs: flists.chain([Output::Boot, Output::Release]).collect(),
        components,
        image: plan_image(repository, settings, users),
        release: settings.release,
    })
}

fn unknown_environment(repository: &Repository, name: &str) -> ResolveError {
    let names: Vec<&str> = repository.environments.keys().map(String::as_str).collect();
    let hint = match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("use one of: {}", names.join(", ")),
    };
    ResolveError::UnknownEnvironment {
        name: name.to_owned(),
        hint,
    }
}

fn plan_component(repository: &Repository, name: &str, selection: &Selection, lock: &Lock) -> Option<PlannedComponent> {
    let component = repository.components.get(name)?;
    let request = effective(component, selection);
    let source = Source::new(&component.origin, &request)?;
    let service = match &component.install.service {
        Some(path) => Some(plan_service(repository.services.get(&path.value)?)),
        None => None,
    };
    Some(PlannedComponent {
        name: name.to_owned(),
        description: component.description.clone(),
        version: match &source {
            Source::Crate { .. } => None,
            _ => request.version.map(|version| version.value),
        },
        locked: lock.component(name, &source).cloned(),
        source,
        build: component.build.clone(),
        binaries: values(&component.install.binaries),
        files: texts(&component.install.files),
        routes: texts(&component.install.routes),
        kernel_modules: component.install.kernel_modules,
        firmware: component.install.firmware.as_ref().map(|path| path.value.clone()),
        service,
    })
}

fn plan_service(service: &Service) -> PlannedService {
    PlannedService {
        file_name: service.file_name().to_owned(),
        text: service.text.clone(),
    }
}

fn plan_image(repository: &Repository, settings: &Environment, users: Vec<PlannedUser>) -> ImagePlan {
    let project = &repository.project;
    let level = match settings.kind {
        EnvironmentKind::Development => FAST_LEVEL,
        _ => RELEASE_LEVEL,
    };
    let hostname = settings.image.hostname.as_ref().unwrap_or(&project.name);
    let root = RootSettings::of(repository, Some(settings));
    ImagePlan {
        architecture: root.architecture,
        kernel_package: root.kernel_package(),
        kernel_source: repository.kernel_source(),
        base: root.base.value,
        alpine: root.alpine_plan(),
        packages: union(&repository.image.packages, &settings.image.packages),
        authorities: plan_authorities(settings),
        modules: union(&repository.image.modules, &settings.image.modules),
        firmware: FirmwarePlan {
            packages: root.firmware_packages(),
            folders: values(&repository.image.firmware.folders),
            patterns: values(&repository.image.firmware.patterns),
        },
        keep: union(&project.size.keep, &settings.image.size.keep),
        remove: union(&project.size.remove, &settings.image.size.remove),
        budget: settings.image.size.budget.or(project.size.budget),
        command_line: settings.image.command_line(root.architecture),
        hostname: hostname.value.clone(),
        secure_boot: settings.image.secure_boot.as_ref().map(|path| path.value.clone()),
        pcr_policy: settings.image.pcr_policy.as_ref().map(|path| path.value.clone()),
        initramfs: project.initramfs,
        compression: project.compression.unwrap_or(match project.initramfs {
            InitramfsPlace::Uki => Compression::Zstd,
            // The kernel is compressed with what is in it: twice is more bytes, not fewer.
            InitramfsPlace::Embedded => Compression::None,
        }),
        compression_level: project.compression_level.unwrap_or(level),
        files: IMAGE_FILES.to_owned(),
        services: repository.image_services().map(plan_service).collect(),
        users,
        outputs: plan_outputs(&settings.image.outputs),
        esp_size: settings.image.esp_size,
        state_size: settings.image.state_size,
    }
}

fn plan_outputs(named: &[ImageOutput]) -> Vec<ImageOutput> {
    let mut outputs = named.to_vec();
    if outputs.is_empty() {
        outputs.extend(ImageOutput::DEFAULT);
    }
    outputs.sort();
    outputs.dedup();
    outputs
}

/// Files that are named go into the image also when the channel is not `https`: the kernel command line may name a
/// mirror that is.
fn plan_authorities(settings: &Environment) -> Authorities {
    match settings.channel.value.starts_with("https:") {
        _ if !settings.ca.is_empty() => Authorities::Files(values(&settings.ca)),
        true => Authorities::Debian,
        false => Authorities::None,
    }
}

/// The users of every group of the environment; `Err` names a group that is missing.
fn plan_users(repository: &Repository, settings: &Environment) -> Result<Vec<PlannedUser>, String> {
    let mut users = BTreeMap::new();
    for group in &settings.groups {
        let members = repository.access.get(&group.value).ok_or_else(|| group.value.clone())?;
        for (name, user) in &members.users {
            let planned = PlannedUser {
                name: name.clone(),
                access_group: group.value.clone(),
                uid: user.uid,
                shell: user.shell.clone(),
                groups: user.groups.clone(),
                keys: values(&user.keys),
                password_hash: user.password_hash.clone(),
                sudo: values(&user.sudo),
            };
            users.insert(name.clone(), planned);
        }
    }
    Ok(users.into_values().collect())
}

fn values(items: &[Item<String>]) -> Vec<String> {
    items.iter().map(|item| item.value.clone()).collect()
}

fn texts(items: &BTreeMap<String, Item<String>>) -> BTreeMap<String, String> {
    items
        .iter()
        .map(|(name, item)| (name.clone(), item.value.clone()))
        .collect()
}

/// Both lists, in order, each entry once.
fn union(first: &[Item<String>], second: &[Item<String>]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for item in first.iter().chain(second) {
        if !all.contains(&item.value) {
            all.push(item.value.clone());
        }
    }
    all
}

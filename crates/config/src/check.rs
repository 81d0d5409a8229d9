//! Whether the parts of a repository fit each other.

use std::collections::BTreeMap;

use mos_toml::{Item, Position, Problem, Problems, nearest};

use crate::component::{Build, BuildKind, Component};
use crate::distribution;
use crate::environment::{Environment, Selection};
use crate::kernel_config::is_fragment;
use crate::policy;
use crate::project::InitramfsPlace;
use crate::repository::{Repository, Service};
use crate::source::{GitUrl, Origin, Request, VERSION, classify_url};

/// Checks a repository as a whole. `exists` tells whether a path relative to the repository is there. Pure otherwise.
pub fn check(repository: &Repository, exists: &dyn Fn(&str) -> bool, problems: &Problems) {
    for (name, component) in &repository.components {
        check_component(repository, name, component, exists, problems);
    }
    for (name, environment) in &repository.environments {
        check_environment(repository, environment, problems);
        check_policy(repository, environment, problems);
        policy::check(repository, name, environment, problems);
    }
    let folders = &repository.image.firmware.folders;
    for folder in folders.iter().filter(|folder| !exists(&folder.value)) {
        let message = format!("`{}` does not exist", folder.value);
        problems.push(Problem::error(Some(folder.position.clone()), message));
    }
    distribution::check(repository, exists, problems);
    check_kernel(repository, problems);
    check_services(repository, problems);
    // An environment that could not be read has been reported already.
    if repository.environments.is_empty() && !problems.any_error() {
        let problem = Problem::error(None, "there is no environment");
        problems.push(problem.with_hint("write environments/dev.toml with channel = \"http://…\""));
    }
}

/// It is the stub of a unified kernel image that measures into PCR 11 and hands a policy on; a kernel by itself has none.
fn check_policy(repository: &Repository, environment: &Environment, problems: &Problems) {
    let embedded = repository.project.initramfs == InitramfsPlace::Embedded;
    if let Some(policy) = environment.image.pcr_policy.as_ref().filter(|_| embedded) {
        let message = "`pcr_policy` needs a unified kernel image, and the initramfs is embedded in the kernel";
        let problem = Problem::error(Some(policy.position.clone()), message);
        problems.push(problem.with_hint("write initramfs = \"uki\" in [image] of mos.toml, or leave the policy out"));
    }
}

/// Settings of a kernel that nothing is done with are a mistake, as is a base that is not there.
fn check_kernel(repository: &Repository, problems: &Problems) {
    let config = &repository.kernel_config;
    let base = repository.project.kernel_source.as_ref().map(|kernel| &kernel.base);
    let is_used = |path: &str| base.is_some_and(|base| is_fragment(path) || base.value == path);
    for path in config.paths().filter(|path| !is_used(path)) {
        let position = Position {
            file: path.to_owned(),
            line: 1,
            column: 1,
        };
        let problem = Problem::warning(Some(position), "nothing uses these settings of a kernel");
        problems.push(problem.with_hint(match base {
            None => "the kernel is that of a package: [kernel] `source` of mos.toml compiles one",
            Some(_) => "[kernel] `base` of mos.toml names such a file; image/kernel.d/ has what is laid over it",
        }));
    }
    if let Some(base) = base.filter(|base| base.value.contains('/') && config.file(&base.value).is_none()) {
        let message = format!("`{}` does not exist", base.value);
        unknown(problems, &base.position, message, &base.value, config.paths());
    }
}

/// Reports that `name` is none of `candidates`, with the nearest that is.
fn unknown<'c>(
    problems: &Problems,
    position: &Position,
    message: String,
    name: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) {
    let problem = Problem::error(Some(position.clone()), message);
    problems.push(match nearest(name, candidates) {
        Some(candidate) => problem.with_hint(format!("did you mean `{candidate}`?")),
        None => problem,
    });
}

fn check_component(
    repository: &Repository,
    name: &str,
    component: &Component,
    exists: &dyn Fn(&str) -> bool,
    problems: &Problems,
) {
    let error = |position: &Position, message: String| problems.push(Problem::error(Some(position.clone()), message));
    match &component.origin {
        Origin::Git { url, .. } if classify_url(&url.value) == GitUrl::Relative && !exists(&url.value) => {
            error(&url.position, format!("`{}` does not exist", url.value));
        }
        Origin::Release { url, .. }
            if classify_url(&url.value) == GitUrl::Relative && !url.value.contains(VERSION) && !exists(&url.value) =>
        {
            error(&url.position, format!("`{}` does not exist", url.value));
        }
        Origin::Path { path } if !exists(&path.value) => {
            error(&path.position, format!("`{}` does not exist", path.value));
        }
        _ => {}
    }
    let paths = component.install.files.values().chain(&component.install.firmware);
    for path in paths.filter(|path| !exists(&path.value)) {
        error(&path.position, format!("`{}` does not exist", path.value));
    }
    check_build(name, component, problems);
    check_routes(component, problems);
    if let Some(service) = &component.install.service
        && !repository.services.contains_key(&service.value)
    {
        let message = format!("there is no service file `{}`", service.value);
        let paths = repository.services.keys().map(String::as_str);
        unknown(problems, &service.position, message, &service.value, paths);
    }
}

fn check_build(name: &str, component: &Component, problems: &Problems) {
    let install = &component.install;
    let flists = install.kernel_modules || install.firmware.is_some();
    if install.binaries.is_empty() && install.files.is_empty() && install.service.is_none() && !flists {
        let problem = Problem::error(Some(component.position.clone()), format!("`{name}` installs nothing"));
        problems.push(problem.with_hint("name its programs: [install] binaries = [\"…\"]"));
    }
    if component.build.kind == BuildKind::None && component.build != Build::none() {
        let message = format!("`{name}` is not built (kind = \"none\"), but has settings for cargo");
        problems.push(Problem::warning(Some(component.position.clone()), message));
    }
}

/// The names of a component's files in its flist, with where each is named.
fn installed(component: &Component) -> Vec<(&str, &Position)> {
    let install = &component.install;
    let binaries = install
        .binaries
        .iter()
        .map(|item| (item.value.as_str(), &item.position));
    let files = install.files.iter().map(|(name, item)| (name.as_str(), &item.position));
    let service = install.service.iter().map(|item| {
        let name = item.value.rsplit('/').next().unwrap_or(&item.value);
        (name, &item.position)
    });
    binaries.chain(files).chain(service).collect()
}

fn check_routes(component: &Component, problems: &Problems) {
    let names = installed(component);
    let mut seen: BTreeMap<&str, &Position> = BTreeMap::new();
    for (name, position) in &names {
        if let Some(first) = seen.insert(name, position) {
            let message = format!("`{name}` is installed twice, first at {first}");
            problems.push(Problem::error(Some((*position).clone()), message));
        }
    }
    for (name, target) in &component.install.routes {
        if !seen.contains_key(name.as_str()) {
            let message = format!("there is a route for `{name}`, which is not installed");
            unknown(problems, &target.position, message, name, seen.keys().copied());
        }
    }
}

fn check_environment(repository: &Repository, environment: &Environment, problems: &Problems) {
    let mut places: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, selection) in &environment.components {
        let Some(component) = repository.components.get(name) else {
            let message = format!("there is no component `{name}`: components/{name}.toml is missing");
            let names = repository.components.keys().map(String::as_str);
            unknown(problems, &selection.position, message, name, names);
            continue;
        };
        if selection.enabled {
            let request = effective(component, selection);
            request.check(&component.origin, name, &selection.position, problems);
            check_places(name, component, &selection.position, &mut places, problems);
        }
    }
    check_groups(repository, environment, problems);
}

/// Two components of one environment cannot have a file in the same place.
fn check_places<'r>(
    name: &'r str,
    component: &'r Component,
    position: &Position,
    places: &mut BTreeMap<&'r str, &'r str>,
    problems: &Problems,
) {
    for (file, _) in installed(component) {
        let routed = component.install.routes.get(file).map(|item| item.value.as_str());
        let place = routed.unwrap_or(file);
        if let Some(other) = places.insert(place, name).filter(|other| *other != name) {
            let message = format!("`{name}` and `{other}` both install `{place}`");
            let problem = Problem::error(Some(position.clone()), message);
            problems.push(problem.with_hint("route one of them elsewhere, or enable only one"));
        }
    }
}

fn check_groups(repository: &Repository, environment: &Environment, problems: &Problems) {
    let mut users: BTreeMap<&str, &str> = BTreeMap::new();
    for group in &environment.groups {
        let Some(members) = repository.access.get(&group.value) else {
            let message = format!(
                "there is no access group `{}`: access/{}.toml is missing",
                group.value, group.value
            );
            let names = repository.access.keys().map(String::as_str);
            unknown(problems, &group.position, message, &group.value, names);
            continue;
        };
        for user in members.users.keys() {
            if let Some(other) = users.insert(user, &group.value) {
                let message = format!("the user `{user}` is in both `{other}` and `{}`", group.value);
                problems.push(Problem::error(Some(group.position.clone()), message));
            }
        }
    }
}

/// The services of the image together with those of every component; then each environment's own set, in which a
/// requirement may be missing because the component that brings it is not enabled.
fn check_services(repository: &Repository, problems: &Problems) {
    let all: Vec<&Service> = repository.services.values().collect();
    let mut reported = check_set(&all);
    reported.iter().for_each(|problem| problems.push(problem.clone()));
    for (name, environment) in &repository.environments {
        let of_components = environment.components.iter().filter_map(|(name, selection)| {
            let install = &repository.components.get(name)?.install;
            let path = install.service.as_ref().filter(|_| selection.enabled)?;
            repository.services.get(&path.value)
        });
        let set: Vec<&Service> = repository.image_services().chain(of_components).collect();
        for mut problem in check_set(&set) {
            if !reported.contains(&problem) {
                reported.push(problem.clone());
                problem.message.push_str(&format!(" (in the environment `{name}`)"));
                problems.push(problem);
            }
        }
    }
}

fn check_set(services: &[&Service]) -> Vec<Problem> {
    let files: Vec<(&str, &str)> = services.iter().map(|it| (it.path.as_str(), it.text.as_str())).collect();
    mos_service::check(&files, &[])
}

/// What an environment asks of a component: its own request, or else the component's default.
pub(crate) fn effective(component: &Component, selection: &Selection) -> Request {
    let own = &selection.request;
    let pick = |own: &Option<Item<String>>, default: &Option<Item<String>>| own.clone().or_else(|| default.clone());
    if own.is_empty() {
        return component.request.clone();
    }
    let names_state = own.branch.is_some() || own.tag.is_some() || own.commit.is_some() || own.version.is_some();
    if names_state {
        return own.clone();
    }
    // Only a digest: it goes with the default version.
    Request {
        sha256: pick(&own.sha256, &component.request.sha256),
        ..component.request.clone()
    }
}

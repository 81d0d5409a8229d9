//! `components/<name>.toml`: where a component comes from, how it is built, what of it is installed.

use std::collections::BTreeMap;

use mos_service::PLACES;
use mos_toml::{Document, Item, Position, Problem, Problems, Table};
use serde::Serialize;

use crate::names::{check_inner_path, is_file_name, is_inner_path, is_name};
use crate::source::{GitUrl, Origin, Request, classify_url};

/// A component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// What it is, for people.
    pub description: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Which state of it, unless an environment says otherwise.
    pub request: Request,
    /// How it is built.
    pub build: Build,
    /// What of it is installed.
    pub install: Install,
    /// Its file.
    pub position: Position,
}

/// How a component is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Build {
    /// With what.
    pub kind: BuildKind,
    /// The packages of a cargo workspace that are built; the package in the source's folder when empty.
    pub packages: Vec<String>,
    /// Features that are switched on.
    pub features: Vec<String>,
    /// Whether the default features are on.
    pub default_features: bool,
    /// The cargo profile.
    pub profile: String,
    /// The C library that programs have inside; `None`: musl where it is there, otherwise glibc.
    pub libc: Option<Libc>,
}

/// A C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Libc {
    /// Small.
    Musl,
    /// For what does not compile with musl, such as dependencies in C++.
    Glibc,
}

impl Libc {
    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Musl => "musl",
            Self::Glibc => "glibc",
        }
    }
}

/// With what a component is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildKind {
    /// `cargo build`, to a static binary.
    Cargo,
    /// Nothing: files are taken from the source as they are.
    None,
}

/// What of a component is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Install {
    /// Programs, by the name that the build gives them.
    pub binaries: Vec<Item<String>>,
    /// Further files: name in the flist, path in the config repository.
    pub files: BTreeMap<String, Item<String>>,
    /// Where a file goes when its suffix does not say: name in the flist, path in the generation.
    pub routes: BTreeMap<String, Item<String>>,
    /// All modules of the image's kernel, as an flist that `myfs kernel-files` mounts.
    pub kernel_modules: bool,
    /// A folder of the config repository with firmware, the same.
    pub firmware: Option<Item<String>>,
    /// The service file, by its path in the config repository.
    pub service: Option<Item<String>>,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            kind: BuildKind::Cargo,
            packages: Vec::new(),
            features: Vec::new(),
            default_features: true,
            profile: "release".to_owned(),
            libc: None,
        }
    }
}

impl Build {
    /// Of what is taken as it is.
    pub(crate) fn none() -> Self {
        Self {
            kind: BuildKind::None,
            ..Self::default()
        }
    }
}

impl Component {
    /// Reads a component's file; whatever is wrong goes to `problems`.
    pub(crate) fn read(name: &str, document: &Document, problems: &Problems) -> Option<Self> {
        let root = document.root(problems);
        let position = root.position();
        let description = root.string("description").unwrap_or_default();
        if !root.has("source") {
            root.complain(
                "",
                "missing [source] with its `kind`: crate, git, release, oci, path or mos",
            );
        }
        let source = root
            .table("source")
            .and_then(|source| read_source(name, source, problems));
        let built = root.table("build").map(read_build);
        let install = root.table("install").map(|install| read_install(install, problems));
        let comes_with_mos = matches!(source, Some((Origin::Mos, _)));
        if comes_with_mos && built.is_some() {
            root.complain("build", "`build` has no meaning for programs that come with mos");
        }
        root.finish();
        let (origin, request) = source?;
        let build = match origin {
            Origin::Mos => Build::none(),
            // What is published is built already, unless the file says otherwise.
            Origin::Release { .. } | Origin::Oci { .. } => built.unwrap_or_else(Build::none),
            _ => built.unwrap_or_default(),
        };
        Some(Self {
            description,
            origin,
            request,
            build,
            install: install.unwrap_or_default(),
            position,
        })
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Crate,
    Git,
    Release,
    Oci,
    Path,
    Mos,
}

fn read_source(component: &str, source: Table<'_>, problems: &Problems) -> Option<(Origin, Request)> {
    source.required_string("kind");
    let kind = source.choice(
        "kind",
        &[
            ("crate", Kind::Crate),
            ("git", Kind::Git),
            ("release", Kind::Release),
            ("oci", Kind::Oci),
            ("path", Kind::Path),
            ("mos", Kind::Mos),
        ],
    )?;
    let origin = match kind {
        Kind::Crate => read_crate(component, &source),
        Kind::Git => read_git(&source, problems),
        Kind::Release => read_release(&source, problems),
        Kind::Oci => read_oci(&source),
        Kind::Path => read_path(&source),
        Kind::Mos => Some(Origin::Mos),
    };
    let request = Request::read(&source);
    source.finish();
    Some((origin?, request))
}

fn read_crate(component: &str, source: &Table<'_>) -> Option<Origin> {
    let name = source.string("name").unwrap_or_else(|| component.to_owned());
    // crates.io allows ASCII letters, digits, `-` and `_`, beginning with a letter, 64 at most.
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= 64
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if !good {
        source.complain("name", format!("`{name}` is not the name of a crate"));
    }
    good.then_some(Origin::Crate { name })
}

fn read_git(source: &Table<'_>, problems: &Problems) -> Option<Origin> {
    let subdirectory = source
        .string_item("subdirectory")
        .filter(|path| check_inner_path(problems, path));
    let url = source.required_string("url")?;
    match classify_url(&url.value) {
        GitUrl::Bad => source.complain("url", "`url` is not a URL that git understands"),
        GitUrl::WithPassword => {
            let problem = Problem::error(Some(url.position.clone()), "`url` carries a password");
            source.report(problem.with_hint("use a git credential helper or an SSH key"));
        }
        GitUrl::Relative if !is_inner_path(&url.value) => {
            check_inner_path(problems, &url);
        }
        GitUrl::Relative | GitUrl::Elsewhere => {}
    }
    Some(Origin::Git {
        url,
        subdirectory: subdirectory.map(|item| item.value),
    })
}

fn read_release(source: &Table<'_>, problems: &Problems) -> Option<Origin> {
    let rename = source.string_item("rename");
    if let Some(name) = &rename {
        check_file_name(problems, &name.value, &name.position);
    }
    let url = source.required_string("url")?;
    match classify_url(&url.value) {
        GitUrl::WithPassword => source.complain("url", "`url` carries a password"),
        GitUrl::Relative => {
            check_inner_path(problems, &url);
        }
        GitUrl::Elsewhere if is_file_url(&url.value) => {}
        GitUrl::Elsewhere | GitUrl::Bad => {
            source.complain(
                "url",
                "`url` is not that of a file: http(s)://host/path, or a path in the config repository",
            );
        }
    }
    Some(Origin::Release {
        url,
        rename: rename.map(|item| item.value),
    })
}

/// Whether a URL names one file on a web server.
fn is_file_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let file = rest.and_then(|rest| rest.split_once('/')).map(|(_, path)| path);
    file.is_some_and(|path| !path.is_empty() && !path.ends_with('/') && !path.contains(['?', '#']))
}

fn read_oci(source: &Table<'_>) -> Option<Origin> {
    let image = source.required_string("image")?;
    let good = is_image(&image.value);
    if !good {
        let hint = "the tag is the `version`, and the digest of a manifest the `sha256`";
        let problem = Problem::error(Some(image.position.clone()), "`image` is not HOST[:PORT]/REPOSITORY");
        source.report(problem.with_hint(hint));
    }
    good.then_some(Origin::Oci { image })
}

/// Whether a text is a registry and a repository, without tag and digest (OCI distribution specification, "Pulling manifests").
fn is_image(text: &str) -> bool {
    let part = |part: &str| {
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(known)
    };
    let host = |host: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        (host.contains(['.', ':']) || host == "localhost") && host.chars().all(known)
    };
    match text.split_once('/') {
        Some((registry, repository)) => host(registry) && repository.split('/').all(part),
        None => false,
    }
}

fn read_path(source: &Table<'_>) -> Option<Origin> {
    let path = source.required_string("path")?;
    // A sibling of the config repository (`../program`) is a usual place for one's own programs.
    let good = !path.value.starts_with('/') && !path.value.contains('\0') && !path.value.is_empty();
    if !good {
        source.complain("path", "`path` is not relative to the config repository");
    }
    good.then_some(Origin::Path { path })
}

fn read_build(build: Table<'_>) -> Build {
    let defaults = Build::default();
    let words = |key| -> Vec<String> {
        let items = build.string_list(key);
        for item in &items {
            if item.value.is_empty() || item.value.starts_with('-') || item.value.contains([',', ' ']) {
                let message = format!("`{}` is not a name for `{key}`", item.value);
                build.report(Problem::error(Some(item.position.clone()), message));
            }
        }
        items.into_iter().map(|item| item.value).collect()
    };
    let kinds = [("cargo", BuildKind::Cargo), ("none", BuildKind::None)];
    let read = Build {
        kind: build.choice("kind", &kinds).unwrap_or(defaults.kind),
        packages: words("packages"),
        features: words("features"),
        default_features: build.boolean("default_features").unwrap_or(defaults.default_features),
        profile: build.string("profile").unwrap_or(defaults.profile),
        libc: build.choice("libc", &[Libc::Musl, Libc::Glibc].map(|libc| (libc.name(), libc))),
    };
    if !is_name(&read.profile) {
        build.complain("profile", "`profile` is not the name of a cargo profile");
    }
    build.finish();
    read
}

fn read_install(install: Table<'_>, problems: &Problems) -> Install {
    let binaries = install.string_list("binaries");
    for binary in &binaries {
        check_file_name(problems, &binary.value, &binary.position);
    }
    let files = install.table("files").map(|files| read_files(&files, problems));
    let routes = install.table("routes").map(|routes| read_routes(&routes, problems));
    let kernel_modules = install.boolean("kernel_modules").unwrap_or_default();
    let firmware = install
        .string_item("firmware")
        .filter(|path| check_inner_path(problems, path));
    let service = install
        .string_item("service")
        .filter(|path| check_service_path(problems, path));
    install.finish();
    Install {
        binaries,
        files: files.unwrap_or_default(),
        routes: routes.unwrap_or_default(),
        kernel_modules,
        firmware,
        service,
    }
}

fn check_file_name(problems: &Problems, name: &str, position: &Position) {
    if !is_file_name(name) {
        let message = format!("`{name}` is not a file name");
        let hint = "a runtime flist is flat; send a file to a folder with [install.routes]";
        problems.push(Problem::error(Some(position.clone()), message).with_hint(hint));
    }
}

fn read_files(files: &Table<'_>, problems: &Problems) -> BTreeMap<String, Item<String>> {
    let mut read = BTreeMap::new();
    for (name, path) in files.strings() {
        check_file_name(problems, name, &path.position);
        if check_inner_path(problems, &path) {
            read.insert(name.to_owned(), path);
        }
    }
    read
}

fn read_routes(routes: &Table<'_>, problems: &Problems) -> BTreeMap<String, Item<String>> {
    let mut read = BTreeMap::new();
    for (name, target) in routes.strings() {
        let folder = target.value.split_once('/').map(|(folder, _)| folder);
        if is_inner_path(&target.value) && folder.is_some_and(|folder| PLACES.contains(&folder)) {
            read.insert(name.to_owned(), target);
            continue;
        }
        let message = format!("`{}` is not a place for `{name}`", target.value);
        let hint = format!("write a path below one of: {}", PLACES.join(", "));
        problems.push(Problem::error(Some(target.position), message).with_hint(hint));
    }
    read
}

fn check_service_path(problems: &Problems, path: &Item<String>) -> bool {
    let named = path.value.starts_with("services/") && path.value.ends_with(".service.toml");
    if !named {
        let message = format!("`{}` is not a service file", path.value);
        let hint = "service files are services/<name>.service.toml";
        problems.push(Problem::error(Some(path.position.clone()), message).with_hint(hint));
    }
    named && check_inner_path(problems, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    fn read(text: &str) -> (Option<Component>, String) {
        let document = Document::parse("components/web.toml", text).unwrap();
        let problems = Problems::default();
        let component = Component::read("web", &document, &problems);
        (component, problems.to_string())
    }

    #[test]
    fn the_name_of_the_crate_is_that_of_the_component() {
        let (component, problems) = read("[source]\nkind = \"crate\"\nversion = \"1.0.0\"\n");
        assert_eq!(problems, "");
        let component = component.unwrap();
        assert_eq!(component.origin, Origin::Crate { name: "web".to_owned() });
        assert_eq!(component.build, Build::default());
    }

    #[test]
    fn routes_stay_in_the_folders_of_a_generation() {
        for bad in ["etc", "lib/x", "/etc/x", "etc/../bin/x", "share//x"] {
            let (_, problems) = read(&format!(
                "[source]\nkind = \"crate\"\n[install.routes]\n\"a\" = \"{bad}\"\n"
            ));
            let expected = format!("error: components/web.toml:4:7: `{bad}` is not a place for `a`");
            assert!(problems.starts_with(&expected), "{problems}");
        }
    }

    #[test]
    fn programs_that_come_with_mos_are_not_built() {
        let text = "[source]\nkind = \"mos\"\n[install]\nkernel_modules = true\nfirmware = \"firmware\"\n";
        let (component, problems) = read(text);
        assert_eq!(problems, "");
        let component = component.unwrap();
        assert_eq!(component.build.kind, BuildKind::None);
        assert!(component.install.kernel_modules);
        assert_eq!(component.install.firmware.unwrap().value, "firmware");
        let (_, problems) = read("[source]\nkind = \"mos\"\n[build]\nprofile = \"dev\"\n");
        assert!(problems.contains("`build` has no meaning"), "{problems}");
        let (_, problems) = read("[source]\nkind = \"mos\"\n[install]\nfirmware = \"/lib/firmware\"\n");
        assert!(problems.contains("components/web.toml:4:12"), "{problems}");
    }

    #[test]
    fn a_release_is_one_file_and_built_already() {
        let source = |lines: &str| format!("[source]\nkind = \"release\"\nversion = \"2.1.4\"\n{lines}\n");
        let (component, problems) = read(&source(
            "url = \"https://host/{version}/corex-static\"\nrename = \"corex\"",
        ));
        assert_eq!(problems, "");
        let component = component.unwrap();
        assert_eq!(component.build.kind, BuildKind::None);
        let source_of = Source::new(&component.origin, &component.request).unwrap();
        assert_eq!(source_of.location(), "https://host/2.1.4/corex-static");
        assert_eq!(source_of.reference(), "2.1.4");
        for (bad, what) in [
            ("url = \"https://host/folder/\"", "4:7: `url` is not that of a file"),
            ("url = \"https://host/f?token=x\"", "4:7: `url` is not that of a file"),
            ("url = \"https://me:secret@host/f\"", "4:7: `url` carries a password"),
            ("url = \"ssh://host/f\"", "4:7: `url` is not that of a file"),
            ("url = \"../f\"", "4:7: "),
            ("url = \"f\"\nrename = \"a/b\"", "5:10: `a/b` is not a file name"),
            ("url = \"f\"\ncommit = \"x\"", "`commit` is not 40"),
        ] {
            let (_, problems) = read(&source(bad));
            assert!(problems.contains(what), "{bad}: {problems}");
        }
    }

    #[test]
    fn an_image_has_a_registry_and_its_tag_apart() {
        let source = |image: &str| format!("[source]\nkind = \"oci\"\nimage = \"{image}\"\nversion = \"2.8.4\"\n");
        for good in [
            "ghcr.io/me/web",
            "docker.io/library/caddy",
            "localhost:5000/a",
            "[::1]:5000/a/b_c",
        ] {
            let (component, problems) = read(&source(good));
            assert_eq!(problems, "", "{good}");
            assert!(matches!(component.unwrap().origin, Origin::Oci { .. }));
        }
        for bad in [
            "caddy",
            "library/caddy",
            "ghcr.io/me/web:1",
            "ghcr.io/me/web@sha256:00",
            "https://ghcr.io/me/web",
            "ghcr.io/",
        ] {
            let (_, problems) = read(&source(bad));
            assert!(
                problems.contains("3:9: `image` is not HOST[:PORT]/REPOSITORY"),
                "{bad}: {problems}"
            );
        }
    }
}

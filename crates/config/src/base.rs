//! What root file systems begin with, and where Alpine's packages come from.

use mos_architecture::Architecture;
use mos_toml::{Item, Problem, Problems, Table};
use serde::Serialize;

use crate::names::is_inner_path;

/// Alpine's stable release of 2025, supported until May 2027.
const DEFAULT_RELEASE: &str = "v3.22";
/// Names of repositories below a release.
const DEFAULT_REPOSITORIES: [&str; 2] = ["main", "community"];
/// The folder of public keys that sign them.
const DEFAULT_KEYS: &str = "keys/alpine";
/// Alpine's kernel for virtual machines.
const DEFAULT_ALPINE_KERNEL: &str = "linux-virt";
/// Debian's kernel for virtual machines, from the release that has the long-term 6.12 series, without the architecture.
const DEFAULT_DEBIAN_KERNEL: &str = "linux-image-6.12-cloud";

/// What a root file system begins with, and whose packages `image/packages.list` names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// Packages of Debian, from the sources that the host's apt has.
    #[default]
    Debian,
    /// Packages of Alpine, from repositories that `[alpine]` names.
    Alpine,
    /// No packages: our own programs, and what the project adds.
    Empty,
}

/// `[alpine]` in `mos.toml` or in an environment, whose keys come before those of the project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlpineSettings {
    /// URL or folder that has `RELEASE/REPOSITORY/ARCHITECTURE/APKINDEX.tar.gz`.
    pub mirror: Option<Item<String>>,
    /// `v3.22`, `edge`.
    pub release: Option<Item<String>>,
    /// Names below the release, paths below the mirror, URLs or folders; with `@TAG` before them, only for what is
    /// wanted with that tag. An empty list is none, for a miniroot that has everything.
    pub repositories: Option<Vec<Item<String>>>,
    /// The folder of public keys, in the config repository.
    pub keys: Option<Item<String>>,
    /// That of the image, which `[image]` says as a rule.
    pub architecture: Option<Item<Architecture>>,
    /// A miniroot to begin with, in the config repository.
    pub miniroot: Option<Item<String>>,
}

/// Where packages of Alpine come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlpinePlan {
    /// URL, absolute path, or `./` and a path in the config repository; no slash at the end. Which one is for the user to
    /// say, here or when building.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
    /// Paths below the mirror (`v3.22/main`), URLs, absolute paths, or `./` and a path in the config repository; some with
    /// `@TAG ` before them. The first has precedence.
    pub repositories: Vec<String>,
    /// The folder of public keys that may sign, in the config repository.
    pub keys: String,
    /// That of the image.
    pub architecture: Architecture,
    /// A miniroot to begin with, in the config repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub miniroot: Option<String>,
}

/// Where a repository is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositoryPlace<'p> {
    /// Below the mirror.
    Mirror(&'p str),
    /// At a URL or an absolute path.
    Address(&'p str),
    /// In the config repository.
    Folder(&'p str),
}

/// `base` of a table, with its place.
pub(crate) fn read_base(image: &Table<'_>) -> Option<Item<Base>> {
    let value = image.choice("base", &Base::ALL)?;
    let position = image.position_of("base");
    Some(Item { value, position })
}

/// `architecture` of a table, with its place.
pub(crate) fn read_architecture(table: &Table<'_>) -> Option<Item<Architecture>> {
    let value = table.choice("architecture", &Architecture::ALL)?;
    let position = table.position_of("architecture");
    Some(Item { value, position })
}

impl Base {
    /// Every base with its name.
    pub const ALL: [(&'static str, Self); 3] = [
        ("debian", Self::Debian),
        ("alpine", Self::Alpine),
        ("empty", Self::Empty),
    ];

    pub(crate) fn default_kernel(self, architecture: Architecture) -> String {
        match self {
            Self::Alpine => DEFAULT_ALPINE_KERNEL.to_owned(),
            Self::Debian | Self::Empty => format!("{DEFAULT_DEBIAN_KERNEL}-{}", architecture.debian()),
        }
    }
}

impl<'p> RepositoryPlace<'p> {
    /// Reads a mirror or the place of a repository, without a tag.
    pub fn of(text: &'p str) -> Self {
        match text.strip_prefix("./") {
            Some(folder) => Self::Folder(folder),
            None if text.starts_with('/') || text.contains("://") => Self::Address(text),
            None => Self::Mirror(text),
        }
    }
}

/// Divides `@TAG PLACE`.
pub fn split_tag(line: &str) -> (Option<&str>, &str) {
    let tagged = line.strip_prefix('@').and_then(|rest| rest.split_once(' '));
    tagged.map_or((None, line), |(tag, place)| (Some(tag), place.trim_start()))
}

impl AlpineSettings {
    /// Reads the table; whatever is wrong goes to `problems`.
    pub(crate) fn read(table: Table<'_>, problems: &Problems) -> Self {
        let settings = Self {
            mirror: table.string_item("mirror"),
            release: table.string_item("release"),
            repositories: table.has("repositories").then(|| table.string_list("repositories")),
            keys: table.string_item("keys"),
            architecture: read_architecture(&table),
            miniroot: table.string_item("miniroot"),
        };
        table.finish();
        settings.check(problems);
        settings
    }

    fn check(&self, problems: &Problems) {
        let wrong = |item: &Item<String>, what: &str, hint: &str| {
            let problem = Problem::error(Some(item.position.clone()), format!("`{}` is {what}", item.value));
            problems.push(problem.with_hint(hint));
        };
        if let Some(mirror) = self.mirror.as_ref().filter(|mirror| !is_mirror(&mirror.value)) {
            wrong(mirror, "no mirror", "use https://HOST/PATH, ./FOLDER or /FOLDER");
        }
        if let Some(release) = self.release.as_ref().filter(|release| !is_release(&release.value)) {
            wrong(release, "no release of Alpine", "use one such as v3.22, or edge");
        }
        for repository in self
            .repositories
            .iter()
            .flatten()
            .filter(|one| !is_repository(&one.value))
        {
            let hint = "use a name such as main, a path below the mirror such as edge/testing, https://HOST/PATH, ./FOLDER \
                        or /FOLDER; `@TAG ` may stand before it";
            wrong(repository, "no repository", hint);
        }
        for path in self
            .keys
            .iter()
            .chain(&self.miniroot)
            .filter(|path| !is_inner_path(&path.value))
        {
            wrong(
                path,
                "not a path inside the config repository",
                "write it relative to the folder of mos.toml, without `..`",
            );
        }
    }

    /// These settings, and where they are silent those of the project.
    pub(crate) fn over(&self, project: &Self) -> Self {
        let pick = |own: &Option<Item<String>>, other: &Option<Item<String>>| own.clone().or_else(|| other.clone());
        Self {
            mirror: pick(&self.mirror, &project.mirror),
            release: pick(&self.release, &project.release),
            repositories: self.repositories.clone().or_else(|| project.repositories.clone()),
            keys: pick(&self.keys, &project.keys),
            architecture: self.architecture.clone().or_else(|| project.architecture.clone()),
            miniroot: pick(&self.miniroot, &project.miniroot),
        }
    }

    pub(crate) fn plan(&self, architecture: Architecture) -> AlpinePlan {
        let text = |item: &Option<Item<String>>, default: &str| {
            item.as_ref()
                .map_or_else(|| default.to_owned(), |item| item.value.clone())
        };
        let release = text(&self.release, DEFAULT_RELEASE);
        let named: Vec<&str> = match &self.repositories {
            None => DEFAULT_REPOSITORIES.to_vec(),
            Some(named) => named.iter().map(|one| one.value.as_str()).collect(),
        };
        AlpinePlan {
            mirror: self
                .mirror
                .as_ref()
                .map(|mirror| mirror.value.trim_end_matches('/').to_owned()),
            repositories: named.into_iter().map(|line| full_line(line, &release)).collect(),
            keys: text(&self.keys, DEFAULT_KEYS),
            architecture,
            miniroot: self.miniroot.as_ref().map(|path| path.value.clone()),
        }
    }

    /// Folders and files of the config repository that must be there, with the places where they are named.
    pub(crate) fn paths(&self) -> Vec<(&str, &Item<String>)> {
        let places = self.mirror.iter().chain(self.repositories.iter().flatten());
        let folders = places.filter_map(|item| match RepositoryPlace::of(split_tag(&item.value).1) {
            RepositoryPlace::Folder(folder) => Some((folder, item)),
            _ => None,
        });
        let plain = self.keys.iter().chain(&self.miniroot);
        folders.chain(plain.map(|item| (item.value.as_str(), item))).collect()
    }
}

impl AlpinePlan {
    /// What the answer to a request depends on besides the request: it does not matter which mirror gave it.
    pub fn reference(&self) -> String {
        format!("alpine {} {}", self.architecture, self.repositories.join(" "))
    }
}

/// `main` is below the release.
fn full_line(line: &str, release: &str) -> String {
    let (tag, place) = split_tag(line);
    let place = match RepositoryPlace::of(place.trim_end_matches('/')) {
        RepositoryPlace::Mirror(name) if !name.contains('/') => format!("{release}/{name}"),
        _ => place.trim_end_matches('/').to_owned(),
    };
    tag.map_or_else(|| place.clone(), |tag| format!("@{tag} {place}"))
}

fn is_mirror(text: &str) -> bool {
    !matches!(RepositoryPlace::of(text), RepositoryPlace::Mirror(_)) && is_repository(text)
}

fn is_release(text: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let numbered = text.strip_prefix('v').and_then(|rest| rest.split_once('.'));
    matches!(text, "edge" | "latest-stable") || numbered.is_some_and(|(major, minor)| number(major) && number(minor))
}

fn is_repository(line: &str) -> bool {
    let (tag, place) = split_tag(line);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let tag_ok = tag.is_none_or(|tag| !tag.is_empty() && tag.chars().all(plain));
    let place = place.trim_end_matches('/');
    tag_ok
        && match RepositoryPlace::of(place) {
            RepositoryPlace::Folder(folder) => is_inner_path(folder),
            RepositoryPlace::Address(address) => address.parse::<mos_alpine::Repository>().is_ok(),
            RepositoryPlace::Mirror(path) => is_inner_path(path) && path.chars().all(|c| plain(c) || c == '/'),
        }
}

#[cfg(test)]
mod tests {
    use mos_toml::Document;

    use super::*;

    fn read(text: &str) -> (AlpineSettings, String) {
        let document = Document::parse("mos.toml", text).unwrap();
        let problems = Problems::default();
        let settings = AlpineSettings::read(document.root(&problems), &problems);
        (settings, problems.to_string())
    }

    #[test]
    fn everything_but_the_mirror_has_a_default() {
        let (settings, problems) = read("");
        assert_eq!(problems, "");
        let plan = settings.plan(Architecture::X86_64);
        assert_eq!(plan.mirror, None);
        assert_eq!(plan.repositories, ["v3.22/main", "v3.22/community"]);
        assert_eq!(
            (plan.keys.as_str(), plan.architecture),
            ("keys/alpine", Architecture::X86_64)
        );
        assert_eq!(plan.reference(), "alpine x86_64 v3.22/main v3.22/community");
    }

    #[test]
    fn repositories_stand_in_many_places_and_an_environment_comes_first() {
        let (project, problems) = read(
            "release = \"v3.21\"\nmirror = \"./mirror/\"\nminiroot = \"mini.tar.gz\"\n\
             repositories = [\"main\", \"@edge edge/testing\", \"./ours\", \"/srv/x/\", \"https://host/y\"]\n",
        );
        assert_eq!(problems, "");
        let lines = ["v3.21/main", "@edge edge/testing", "./ours", "/srv/x", "https://host/y"];
        assert_eq!(project.plan(Architecture::X86_64).repositories, lines);
        assert_eq!(project.plan(Architecture::X86_64).mirror.as_deref(), Some("./mirror"));
        let paths: Vec<&str> = project.paths().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["mirror/", "ours", "mini.tar.gz"]);
        let (environment, _) = read("release = \"edge\"\nrepositories = [\"main\"]\n");
        let both = environment.over(&project).plan(Architecture::X86_64);
        assert_eq!(
            (both.repositories, both.mirror),
            (vec!["edge/main".into()], Some("./mirror".into()))
        );
        assert_eq!(both.miniroot.as_deref(), Some("mini.tar.gz"));
    }

    #[test]
    fn mistakes_have_their_places() {
        let text = "mirror = \"main\"\nrelease = \"3.22\"\nkeys = \"/etc/apk/keys\"\narchitecture = \"x86\"\n\
                    repositories = [\"main\", \"../x\", \"ftp://host/x\", \"./a/../b\"]\n";
        let (_, problems) = read(text);
        for expected in [
            "mos.toml:1:10: `main` is no mirror",
            "mos.toml:2:11: `3.22` is no release of Alpine",
            "mos.toml:3:8: `/etc/apk/keys` is not a path inside",
            "mos.toml:4:16: `x86` is not a valid `architecture`",
            "mos.toml:5:25: `../x` is no repository",
            "mos.toml:5:33: `ftp://host/x` is no repository",
            "mos.toml:5:49: `./a/../b` is no repository",
        ] {
            assert!(problems.contains(expected), "{expected} is not in:\n{problems}");
        }
    }
}

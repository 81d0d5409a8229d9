//! Whose packages an image is made of, and whether their names can be theirs.

use mos_architecture::Architecture;
use mos_toml::{Item, Position, Problem, Problems};

use crate::base::{AlpinePlan, AlpineSettings, Base};
use crate::environment::Environment;
use crate::image::check_entries;
use crate::names::{is_apk, is_package};
use crate::repository::Repository;

/// What stands before the name of a package of Debian where the base is another.
const DEBIAN: &str = "debian:";
/// What stands before the name of a package of Alpine where the base is another, and in every plan.
const ALPINE: &str = "alpine:";

/// Who makes packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Their packages come through the host's apt.
    Debian,
    /// Their packages come from the repositories of an [`AlpinePlan`].
    Alpine,
}

impl Distribution {
    /// Whose package a name of a plan stands for, and its name there.
    pub fn split(name: &str) -> (Self, &str) {
        match name.strip_prefix(ALPINE) {
            Some(name) => (Self::Alpine, name),
            None => (Self::Debian, name),
        }
    }
}

/// What an environment says about the root file system of its image, together with what the project says.
#[derive(Debug, Clone)]
pub struct RootSettings<'r> {
    /// What the node is: what `[image]` says, or else `[alpine]`, or else this machine.
    pub architecture: Architecture,
    /// What it begins with.
    pub base: &'r Item<Base>,
    /// What `[image]` says that the node is.
    own: Option<&'r Item<Architecture>>,
    alpine: AlpineSettings,
    lists: Vec<&'r [Item<String>]>,
    kernel: Option<&'r Item<String>>,
    firmware: &'r [Item<String>],
    modules: Vec<&'r [Item<String>]>,
    patterns: &'r [Item<String>],
}

/// What the lines of lists name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// A package, in whichever list.
    Package,
    /// A kernel module, or what is kept out.
    Module,
    /// Firmware, by name or pattern.
    Firmware,
}

impl<'r> RootSettings<'r> {
    /// Those of an environment, or without one of the project.
    pub fn of(repository: &'r Repository, environment: Option<&'r Environment>) -> Self {
        let project = &repository.project;
        let own = environment.map(|environment| &environment.image);
        let mut lists = vec![&repository.image.packages[..]];
        lists.extend(own.map(|own| &own.packages[..]));
        let mut modules = vec![&repository.image.modules[..]];
        modules.extend(own.map(|own| &own.modules[..]));
        let alpine = environment.map_or_else(|| project.alpine.clone(), |own| own.alpine.over(&project.alpine));
        let architecture = own
            .and_then(|own| own.architecture.as_ref())
            .or(project.architecture.as_ref());
        let named = architecture.or(alpine.architecture.as_ref());
        Self {
            architecture: named.map_or(Architecture::HOST, |named| named.value),
            own: architecture,
            base: own.and_then(|own| own.base.as_ref()).unwrap_or(&project.base),
            alpine,
            lists,
            kernel: project.kernel_package.as_ref(),
            firmware: &repository.image.firmware.packages,
            modules,
            patterns: &repository.image.firmware.patterns,
        }
    }

    /// The kernel's package, as a plan names it.
    pub fn kernel_package(&self) -> String {
        match self.kernel {
            Some(kernel) => self.qualified(&kernel.value),
            None => self.qualified(&self.base.value.default_kernel(self.architecture)),
        }
    }

    /// Packages with firmware, as a plan names them.
    pub(crate) fn firmware_packages(&self) -> Vec<String> {
        let names = self.firmware.iter().map(|item| self.qualified(&item.value));
        names.collect()
    }

    /// Where Alpine's packages come from, when there are any.
    pub fn alpine_plan(&self) -> Option<AlpinePlan> {
        self.has_alpine().then(|| self.alpine.plan(self.architecture))
    }

    /// Where something is listed, by the name that a plan has for it.
    pub fn position_of(&self, listed: Listed, name: &str) -> Option<&'r Position> {
        let others = self.kernel.into_iter().chain(self.firmware);
        let mut packages = self.lists.iter().copied().flatten().chain(others);
        let mut modules = self.modules.iter().copied().flatten();
        let found = match listed {
            Listed::Package => packages.find(|item| Distribution::split(&item.value).1 == name),
            Listed::Module => modules.find(|item| item.value == name),
            Listed::Firmware => self.patterns.iter().find(|item| item.value == name),
        };
        found.map(|item| &item.position)
    }

    fn has_alpine(&self) -> bool {
        let names = self.firmware_packages().into_iter().chain([self.kernel_package()]);
        self.base.value == Base::Alpine
            || names
                .into_iter()
                .any(|name| Distribution::split(&name).0 == Distribution::Alpine)
    }

    fn qualified(&self, name: &str) -> String {
        match name.strip_prefix(DEBIAN) {
            Some(name) => name.to_owned(),
            None if self.base.value == Base::Alpine && !name.starts_with(ALPINE) => format!("{ALPINE}{name}"),
            None => name.to_owned(),
        }
    }

    fn problems(&self, exists: &dyn Fn(&str) -> bool) -> Vec<Problem> {
        let problems = Problems::default();
        self.check_architecture(&problems);
        for list in &self.lists {
            match self.base.value {
                Base::Debian => check_entries(list, is_package, "the name of a Debian package", &problems),
                Base::Alpine => check_entries(list, is_apk, "the name of an Alpine package", &problems),
                Base::Empty => refuse_packages(list, &problems),
            }
        }
        check_entries(self.firmware, |_| true, "a name", &problems);
        for item in self.kernel.into_iter().chain(self.firmware) {
            self.check_name(item, &problems);
        }
        if self.has_alpine() {
            self.check_paths(exists, &problems);
        }
        problems.into_sorted()
    }

    /// There is one machine, so that what is said twice must be the same.
    fn check_architecture(&self, problems: &Problems) {
        if let (Some(image), Some(alpine)) = (self.own, &self.alpine.architecture)
            && image.value != alpine.value
        {
            let message = format!(
                "`{}` contradicts [image] architecture, which is `{}` at {}",
                alpine.value, image.value, image.position
            );
            let problem = Problem::error(Some(alpine.position.clone()), message);
            problems.push(problem.with_hint("leave it out: Alpine's packages are for what the image is for"));
        }
    }

    fn check_name(&self, item: &Item<String>, problems: &Problems) {
        let qualified = self.qualified(&item.value);
        let (good, whose) = match Distribution::split(&qualified) {
            (Distribution::Alpine, name) => (is_apk(name) && !name.starts_with('!'), "an Alpine"),
            (Distribution::Debian, name) => (is_package(name), "a Debian"),
        };
        if !good {
            let message = format!("`{}` is not the name of {whose} package", item.value);
            problems.push(Problem::error(Some(item.position.clone()), message));
        }
    }

    fn check_paths(&self, exists: &dyn Fn(&str) -> bool, problems: &Problems) {
        for (path, item) in self.alpine.paths().into_iter().filter(|(path, _)| !exists(path)) {
            let problem = Problem::error(Some(item.position.clone()), format!("`{path}` does not exist"));
            problems.push(problem);
        }
        let keys = self.alpine.plan(self.architecture).keys;
        if self.alpine.keys.is_none() && !exists(&keys) {
            let message = format!("`{keys}` does not exist: the public keys that sign Alpine's packages");
            let problem = Problem::error(Some(self.reason()), message);
            problems.push(problem.with_hint(
                "copy the files NAME.rsa.pub from /etc/apk/keys of an Alpine system that you trust into it, or name \
                 another folder: [alpine] keys",
            ));
        }
    }

    /// Where it stands that there are packages of Alpine.
    fn reason(&self) -> Position {
        let named = self.firmware.iter().chain(self.kernel);
        let mut others = named.filter(|item| item.value.starts_with(ALPINE));
        match self.base.value {
            Base::Alpine => self.base.position.clone(),
            _ => others
                .next()
                .map_or_else(|| self.base.position.clone(), |item| item.position.clone()),
        }
    }
}

fn refuse_packages(list: &[Item<String>], problems: &Problems) {
    for item in list {
        let message = format!("`{}`: the base is empty, so there are no packages", item.value);
        let problem = Problem::error(Some(item.position.clone()), message);
        problems.push(problem.with_hint("take the line out, or set [image] base to \"debian\" or \"alpine\""));
    }
}

/// Checks the packages of every environment, and tells each problem once.
pub(crate) fn check(repository: &Repository, exists: &dyn Fn(&str) -> bool, problems: &Problems) {
    let mut all: Vec<RootSettings<'_>> = repository
        .environments
        .values()
        .map(|environment| RootSettings::of(repository, Some(environment)))
        .collect();
    if all.is_empty() {
        all.push(RootSettings::of(repository, None));
    }
    let mut told = Vec::new();
    for problem in all.iter().flat_map(|one| one.problems(exists)) {
        if !told.contains(&problem) {
            told.push(problem.clone());
            problems.push(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::repository::parse;

    /// What is wrong with these files, where nothing else exists.
    fn problems(files: &[(&str, &str)]) -> String {
        let texts: BTreeMap<String, String> = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect();
        let problems = Problems::default();
        let repository = parse(&texts, &problems).unwrap();
        check(&repository, &|_| false, &problems);
        problems.to_string()
    }

    fn project(rest: &str) -> String {
        format!("[project]\nname = \"x\"\n{rest}")
    }

    #[test]
    fn names_are_those_of_the_base_and_told_once() {
        let files = |base: &str| {
            problems(&[
                ("mos.toml", &project(base)),
                (
                    "image/packages.list",
                    "busybox-static\nBash\nlibc@edge>1\nbusybox-static\n",
                ),
                ("image/firmware.conf", "package Bad!\n"),
                ("environments/dev.toml", "channel = \"http://x\"\n"),
                ("environments/test.toml", "channel = \"http://x\"\n"),
            ])
        };
        assert_eq!(
            files(""),
            "error: image/firmware.conf:1:1: `Bad!` is not the name of a Debian package\n\
             error: image/packages.list:2:1: `Bash` is not the name of a Debian package\n\
             error: image/packages.list:3:1: `libc@edge>1` is not the name of a Debian package\n\
             warning: image/packages.list:4:1: `busybox-static` stands already at image/packages.list:1:1"
        );
        let alpine = files("[image]\nbase = \"alpine\"\n");
        assert!(
            alpine.contains("mos.toml:4:8: `keys/alpine` does not exist: the public keys"),
            "{alpine}"
        );
        assert!(
            alpine.contains("`Bad!` is not the name of an Alpine package"),
            "{alpine}"
        );
        assert!(!alpine.contains("`Bash`") && !alpine.contains("libc@edge"), "{alpine}");
        let empty = files("[image]\nbase = \"empty\"\n");
        assert!(
            empty.contains("packages.list:2:1: `Bash`: the base is empty"),
            "{empty}"
        );
    }

    #[test]
    fn the_architecture_is_said_once_and_everything_follows() {
        use Architecture::{Aarch64, X86_64};
        let root = |text: &str, environment: &str| {
            let texts = BTreeMap::from([
                ("mos.toml".to_owned(), project(text)),
                (
                    "environments/dev.toml".to_owned(),
                    format!("channel = \"http://x\"\n{environment}"),
                ),
            ]);
            let problems = Problems::default();
            let repository = parse(&texts, &problems).unwrap();
            let root = RootSettings::of(&repository, repository.environments.get("dev"));
            let alpine = root.alpine_plan().map(|plan| plan.architecture);
            (root.architecture, root.kernel_package(), alpine)
        };
        let arm = "[image]\narchitecture = \"aarch64\"\n";
        let x86 = "[image]\narchitecture = \"x86_64\"\n";
        let (cloud, virt) = ("linux-image-6.12-cloud", "alpine:linux-virt");
        assert_eq!(root("", "").0, Architecture::HOST);
        assert_eq!(root(arm, ""), (Aarch64, format!("{cloud}-arm64"), None));
        assert_eq!(root(arm, x86), (X86_64, format!("{cloud}-amd64"), None));
        let alpine = "base = \"alpine\"\n";
        assert_eq!(
            root(&format!("{arm}{alpine}"), ""),
            (Aarch64, virt.into(), Some(Aarch64))
        );
        let old = "[image]\nbase = \"alpine\"\n[alpine]\narchitecture = \"aarch64\"\n";
        assert_eq!(root(old, ""), (Aarch64, virt.into(), Some(Aarch64)));
        let both = format!("{x86}{alpine}[alpine]\narchitecture = \"aarch64\"\n");
        let found = problems(&[("mos.toml", &project(&both))]);
        assert!(
            found.contains(
                "mos.toml:7:16: `aarch64` contradicts [image] architecture, which is `x86_64` at mos.toml:4:16"
            ),
            "{found}"
        );
    }

    #[test]
    fn the_kernel_may_be_of_another_distribution_than_the_base() {
        let kernel = |text: &str| {
            let texts = BTreeMap::from([("mos.toml".to_owned(), project(text))]);
            let problems = Problems::default();
            let repository = parse(&texts, &problems).unwrap();
            let root = RootSettings::of(&repository, None);
            (root.kernel_package(), root.alpine_plan().is_some())
        };
        assert_eq!(
            kernel("[image]\nbase = \"alpine\"\n"),
            ("alpine:linux-virt".into(), true)
        );
        assert_eq!(kernel("[image]\nbase = \"empty\"\n").0, kernel("").0);
        let lts = "[kernel]\npackage = \"alpine:linux-lts\"\n";
        assert_eq!(kernel(lts), ("alpine:linux-lts".into(), true));
        let debian = "[kernel]\npackage = \"debian:linux-image-amd64\"\n[image]\nbase = \"alpine\"\n";
        assert_eq!(kernel(debian), ("linux-image-amd64".into(), true));
        assert_eq!(
            Distribution::split("alpine:linux-lts"),
            (Distribution::Alpine, "linux-lts")
        );
    }
}

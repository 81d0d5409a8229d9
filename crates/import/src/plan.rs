//! What is written for a checkout: a plan, and everything that is to be said about it.

use std::collections::{BTreeMap, BTreeSet};

use mos_toml::{Position, Problem, Problems, Severity};
use serde::Serialize;

use crate::checkout::{Checkout, File};
use crate::component::{self, Component};
use crate::services::{self, Service};
use crate::settings::Settings;
use crate::toml::{Sections, quoted};
use crate::{lists, shell, sources};

/// A config repository to be written.
#[derive(Debug, Clone)]
pub struct Import {
    /// The project's name.
    pub name: String,
    /// Files by their paths in the config repository.
    pub files: BTreeMap<String, Planned>,
    /// What is to be said, in the order of file, line and column: errors name what cannot be taken over, warnings what is
    /// taken over differently or not needed any more. Paths are those of the checkout.
    pub problems: Vec<Problem>,
}

/// A file to be written.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    /// What it holds.
    #[serde(skip)]
    pub bytes: Vec<u8>,
    /// Its mode.
    pub mode: u32,
    /// The file of the checkout that it comes from; those that MOS brings have none.
    pub from: Option<String>,
    /// Whether lines and columns are those of that file.
    #[serde(skip)]
    verbatim: bool,
}

const MODE: u32 = 0o644;
const PROGRAM_MODE: u32 = 0o755;
/// Of files with keys in them.
const SECRET_MODE: u32 = 0o600;
/// Files in which every line stands for itself.
const LISTS: [&str; 3] = [crate::PACKAGES, crate::MODULES, crate::FIRMWARE];
/// Files with keys, which stay where they are: mos reads them there.
const SECRETS: [&str; 2] = ["config/rfs.conf", "config/myfs.conf"];
/// Files that other steps read, or that say nothing of their own.
const READ: [&str; 5] = [
    crate::SOURCES,
    crate::BUILD,
    crate::KERNEL,
    crate::FUNCTIONS,
    "config/.gitkeep",
];
/// Folders of service files: scripts beside them go where the image had them.
const SCRIPTS: [(&str, &str); 3] = [
    ("config/my_init/", "image/files/etc/my_init/"),
    ("configs/my_init/", "image/files/etc/my_init/"),
    ("config/zinit/", "image/files/etc/zinit/"),
];
/// Where a node looks for releases of the environment that is written: the machine that runs it.
const CHANNEL: &str = "http://10.0.2.2:8480";
/// Where the kernel's configuration is.
const KERNEL_CONFIG: &str = "image/kernel.config";
/// The series of kernels that is taken when nothing names one.
const DEFAULT_SERIES: &str = "6.12";
const IGNORED: &str = "keys/*.key\nkeys/secure-boot/*.key\nconfig/rfs.conf\nconfig/myfs.conf\ndist\n";

/// Plans the config repository for a checkout. `name` is the project's.
pub fn plan(checkout: &Checkout, name: &str) -> Import {
    let problems = Problems::default();
    let mut import = Import {
        name: name.to_owned(),
        files: BTreeMap::new(),
        problems: Vec::new(),
    };
    let settings = Settings::read(checkout, &problems);
    let components = components(checkout, &problems);
    let programs = programs(&components);
    let services = services::convert(checkout, &programs, &problems);
    import.lists(checkout);
    import.own_services();
    let names: Vec<String> = components.iter().map(|component| component.name.clone()).collect();
    import.components(components, services, &problems);
    import.project(checkout, &settings, &names);
    import.others(checkout, &problems);
    import.check(&problems);
    import.problems = problems.into_sorted();
    import.problems.dedup();
    import
}

fn components(checkout: &Checkout, problems: &Problems) -> Vec<Component> {
    let lines = checkout.text(crate::SOURCES).unwrap_or_default();
    let lines = sources::parse(crate::SOURCES, &lines, problems);
    let functions = shell::functions(&checkout.text(crate::FUNCTIONS).unwrap_or_default());
    component::components(&lines, &functions, problems)
}

/// The component of each program.
fn programs(components: &[Component]) -> BTreeMap<String, String> {
    let of = |component: &Component| {
        let name = component.name.clone();
        component
            .programs
            .iter()
            .map(move |program| (program.clone(), name.clone()))
            .collect::<Vec<_>>()
    };
    components.iter().flat_map(of).collect()
}

impl Import {
    /// True when something cannot be taken over.
    pub fn is_partial(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Makes comments of the lines of lists that cannot be taken over, for who wants the rest.
    pub fn leave_out(&mut self) {
        let errors = self
            .problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error);
        let places: BTreeSet<(String, usize)> = errors
            .filter_map(|problem| problem.position.as_ref())
            .map(|position| (position.file.clone(), position.line))
            .collect();
        for planned in self.files.values_mut() {
            let Some(from) = planned.from.as_deref().filter(|from| LISTS.contains(from)) else {
                continue;
            };
            let text = String::from_utf8_lossy(&planned.bytes).into_owned();
            let line = |(number, line): (usize, &str)| match places.contains(&(from.to_owned(), number)) {
                true => format!("# {line}\n"),
                false => format!("{line}\n"),
            };
            if places.iter().any(|(file, _)| file == from) {
                planned.bytes = (1..).zip(text.lines()).map(line).collect::<String>().into_bytes();
            }
        }
    }

    fn add(&mut self, path: impl Into<String>, text: String, from: Option<&str>) {
        let planned = Planned {
            bytes: text.into_bytes(),
            mode: MODE,
            from: from.map(str::to_owned),
            verbatim: false,
        };
        self.files.insert(path.into(), planned);
    }

    /// Adds a file as it is.
    fn copy(&mut self, path: impl Into<String>, from: &str, file: &File, mode: u32) {
        let planned = Planned {
            bytes: file.bytes.clone(),
            mode,
            from: Some(from.to_owned()),
            verbatim: true,
        };
        self.files.insert(path.into(), planned);
    }

    fn lists(&mut self, checkout: &Checkout) {
        let same: fn(&str) -> String = str::to_owned;
        for (from, to, convert) in [
            (crate::PACKAGES, "image/packages.list", same),
            (crate::MODULES, "image/modules.conf", lists::modules),
            (crate::FIRMWARE, "image/firmware.conf", lists::firmware),
        ] {
            let Some(file) = checkout.files.get(from) else { continue };
            self.copy(to, from, file, MODE);
            let text = String::from_utf8_lossy(&file.bytes);
            let converted = convert(&text);
            if let Some(planned) = self
                .files
                .get_mut(to)
                .filter(|_| converted.trim_end() != text.trim_end())
            {
                planned.bytes = converted.into_bytes();
            }
        }
    }

    /// The services that every image of MOS has.
    fn own_services(&mut self) {
        for (path, bytes) in mos_config::IMAGE_SERVICES {
            self.add(*path, String::from_utf8_lossy(bytes).into_owned(), None);
        }
    }

    fn components(&mut self, components: Vec<Component>, services: BTreeMap<String, Service>, problems: &Problems) {
        let mut served: BTreeMap<String, String> = BTreeMap::new();
        for (name, service) in &services {
            if let Some(component) = &service.component
                && let Some(first) = served.get(component)
            {
                let message =
                    format!("`{component}` has the service `{first}` already: `{name}` becomes one of the image");
                problems.push(Problem::warning(Some(begin(&service.from)), message));
            } else if let Some(component) = &service.component {
                served.insert(component.clone(), name.clone());
            }
        }
        for (name, service) in services {
            self.add(
                format!("services/{name}.service.toml"),
                service.text,
                Some(&service.from),
            );
        }
        for component in components {
            let service = served.get(&component.name).cloned();
            let path = format!("components/{}.toml", component.name);
            self.add(path, component.render(service.as_deref()), Some(crate::SOURCES));
        }
    }

    fn project(&mut self, checkout: &Checkout, settings: &Settings, components: &[String]) {
        let mut sections = Sections::default();
        sections.put("project", "name", quoted(&self.name));
        if let Some(architecture) = settings.architecture {
            sections.put("image", "architecture", quoted(architecture.name()));
        }
        sections.put("image", "base", quoted("alpine"));
        for (name, value) in [("release", &settings.release), ("mirror", &settings.mirror)] {
            if let Some(value) = value {
                sections.put("alpine", name, quoted(value));
            }
        }
        self.kernel(checkout, settings, &mut sections);
        self.add(
            "mos.toml",
            sections
                .render("# From a checkout of mos_builder.\n\n")
                .replace("\n\n\n", "\n\n"),
            None,
        );
        self.add("environments/dev.toml", environment(components), None);
        self.add(".gitignore", IGNORED.to_owned(), None);
        // Those that a build of the checkout trusted come first.
        if !checkout.files.keys().any(|path| path.starts_with(crate::BUILT_KEYS)) {
            for (path, key) in mos_config::ALPINE_KEYS {
                self.add(*path, String::from_utf8_lossy(key).into_owned(), None);
            }
        }
    }

    /// A kernel of Alpine; with a configuration of its own, one from source.
    fn kernel(&mut self, checkout: &Checkout, settings: &Settings, sections: &mut Sections) {
        let Some(file) = checkout.files.get(crate::KERNEL) else {
            // The lists are for machines, not for virtual ones alone.
            return sections.put("kernel", "package", quoted("linux-lts"));
        };
        self.copy(KERNEL_CONFIG, crate::KERNEL, file, MODE);
        let series = settings
            .kernel
            .as_deref()
            .and_then(series)
            .unwrap_or(DEFAULT_SERIES.to_owned());
        sections.put("kernel", "source", quoted(&format!("linux-source-{series}")));
        sections.put("kernel", "base", quoted(KERNEL_CONFIG));
    }

    /// Scripts and files that services use; files with keys; and what nothing became of.
    fn others(&mut self, checkout: &Checkout, problems: &Problems) {
        for (path, file) in &checkout.files {
            if SECRETS.contains(&path.as_str()) {
                self.copy(path.as_str(), path, file, SECRET_MODE);
                check_bucket(path, file, problems);
            } else if let Some(target) = place(path) {
                let mode = if file.executable { PROGRAM_MODE } else { MODE };
                self.copy(target, path, file, mode);
            } else if !self.is_read(path) {
                let problem = Problem::warning(Some(begin(path)), "nothing becomes of this file");
                problems.push(match path.as_str() {
                    "config/init" => problem.with_hint("my_init is /init, and does what it did"),
                    _ => problem,
                });
            }
        }
    }

    /// True for a file of the checkout of which something became, or that other steps have read.
    fn is_read(&self, path: &str) -> bool {
        let used = || self.files.values().any(|planned| planned.from.as_deref() == Some(path));
        READ.contains(&path) || path.starts_with(crate::BUILT_KEYS) || services::is_service(path) || used()
    }

    /// Says what mos would say of the repository, of the files of the checkout where it can.
    fn check(&self, problems: &Problems) {
        let text = |planned: &Planned| String::from_utf8_lossy(&planned.bytes).into_owned();
        let texts: BTreeMap<String, String> = self
            .files
            .iter()
            .map(|(path, planned)| (path.clone(), text(planned)))
            .collect();
        let found = Problems::default();
        if let Some(repository) = mos_config::parse(&texts, &found) {
            let folders: BTreeSet<&str> = self
                .files
                .keys()
                .filter_map(|path| Some(path.rsplit_once('/')?.0))
                .collect();
            let exists = |path: &str| self.files.contains_key(path) || folders.contains(path);
            mos_config::check(&repository, &exists, &found);
        }
        for mut problem in found.into_sorted() {
            if let Some(position) = &mut problem.position
                && let Some(from) = self.origin(&position.file)
            {
                position.file = from;
            }
            problems.push(problem);
        }
    }

    fn origin(&self, path: &str) -> Option<String> {
        let planned = self.files.get(path).filter(|planned| planned.verbatim)?;
        planned.from.clone()
    }
}

/// Where a key of Alpine, or a file beside services, goes as it is.
fn place(path: &str) -> Option<String> {
    if let Some(name) = path.strip_prefix(crate::BUILT_KEYS) {
        return name.ends_with(".pub").then(|| format!("keys/alpine{name}"));
    }
    if services::is_service(path) {
        return None;
    }
    SCRIPTS
        .iter()
        .find_map(|(from, to)| Some(format!("{to}{}", path.strip_prefix(from)?)))
}

fn check_bucket(path: &str, file: &File, problems: &Problems) {
    let text = String::from_utf8_lossy(&file.bytes);
    if let Err(error) = mos_rfs::Conf::parse(path, &text) {
        let position = Position {
            file: path.to_owned(),
            line: error.line,
            column: 1,
        };
        problems.push(Problem::error(Some(position), error.why));
    }
}

fn environment(components: &[String]) -> String {
    let mut text = format!(
        "# A node in a virtual machine on this computer: branches are welcome here, `mos validate` refuses them in production.\n\n\
         # Where nodes look for releases; QEMU shows this computer to a node at this address.\nchannel = {}\n",
        quoted(CHANNEL)
    );
    for name in components {
        text.push_str(&format!("\n[components.{}]\n", crate::toml::key(name)));
    }
    text
}

/// `6.12` of `6.12.44`.
fn series(version: &str) -> Option<String> {
    let mut numbers = version.split('.');
    let (major, minor) = (numbers.next()?, numbers.next()?);
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (number(major) && number(minor)).then(|| format!("{major}.{minor}"))
}

fn begin(path: &str) -> Position {
    Position {
        file: path.to_owned(),
        line: 1,
        column: 1,
    }
}

//! `mos.lock`: the exact state of everything that was fetched, written by MOS and kept beside the configuration.
//!
//! Entries are sorted, so that a change shows as a small difference in version control. The file is replaced as a
//! whole: after a crash it is the old one or the new one.
//!
//! An entry belongs to a *reference* (`branch main`, `2.44`, `tag v1`): when the configuration asks for another one,
//! the entry no longer applies. Environments that ask for different states of a component have an entry each.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use mos_alpine::LockedPackage as LockedApk;
use mos_architecture::Architecture;
use mos_packages::LockedPackage;
use mos_toml::{Document, Problem, Problems, Table};
use serde::Serialize;

use crate::names::is_hex;
use crate::source::Source;

/// The lock's name in the config repository.
pub const LOCK_FILE: &str = "mos.lock";
/// Readable by all: it holds no secrets.
const LOCK_MODE: u32 = 0o644;
const HEADER: &str = "# Written by MOS. Commit it; change it with `mos lock`.\nformat = 1\n";
/// The one format there is so far.
const FORMAT: i64 = 1;

/// What is locked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    components: BTreeSet<LockedComponent>,
    packages: BTreeSet<LockedPackage>,
    apks: BTreeSet<LockedApk>,
    requests: BTreeSet<LockedRequest>,
}

/// The exact state of a component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LockedComponent {
    /// The component's name.
    pub name: String,
    /// `crate` or `git`; paths are not locked.
    pub kind: String,
    /// The crate's name, or the URL.
    pub source: String,
    /// What the configuration asked for: [`Source::reference`].
    pub reference: String,
    /// The version that a release shows.
    pub version: String,
    /// SHA-256 of the crate's archive, or the commit.
    pub digest: String,
}

/// What was asked of the package sources, and the names of the packages that answered it: dependencies are found out
/// once, and not again at every build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LockedRequest {
    /// Whom it was asked of: empty for the sources of the host's apt and packages for x86-64, `debian arm64` for those of
    /// another architecture, otherwise [`AlpinePlan::reference`], and what else the answer depends on.
    ///
    /// [`AlpinePlan::reference`]: crate::AlpinePlan::reference
    pub from: String,
    /// What was asked for, sorted.
    pub wanted: Vec<String>,
    /// The packages, by name, those of Alpine by name and version, sorted.
    pub packages: Vec<String>,
}

/// Why the lock could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// The file.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What stands in it.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Content(Vec<Problem>),
}

/// Whom Debian's packages of an architecture are asked of. Nothing is said of the one that all nodes had at first, so that
/// locks of that time count.
fn debian(architecture: Architecture) -> String {
    match architecture {
        Architecture::X86_64 => String::new(),
        other => format!("debian {}", other.debian()),
    }
}

/// The architecture whose packages of Debian were asked for; `None` when it was Alpine that was asked.
fn debian_architecture(from: &str) -> Option<Architecture> {
    let mut all = Architecture::ALL.into_iter().map(|(_, one)| one);
    all.find(|one| debian(*one) == from)
}

/// True for a package of Debian that machines of an architecture can have.
fn fits(package: &LockedPackage, architecture: Architecture) -> bool {
    package.architecture == architecture.debian() || package.architecture == "all"
}

impl Lock {
    /// Reads the text of a lock.
    ///
    /// # Errors
    /// Every problem in it.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let document = Document::parse(file, text).map_err(|problem| vec![problem])?;
        let problems = Problems::default();
        let root = document.root(&problems);
        root.integer("format", FORMAT..=FORMAT);
        let components = root
            .table_list("component")
            .into_iter()
            .filter_map(read_component)
            .collect();
        let packages = root
            .table_list("package")
            .into_iter()
            .filter_map(read_package)
            .collect();
        let apks = root.table_list("apk").into_iter().filter_map(read_apk).collect();
        let requests = root.table_list("request").into_iter().map(read_request).collect();
        root.finish();
        if problems.any_error() {
            return Err(problems.into_sorted());
        }
        Ok(Self {
            components,
            packages,
            apks,
            requests,
        })
    }

    /// Reads the lock of a config repository; a missing file is an empty lock.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn read(repository: &Path) -> Result<Self, LockError> {
        let path = repository.join(LOCK_FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(LOCK_FILE, &text).map_err(LockError::Content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(LockError::Io { path, source }),
        }
    }

    /// Replaces the lock of a config repository, unless it already says the same. Returns whether it was written.
    ///
    /// # Errors
    /// [`LockError::Io`]; the old file then still stands.
    pub fn write(&self, repository: &Path) -> Result<bool, LockError> {
        let path = repository.join(LOCK_FILE);
        let text = self.to_string();
        if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(false);
        }
        mos_sys::durable::write(&path, text.as_bytes(), LOCK_MODE).map_err(|source| LockError::Io { path, source })?;
        Ok(true)
    }

    /// The entry of a component, if it is for this very source and reference.
    pub fn component(&self, name: &str, source: &Source) -> Option<&LockedComponent> {
        let reference = source.reference();
        self.components.iter().find(|entry| {
            entry.name == name
                && entry.kind == source.kind()
                && entry.source == source.location()
                && entry.reference == reference
        })
    }

    /// Puts an entry in place of the one for the same component, source and reference.
    pub fn set_component(&mut self, entry: LockedComponent) {
        self.components.retain(|old| {
            (&old.name, &old.kind, &old.source, &old.reference)
                != (&entry.name, &entry.kind, &entry.source, &entry.reference)
        });
        self.components.insert(entry);
    }

    /// Keeps only the component entries for which `wanted` holds.
    pub fn retain_components(&mut self, wanted: impl FnMut(&LockedComponent) -> bool) {
        self.components.retain(wanted);
    }

    /// All component entries, sorted.
    pub fn components(&self) -> impl Iterator<Item = &LockedComponent> {
        self.components.iter()
    }

    /// All entries of Debian's packages, sorted.
    pub fn packages(&self) -> impl Iterator<Item = &LockedPackage> {
        self.packages.iter()
    }

    /// All entries of Alpine's packages, sorted.
    pub fn apks(&self) -> impl Iterator<Item = &LockedApk> {
        self.apks.iter()
    }

    /// The packages of Debian for an architecture that answer a request, when it was made before and all of them are
    /// locked.
    pub fn answer(&self, architecture: Architecture, wanted: &[String]) -> Option<Vec<&LockedPackage>> {
        let request = self.request(&debian(architecture), wanted)?;
        let find = |name: &String| self.package(architecture, name);
        request.packages.iter().map(find).collect()
    }

    fn package(&self, architecture: Architecture, name: &str) -> Option<&LockedPackage> {
        let mut packages = self.packages.iter();
        packages.find(|package| package.name == name && fits(package, architecture))
    }

    /// The packages of Alpine that answer a request, when the same was asked of the same before and all are locked.
    pub fn answer_apks(&self, from: &str, wanted: &[String]) -> Option<Vec<&LockedApk>> {
        let request = self.request(from, wanted)?;
        let find = |name: &String| self.apks.iter().find(|package| package.full_name() == *name);
        request.packages.iter().map(find).collect()
    }

    fn request(&self, from: &str, wanted: &[String]) -> Option<&LockedRequest> {
        let wanted = sorted(wanted);
        let mut requests = self.requests.iter();
        requests.find(|request| request.from == from && request.wanted == wanted)
    }

    /// Notes the answer of Debian's sources to a request for an architecture. A package that is locked at another version is
    /// replaced, for every request: all of them come from one state of the sources.
    pub fn set_answer(&mut self, architecture: Architecture, wanted: &[String], packages: Vec<LockedPackage>) {
        let names: Vec<String> = packages.iter().map(|package| package.name.clone()).collect();
        self.packages
            .retain(|package| !(fits(package, architecture) && names.contains(&package.name)));
        self.packages.extend(packages);
        self.set_request(&debian(architecture), wanted, &names);
    }

    /// Notes the answer of Alpine's repositories to a request. Environments may be of several releases: other versions
    /// of a package stay.
    pub fn set_answer_apks(&mut self, from: &str, wanted: &[String], packages: Vec<LockedApk>) {
        let names: Vec<String> = packages.iter().map(LockedApk::full_name).collect();
        self.apks.retain(|package| !names.contains(&package.full_name()));
        self.apks.extend(packages);
        self.set_request(from, wanted, &names);
        self.drop_unasked();
    }

    fn set_request(&mut self, from: &str, wanted: &[String], packages: &[String]) {
        let wanted = sorted(wanted);
        self.requests
            .retain(|request| (request.from.as_str(), &request.wanted) != (from, &wanted));
        self.requests.insert(LockedRequest {
            from: from.to_owned(),
            wanted,
            packages: sorted(packages),
        });
    }

    /// Takes over what another lock has and this one has not: components, and requests with the packages that answer them.
    /// Where both have a package of Debian, the version of this one counts.
    pub fn adopt(&mut self, other: &Self) {
        let key = |entry: &LockedComponent| {
            (
                entry.name.clone(),
                entry.kind.clone(),
                entry.source.clone(),
                entry.reference.clone(),
            )
        };
        let known: BTreeSet<_> = self.components.iter().map(key).collect();
        let missing = other.components.iter().filter(|entry| !known.contains(&key(entry)));
        self.components.extend(missing.cloned());
        for request in &other.requests {
            if self.request(&request.from, &request.wanted).is_some() {
                continue;
            }
            for name in &request.packages {
                self.adopt_package(other, debian_architecture(&request.from), name);
            }
            self.requests.insert(request.clone());
        }
    }

    fn adopt_package(&mut self, other: &Self, of_debian: Option<Architecture>, name: &str) {
        match of_debian {
            Some(architecture) if self.package(architecture, name).is_none() => {
                self.packages.extend(other.package(architecture, name).cloned());
            }
            None if !self.apks.iter().any(|package| package.full_name() == name) => {
                self.apks
                    .extend(other.apks.iter().find(|package| package.full_name() == name).cloned());
            }
            _ => {}
        }
    }

    /// Keeps only the requests for which `wanted` holds, and the packages that answer them.
    pub fn retain_requests(&mut self, wanted: impl FnMut(&LockedRequest) -> bool) {
        self.requests.retain(wanted);
        self.drop_unasked();
    }

    fn drop_unasked(&mut self) {
        let requests = &self.requests;
        let asked = |whom: &dyn Fn(Option<Architecture>) -> bool, name: &String| {
            let mut same = requests.iter().filter(|one| whom(debian_architecture(&one.from)));
            same.any(|request| request.packages.contains(name))
        };
        self.packages.retain(|package| {
            let serves = |whom: Option<Architecture>| whom.is_some_and(|architecture| fits(package, architecture));
            asked(&serves, &package.name)
        });
        self.apks
            .retain(|package| asked(&|whom| whom.is_none(), &package.full_name()));
    }

    /// All requests, sorted.
    pub fn requests(&self) -> impl Iterator<Item = &LockedRequest> {
        self.requests.iter()
    }
}

fn sorted(names: &[String]) -> Vec<String> {
    let unique: BTreeSet<&String> = names.iter().collect();
    unique.into_iter().cloned().collect()
}

impl std::fmt::Display for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = HEADER.to_owned();
        for entry in &self.components {
            text.push_str("\n[[component]]\n");
            let pairs = [
                ("name", &entry.name),
                ("kind", &entry.kind),
                ("source", &entry.source),
                ("reference", &entry.reference),
                ("version", &entry.version),
                ("digest", &entry.digest),
            ];
            pairs.iter().for_each(|(key, value)| push_string(&mut text, key, value));
        }
        for entry in &self.packages {
            text.push_str("\n[[package]]\n");
            let pairs = [
                ("name", &entry.name),
                ("version", &entry.version),
                ("architecture", &entry.architecture),
                ("sha256", &entry.sha256),
            ];
            pairs.iter().for_each(|(key, value)| push_string(&mut text, key, value));
            writeln!(text, "size = {}", entry.size)?;
        }
        for entry in &self.apks {
            text.push_str("\n[[apk]]\n");
            let pairs = [
                ("name", &entry.name),
                ("version", &entry.version),
                ("architecture", &entry.architecture),
                ("checksum", &entry.checksum),
                ("sha256", &entry.sha256),
            ];
            pairs.iter().for_each(|(key, value)| push_string(&mut text, key, value));
            writeln!(text, "size = {}", entry.size)?;
        }
        for entry in &self.requests {
            text.push_str("\n[[request]]\n");
            if !entry.from.is_empty() {
                push_string(&mut text, "from", &entry.from);
            }
            push_strings(&mut text, "wanted", &entry.wanted);
            push_strings(&mut text, "packages", &entry.packages);
        }
        f.write_str(&text)
    }
}

/// Writes a key and a basic string of TOML 1.0.
fn push_string(text: &mut String, key: &str, value: &str) {
    text.push_str(&format!("{key} = {}\n", basic_string(value)));
}

/// Writes a key and a list of strings, one to a line.
fn push_strings(text: &mut String, key: &str, values: &[String]) {
    let lines: String = values
        .iter()
        .map(|value| format!("    {},\n", basic_string(value)))
        .collect();
    text.push_str(&format!("{key} = [\n{lines}]\n"));
}

fn basic_string(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

fn read_component(table: Table<'_>) -> Option<LockedComponent> {
    let required = |key| table.required_string(key).map(|item| item.value);
    let entry = LockedComponent {
        name: required("name")?,
        kind: required("kind")?,
        source: required("source")?,
        reference: required("reference")?,
        version: required("version")?,
        digest: required("digest")?,
    };
    let digits = if entry.kind == "git" { 40 } else { 64 };
    if !is_hex(&entry.digest, digits) {
        table.complain(
            "digest",
            format!("`digest` is not {digits} lower-case hexadecimal digits"),
        );
    }
    table.finish();
    Some(entry)
}

fn read_package(table: Table<'_>) -> Option<LockedPackage> {
    let required = |key| table.required_string(key).map(|item| item.value);
    let entry = LockedPackage {
        name: required("name")?,
        version: required("version")?,
        architecture: required("architecture")?,
        sha256: required("sha256")?,
        size: table.integer("size", 0..=i64::MAX)?.try_into().ok()?,
    };
    if !is_hex(&entry.sha256, 64) {
        table.complain("sha256", "`sha256` is not 64 lower-case hexadecimal digits");
    }
    table.finish();
    Some(entry)
}

fn read_apk(table: Table<'_>) -> Option<LockedApk> {
    let required = |key| table.required_string(key).map(|item| item.value);
    let entry = LockedApk {
        name: required("name")?,
        version: required("version")?,
        architecture: required("architecture")?,
        checksum: required("checksum")?,
        sha256: required("sha256")?,
        size: table.integer("size", 0..=i64::MAX)?.try_into().ok()?,
    };
    if entry.checksum.parse::<mos_alpine::Checksum>().is_err() {
        table.complain("checksum", "`checksum` is not `Q1` or `Q2` and a digest in base64");
    }
    if !is_hex(&entry.sha256, 64) {
        table.complain("sha256", "`sha256` is not 64 lower-case hexadecimal digits");
    }
    table.finish();
    Some(entry)
}

fn read_request(table: Table<'_>) -> LockedRequest {
    let list = |key| table.string_list(key).into_iter().map(|item| item.value).collect();
    let entry = LockedRequest {
        from: table.string("from").unwrap_or_default(),
        wanted: list("wanted"),
        packages: list("packages"),
    };
    table.finish();
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(reference: &str, digest: char) -> LockedComponent {
        LockedComponent {
            name: "web".to_owned(),
            kind: "git".to_owned(),
            source: "https://example.org/\"odd\".git".to_owned(),
            reference: reference.to_owned(),
            version: "0.1.0".to_owned(),
            digest: digest.to_string().repeat(40),
        }
    }

    fn package(name: &str, version: &str) -> LockedPackage {
        LockedPackage {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: "amd64".to_owned(),
            sha256: "0".repeat(64),
            size: 963_328,
        }
    }

    fn apk(name: &str, version: &str) -> LockedApk {
        LockedApk {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: "x86_64".to_owned(),
            checksum: "Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned(),
            sha256: "0".repeat(64),
            size: 1,
        }
    }

    fn source(branch: &str) -> Source {
        Source::Git {
            url: "https://example.org/\"odd\".git".to_owned(),
            branch: Some(branch.to_owned()),
            tag: None,
            commit: None,
            subdirectory: None,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut lock = Lock::default();
        lock.set_component(entry("branch main", 'a'));
        lock.set_component(entry("tag v1", 'b'));
        lock.set_answer(
            Architecture::X86_64,
            &["busybox-static".to_owned()],
            vec![package("busybox-static", "1:1.35.0-4+b7")],
        );
        lock.set_answer_apks(
            "alpine x86_64 v3.22/main",
            &["musl".to_owned()],
            vec![apk("musl", "1.2.5-r1")],
        );
        let directory = tempfile::tempdir().unwrap();
        assert!(lock.write(directory.path()).unwrap());
        assert!(
            !lock.write(directory.path()).unwrap(),
            "the same lock is not written twice"
        );
        assert_eq!(Lock::read(directory.path()).unwrap(), lock);
    }

    #[test]
    fn an_entry_serves_only_the_reference_it_was_made_for() {
        let mut lock = Lock::default();
        lock.set_component(entry("branch main", 'a'));
        lock.set_component(entry("branch main", 'c'));
        assert_eq!(lock.components().count(), 1);
        assert_eq!(lock.component("web", &source("main")).unwrap().digest, "c".repeat(40));
        assert_eq!(lock.component("web", &source("next")), None);
        assert_eq!(lock.component("other", &source("main")), None);
    }

    #[test]
    fn an_answer_serves_its_request_in_any_order_and_is_dropped_with_it() {
        let mut lock = Lock::default();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        lock.set_answer(
            Architecture::X86_64,
            &names(&["curl", "bash"]),
            vec![package("curl", "8"), package("bash", "5"), package("libc6", "2")],
        );
        lock.set_answer(
            Architecture::X86_64,
            &names(&["dash"]),
            vec![package("dash", "1"), package("libc6", "3")],
        );
        let answer = lock.answer(Architecture::X86_64, &names(&["bash", "curl"])).unwrap();
        let versions: Vec<_> = answer
            .iter()
            .map(|package| (package.name.as_str(), package.version.as_str()))
            .collect();
        assert_eq!(
            versions,
            [("bash", "5"), ("curl", "8"), ("libc6", "3")],
            "one version of libc6 for all"
        );
        assert!(lock.answer(Architecture::X86_64, &names(&["bash"])).is_none());
        lock.retain_requests(|request| request.wanted == ["dash"]);
        let left: Vec<_> = lock.packages().map(|package| package.name.as_str()).collect();
        assert_eq!(left, ["dash", "libc6"]);
    }

    #[test]
    fn packages_of_one_architecture_are_apart_from_those_of_another() {
        use Architecture::{Aarch64, X86_64};
        let arm = |name: &str, version: &str| LockedPackage {
            architecture: "arm64".to_owned(),
            ..package(name, version)
        };
        let all = |version: &str| LockedPackage {
            architecture: "all".to_owned(),
            ..package("certificates", version)
        };
        let wanted = ["bash".to_owned()];
        let mut lock = Lock::default();
        lock.set_answer(X86_64, &wanted, vec![package("bash", "5"), all("1")]);
        assert_eq!(lock.answer(Aarch64, &wanted), None);
        lock.set_answer(Aarch64, &wanted, vec![arm("bash", "5+b1"), all("2")]);
        let versions = |architecture| {
            let answer = lock.answer(architecture, &wanted).unwrap();
            let versions = answer.into_iter().map(|package| package.version.as_str());
            versions.collect::<Vec<_>>()
        };
        assert_eq!(
            (versions(X86_64), versions(Aarch64)),
            (vec!["5", "2"], vec!["5+b1", "2"])
        );
        let text = lock.to_string();
        assert!(
            text.contains("from = \"debian arm64\"\nwanted = [\n    \"bash\",\n]"),
            "{text}"
        );
        assert!(text.contains("architecture = \"arm64\""), "{text}");
        assert_eq!(Lock::parse(LOCK_FILE, &text).unwrap(), lock);
        let mut new = Lock::default();
        new.set_answer(X86_64, &wanted, vec![package("bash", "6")]);
        new.adopt(&lock);
        assert_eq!(new.answer(X86_64, &wanted).unwrap()[0].version, "6");
        assert_eq!(new.answer(Aarch64, &wanted).unwrap()[0].version, "5+b1");
        lock.retain_requests(|request| request.from.is_empty());
        let left: Vec<_> = lock.packages().map(|package| package.architecture.as_str()).collect();
        assert_eq!(left, ["amd64", "all"]);
    }

    #[test]
    fn packages_of_alpine_are_apart_from_those_of_debian_and_of_other_releases() {
        let mut lock = Lock::default();
        let wanted = ["musl".to_owned()];
        lock.set_answer(Architecture::X86_64, &wanted, vec![package("musl", "1")]);
        lock.set_answer_apks("v3.21", &wanted, vec![apk("musl", "2-r0")]);
        lock.set_answer_apks("v3.22", &wanted, vec![apk("musl", "3-r0"), apk("busybox", "1-r0")]);
        assert_eq!(lock.answer(Architecture::X86_64, &wanted).unwrap()[0].version, "1");
        assert_eq!(lock.answer_apks("v3.21", &wanted).unwrap()[0].version, "2-r0");
        assert_eq!(lock.answer_apks("v3.22", &wanted).unwrap().len(), 2);
        assert_eq!(lock.answer_apks("edge", &wanted), None);
        lock.set_answer_apks("v3.22", &wanted, vec![apk("musl", "4-r0")]);
        let left: Vec<String> = lock.apks().map(LockedApk::full_name).collect();
        assert_eq!(left, ["musl-2-r0", "musl-4-r0"], "what nobody asks for is gone");
        lock.retain_requests(|request| request.from != "v3.22");
        assert_eq!((lock.apks().count(), lock.packages().count()), (1, 1));
    }

    #[test]
    fn what_others_ask_for_is_taken_over_and_new_versions_count() {
        let mut old = Lock::default();
        old.set_component(entry("branch main", 'a'));
        old.set_component(entry("tag v1", 'b'));
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        old.set_answer(
            Architecture::X86_64,
            &names(&["bash"]),
            vec![package("bash", "5"), package("libc6", "2")],
        );
        old.set_answer(
            Architecture::X86_64,
            &names(&["curl"]),
            vec![package("curl", "8"), package("libc6", "2")],
        );
        old.set_answer_apks("v3.22", &names(&["musl"]), vec![apk("musl", "1-r0")]);
        let mut new = Lock::default();
        new.set_component(entry("branch main", 'c'));
        new.set_answer(
            Architecture::X86_64,
            &names(&["bash"]),
            vec![package("bash", "5.1"), package("libc6", "2.1")],
        );
        new.adopt(&old);
        assert_eq!(new.component("web", &source("main")).unwrap().digest, "c".repeat(40));
        assert_eq!(new.components().count(), 2);
        let versions: Vec<String> = new.packages().map(|it| format!("{} {}", it.name, it.version)).collect();
        assert_eq!(versions, ["bash 5.1", "curl 8", "libc6 2.1"]);
        assert_eq!(new.answer(Architecture::X86_64, &names(&["curl"])).unwrap().len(), 2);
        assert_eq!(new.answer_apks("v3.22", &names(&["musl"])).unwrap().len(), 1);
        let again = new.clone();
        new.adopt(&old);
        assert_eq!(new, again);
    }

    #[test]
    fn damage_is_reported_with_its_place() {
        let problems = Lock::parse(LOCK_FILE, "format = 2\n[[component]]\nname = \"web\"\n").unwrap_err();
        let text = problems[0].to_string();
        assert_eq!(text, "error: mos.lock:1:10: `format` is 2, expected 1 to 1");
        assert!(
            Lock::read(Path::new("/nonexistent"))
                .unwrap()
                .components()
                .next()
                .is_none()
        );
    }
}

//! Services that come and go while we run: `service.set`, `service.get`, `service.delete`.
//!
//! Each is a file in one directory that is for them (`--state`; on a node `/run/my_init/services`, which a reboot
//! empties: what lies on a disk is not verified, so nothing there is ever run). The file is there before the service is
//! known, and gone before it is stopped; a supervisor that is killed in between leaves files from which its successor
//! sees what was meant. What other directories hold is neither replaced nor removed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use mos_service::{Service, split_instance};
use mos_toml::{Problem, Severity};
use serde_json::{Value, json};

use super::Driver;
use crate::clock;
use crate::json_toml::{from_toml, to_toml};
use crate::protocol::codes::{EXISTS, NOT_PERMITTED, NOT_PERSISTED, UNSAFE_REMOVAL, VALIDATION};
use crate::protocol::{Params, Refusal};

/// What a service is called in messages before it has a name; no name can be this.
const NAMELESS: &str = "(request)";

/// Everybody may read a file (`S_IROTH`, inode(7)).
const READABLE: u32 = 0o004;

impl Driver {
    /// Where added services are kept.
    fn state(&self) -> Option<&Path> {
        self.setup.state.as_deref()
    }

    /// Adds a service or replaces one that was added.
    pub(super) fn define(&mut self, params: &Params) -> Result<Value, Refusal> {
        let text = match params.value("config") {
            Value::String(text) => text.clone(),
            config => to_toml(config).map_err(|error| Refusal::new(VALIDATION, error))?,
        };
        self.define_as(params.given("name").unwrap_or(NAMELESS), &text)
    }

    /// Adds the service that a text describes, or replaces one that was added.
    pub(super) fn define_as(&mut self, name: &str, text: &str) -> Result<Value, Refusal> {
        let (service, warnings) = understand(name, text)?;
        let path = self.place_for(&service.name)?;
        write(&path, text).map_err(|error| Refusal::new(NOT_PERSISTED, format!("{}: {error}", path.display())))?;
        self.take_in(&service.name);
        let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        Ok(json!({ "name": service.name, "path": path.display().to_string(), "warnings": warnings }))
    }

    /// Removes a service that was added; it is asked to end, and nobody waits for that.
    pub(super) fn undefine(&mut self, name: &str) -> Result<Value, Refusal> {
        let id = self.named(name)?;
        let file = self.supervisor.unit(id).map(|unit| PathBuf::from(&unit.service().file));
        let Some(file) = file.filter(|file| self.is_added(file)) else {
            return Err(self.not_ours(UNSAFE_REMOVAL, name));
        };
        match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Refusal::new(NOT_PERSISTED, format!("{}: {error}", file.display())));
            }
            _ => {}
        }
        self.supervisor.remove(id, clock::now());
        Ok(json!({ "ok": true }))
    }

    /// What the file of a service says, as JSON; `all`: also when that is not for everybody.
    pub(super) fn definition(&self, name: &str, all: bool) -> Result<Value, Refusal> {
        let unit = self.supervisor.unit(self.named(name)?);
        let file = unit.map_or("", |unit| unit.service().file.as_str());
        let failed = |error: String| Refusal::new(VALIDATION, error);
        let mode = fs::metadata(file)
            .map_err(|error| failed(format!("{file}: {error}")))?
            .mode();
        if !all && mode & READABLE == 0 {
            return Err(Refusal::new(
                NOT_PERMITTED,
                format!("{file} is not for everybody to read"),
            ));
        }
        let text = fs::read_to_string(file).map_err(|error| failed(format!("{file}: {error}")))?;
        let text = match mos_service::is_yaml(file) {
            true => mos_service::to_toml(file, &text).map_err(|problem| failed(problem.to_string()))?,
            false => text,
        };
        let mut config = from_toml(file, &text).map_err(|problem| failed(problem.to_string()))?;
        for section in ["service", "target"] {
            if let Some(section) = config.get_mut(section).and_then(Value::as_object_mut) {
                section.entry("name").or_insert_with(|| Value::from(name));
            }
        }
        Ok(config)
    }

    /// The file in which a service is to be written down.
    fn place_for(&self, name: &str) -> Result<PathBuf, Refusal> {
        let Some(directory) = self.state() else {
            return Err(Refusal::new(
                NOT_PERSISTED,
                "no directory is for added services: see --state",
            ));
        };
        let file = |id| self.supervisor.unit(id).map(|unit| PathBuf::from(&unit.service().file));
        if let Some(file) = self.supervisor.find(name).and_then(file) {
            return match self.is_added(&file) && split_instance(name).is_none() {
                true => Ok(file),
                false => Err(self.not_ours(EXISTS, name)),
            };
        }
        let path = directory.join(format!("{name}.service.toml"));
        let taken = |unit: &crate::supervisor::Unit| Path::new(&unit.service().file) == path;
        match self.supervisor.units().find(|(_, unit)| taken(unit)) {
            Some((_, unit)) => {
                let (path, other) = (path.display(), &unit.service().name);
                Err(Refusal::new(EXISTS, format!("{path} defines `{other}`")))
            }
            None => Ok(path),
        }
    }

    fn is_added(&self, file: &Path) -> bool {
        self.state().is_some_and(|directory| file.parent() == Some(directory))
    }

    fn not_ours(&self, code: i64, name: &str) -> Refusal {
        let unit = self.supervisor.find(name).and_then(|id| self.supervisor.unit(id));
        let file = unit.map_or("", |unit| unit.service().file.as_str());
        Refusal::new(
            code,
            format!("{name} is defined by {file}: change that file and reload"),
        )
    }

    /// Applies the file of one service, and of instances of templates that it needs; all others stay as they are.
    pub(super) fn take_in(&mut self, name: &str) {
        let requested = self.supervisor.requested();
        let loaded = self.load_files(&requested).services;
        let known = |service: &Service| self.supervisor.find(&service.name).is_some();
        let concerned = loaded
            .into_iter()
            .filter(|service| service.name == name || (split_instance(&service.name).is_some() && !known(service)));
        let concerned = concerned.collect();
        let stamped = self.stamped(concerned);
        self.supervisor.define(stamped, clock::now());
    }
}

/// The service that a text describes, and what is odd about it.
fn understand(name: &str, text: &str) -> Result<(Service, Vec<Problem>), Refusal> {
    if name.ends_with('@') {
        let message = format!("{name} is a template: put its file among the service files and reload");
        return Err(Refusal::new(VALIDATION, message));
    }
    let parsed = mos_service::parse(&format!("{name}.service.toml"), text);
    match parsed.service {
        Some(service) => Ok((service, parsed.problems)),
        None => {
            let errors = parsed.problems.iter().filter(|one| one.severity == Severity::Error);
            let errors: Vec<String> = errors.map(ToString::to_string).collect();
            Err(Refusal::new(VALIDATION, errors.join("; ").replace('\n', "; ")))
        }
    }
}

/// Writes a file that is there as a whole or not at all. Not synced to a disk: a disk may take long, and we never wait.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let temporary = mos_sys::durable::temporary_beside(path)?;
    let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

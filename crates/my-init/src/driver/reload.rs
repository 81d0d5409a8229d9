//! Reading the service files again, applied as a difference.
//!
//! A file that is there but not whole, because somebody is just writing it or a disk is broken, removes nothing: what it
//! described goes on as it was, until the file is whole or gone. So does everything in a directory that has vanished from
//! a place where it was: somebody is about to put another one there. Directories that change with what they lie in (a
//! link to a generation that now names another) are what they are now.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use mos_service::{Loaded, Service};
use mos_toml::Problem;
use serde_json::{Value, json};

use super::Driver;
use crate::clock;

/// Device and inode of what a directory of service files lies in.
type Place = (u64, u64);

/// The directories of service files that were there, and what they lay in.
pub(super) type Places = Vec<(PathBuf, Place)>;

impl Driver {
    /// Reads the service files and applies what is different, or only says what that would be.
    pub(super) fn reload(&mut self, dry_run: bool) -> Value {
        let mut loaded = self.load_files(&self.supervisor.requested());
        let kept = self.keep(&mut loaded);
        let services = self.stamped(std::mem::take(&mut loaded.services));
        let difference = match dry_run {
            true => self.supervisor.compare(&services),
            false => {
                self.say_all(&loaded.problems);
                self.templates = std::mem::take(&mut loaded.templates);
                self.places = places(&self.setup.services);
                self.supervisor.reload(services, clock::now())
            }
        };
        self.watch_clock();
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        let why = difference.why.into_iter().map(|(name, why)| (name, Value::from(why)));
        json!({
            "added": difference.added,
            "changed": difference.changed,
            "removed": difference.removed,
            "restarted": difference.restarted,
            "why": Value::Object(why.collect()),
            "kept": kept,
            "problems": problems,
            "dry_run": dry_run,
        })
    }

    pub(super) fn say_all(&mut self, problems: &[Problem]) {
        for problem in problems {
            self.say(&problem.to_string().replace('\n', ";"));
        }
    }

    /// Adds what files describe that cannot be read now, as far as it is known; returns the names.
    fn keep(&self, loaded: &mut Loaded) -> Vec<String> {
        let vanished = self.vanished();
        for directory in &vanished {
            let message = format!(
                "{} is gone: its services stay as they are; make an empty one to remove them",
                directory.display()
            );
            loaded.problems.push(Problem::error(None, message));
            loaded.unusable.push(directory.display().to_string());
        }
        let defined: HashSet<String> = loaded.services.iter().map(|service| service.name.clone()).collect();
        let units = self.supervisor.units().filter(|(_, unit)| !unit.is_gone());
        let kept: Vec<Service> = units
            .map(|(_, unit)| unit.service())
            .filter(|service| loaded.may_hold(&service.file) && !defined.contains(&service.name))
            .cloned()
            .collect();
        let mut names: Vec<String> = kept.iter().map(|service| service.name.clone()).collect();
        names.sort();
        loaded.services.extend(kept);
        names
    }

    /// Directories that were there the last time and are not, though what they lay in is the same.
    fn vanished(&self) -> Vec<PathBuf> {
        let gone = self.places.iter().filter(|(directory, place)| {
            let missing = fs::metadata(directory).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
            missing && parent(directory) == Some(*place)
        });
        gone.map(|(directory, _)| directory.clone()).collect()
    }
}

/// Which of the directories are there, and what they lie in.
pub(super) fn places(directories: &[PathBuf]) -> Places {
    let present = directories.iter().filter(|directory| directory.is_dir());
    present
        .filter_map(|directory| Some((directory.clone(), parent(directory)?)))
        .collect()
}

fn parent(directory: &Path) -> Option<Place> {
    let parent = fs::metadata(directory.parent()?).ok()?;
    Some((parent.dev(), parent.ino()))
}

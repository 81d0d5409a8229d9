//! Control groups (v2): one below `services` for each service.
//!
//! Every controller makes a group dearer, and the kernel's work in it: of the time that a service takes to start, a tenth.
//! So all groups only have those that count memory and processes; others come with the first service that asks for them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::mounts::CGROUPS;

/// Below it, one group per service.
const SERVICES: &str = "services";
/// What every service's group has.
const ALWAYS: [&str; 2] = ["memory", "pids"];

/// Makes the group that those of services are made in; `None` without control groups (v2).
pub(super) fn prepare() -> Option<PathBuf> {
    let group = Path::new(CGROUPS).join(SERVICES);
    if !Path::new(CGROUPS).join("cgroup.procs").exists() {
        return None;
    }
    fs::create_dir_all(&group).ok()?;
    // What of these the kernel does not have is missed when a service asks for it.
    ALWAYS.iter().for_each(|controller| enable(&group, controller));
    Some(group)
}

/// Sets a file of a service's group, such as `cpu.weight`; all groups get its controller first when this one has not.
///
/// # Errors
/// When the kernel does not have the controller, or refuses the value.
pub fn set(leaf: &Path, file: &str, value: &str) -> io::Result<()> {
    let place = leaf.join(file);
    if !place.exists()
        && let (Some(services), Some((controller, _))) = (leaf.parent(), file.split_once('.'))
    {
        enable(services, controller);
    }
    // A file cannot be made there, so one that is not there is missed.
    fs::OpenOptions::new()
        .write(true)
        .open(&place)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))
}

/// From the top down, as the kernel wants it.
fn enable(services: &Path, controller: &str) {
    for group in services.parent().into_iter().chain([services]) {
        let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_is_missing_is_asked_for_from_the_top_down() {
        let root = tempfile::tempdir().unwrap();
        let leaf = root.path().join("services/web");
        fs::create_dir_all(&leaf).unwrap();
        fs::write(leaf.join("memory.max"), "").unwrap();
        let asked = |group: &str| fs::read_to_string(root.path().join(group).join("cgroup.subtree_control")).ok();
        set(&leaf, "memory.max", "4096").unwrap();
        assert_eq!(fs::read_to_string(leaf.join("memory.max")).unwrap(), "4096");
        assert_eq!(asked("services"), None);
        // This kernel has no such controller: the file does not appear.
        let missed = set(&leaf, "cpu.weight", "200").unwrap_err();
        assert_eq!(missed.kind(), io::ErrorKind::NotFound);
        assert_eq!(asked("").as_deref(), Some("+cpu"));
        assert_eq!(asked("services").as_deref(), Some("+cpu"));
    }
}

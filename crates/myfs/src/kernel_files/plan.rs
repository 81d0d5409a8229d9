//! What to mount where, from what the node says about itself. Pure.

use std::path::{Path, PathBuf};

/// Where the flists of the running release are.
pub(super) const FLISTS: &str = "run/mos/current/share/flists";
/// The value that leaves the files of the image as they are.
const NONE: &str = "none";

/// What a node says about itself.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Instead of `/`.
    pub(super) root: PathBuf,
    /// The running kernel's version.
    pub(super) kernel: String,
    /// Its command line.
    pub(super) command_line: String,
    /// `/etc/mos/node.toml`.
    pub(super) settings: String,
    /// The names of the files in [`FLISTS`].
    pub(super) flists: Vec<String>,
    /// `FLIST_STORE`: where the content is.
    pub(super) store: Option<String>,
    /// `MODULES_FLIST`: another flist, or `none`.
    pub(super) modules: Option<String>,
    /// `FIRMWARE_FLIST`: another flist, or `none`.
    pub(super) firmware: Option<String>,
}

/// An flist to be mounted over a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// `modules` or `firmware`.
    pub(super) what: &'static str,
    pub(super) flist: PathBuf,
    pub(super) place: PathBuf,
}

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Where the content is.
    pub(super) store: String,
    pub(super) parts: Vec<Part>,
    /// What is left as it is, and why.
    pub(super) notes: Vec<String>,
}

impl Plan {
    pub(super) fn new(facts: &Facts) -> Self {
        let mut plan = Self {
            store: facts.store.clone().or_else(|| channel(facts)).unwrap_or_default(),
            ..Self::default()
        };
        let modules = format!("modules-{}.fl", facts.kernel);
        let modules = facts.flists.contains(&modules).then_some(modules);
        let library = format!("lib/modules/{}", facts.kernel);
        plan.add(facts, "modules", facts.modules.as_deref(), modules, &library);
        let firmware = facts
            .flists
            .iter()
            .filter(|name| name.starts_with("firmware-") && name.ends_with(".fl"));
        let newest = firmware.max().cloned();
        plan.add(facts, "firmware", facts.firmware.as_deref(), newest, "lib/firmware");
        plan
    }

    fn add(&mut self, facts: &Facts, what: &'static str, asked: Option<&str>, released: Option<String>, place: &str) {
        let flist = match (asked, released) {
            (Some(NONE), _) => return self.note(what, "as asked"),
            (Some(path), _) => facts.root.join(path.trim_start_matches('/')),
            (None, Some(name)) => facts.root.join(FLISTS).join(name),
            (None, None) => {
                let tag = if what == "modules" {
                    facts.kernel.as_str()
                } else {
                    "TAG"
                };
                let why = format!("because the release has no {what}-{tag}.fl in share/flists");
                return self.note(what, &why);
            }
        };
        if self.store.is_empty() {
            return self.note(
                what,
                "because neither FLIST_STORE nor a channel says where the content is",
            );
        }
        self.parts.push(Part {
            what,
            flist,
            place: facts.root.join(place),
        });
    }

    fn note(&mut self, what: &str, why: &str) {
        self.notes.push(format!("{what}: those of the image, {why}"));
    }
}

/// The channel: that of the kernel's command line, or of the image's settings. Those are written by `mos`, one key a
/// line, so nothing more than that is read here.
fn channel(facts: &Facts) -> Option<String> {
    let words = facts.command_line.split_ascii_whitespace();
    let other = words.filter_map(|word| word.strip_prefix("mos.channel=")).next_back();
    let own = || {
        let value = |line: &'_ str| {
            let value = line.strip_prefix("channel")?.trim_start().strip_prefix('=')?;
            Some(value.trim().strip_prefix('"')?.strip_suffix('"')?.to_owned())
        };
        facts.settings.lines().find_map(value)
    };
    other.map(str::to_owned).or_else(own)
}

/// The mount point and the source of each line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
fn mounts(table: &str) -> impl Iterator<Item = (&str, &str)> {
    table.lines().filter_map(|line| {
        let (ahead, behind) = line.split_once(" - ")?;
        Some((ahead.split(' ').nth(4)?, behind.split(' ').nth(1)?))
    })
}

/// The source of what is mounted at a place, the uppermost if several are. The places of a node have no letters in their
/// names that the table writes in another way.
pub(super) fn mounted_at<'t>(table: &'t str, place: &Path) -> Option<&'t str> {
    let here = mounts(table).filter(|(point, _)| Path::new(point) == place);
    here.map(|(_, source)| source).last()
}

/// Whether a source in the mount table is this flist.
pub(super) fn is_source(source: &str, flist: &Path) -> bool {
    let name = source.strip_prefix("mos:");
    name.is_some_and(|name| Path::new(name.split('#').next().unwrap_or(name)) == flist)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            root: "/".into(),
            kernel: "6.12.1-x".into(),
            settings: "environment = \"dev\"\nchannel = \"http://c/dev\"\nchannels = \"no\"\n".into(),
            flists: [
                "firmware-2.fl",
                "modules-6.12.1-x.fl",
                "firmware-10.txt",
                "firmware-1.fl",
            ]
            .map(str::to_owned)
            .into(),
            ..Facts::default()
        }
    }

    fn summary(facts: &Facts) -> Vec<String> {
        let plan = Plan::new(facts);
        let part = |part: &Part| format!("{} {} {}", part.what, part.flist.display(), part.place.display());
        let parts = plan.parts.iter().map(part);
        [plan.store.clone()]
            .into_iter()
            .chain(parts)
            .chain(plan.notes)
            .collect()
    }

    #[test]
    fn the_release_decides_unless_the_service_file_does() {
        assert_eq!(
            summary(&facts()),
            [
                "http://c/dev",
                "modules /run/mos/current/share/flists/modules-6.12.1-x.fl /lib/modules/6.12.1-x",
                "firmware /run/mos/current/share/flists/firmware-2.fl /lib/firmware",
            ]
        );
        let asked = Facts {
            store: Some("http://s".into()),
            modules: Some("none".into()),
            firmware: Some("/etc/firmware-lab.fl".into()),
            ..facts()
        };
        assert_eq!(
            summary(&asked),
            [
                "http://s",
                "firmware /etc/firmware-lab.fl /lib/firmware",
                "modules: those of the image, as asked",
            ]
        );
    }

    #[test]
    fn flists_of_another_kernel_are_left_alone_and_that_is_said() {
        let other = Facts {
            kernel: "6.13.0".into(),
            flists: vec!["modules-6.12.1-x.fl".into()],
            ..facts()
        };
        assert_eq!(
            Plan::new(&other).notes,
            [
                "modules: those of the image, because the release has no modules-6.13.0.fl in share/flists",
                "firmware: those of the image, because the release has no firmware-TAG.fl in share/flists",
            ]
        );
    }

    #[test]
    fn another_mirror_of_the_channel_is_heeded_and_no_address_at_all_is_said() {
        let mirror = Facts {
            command_line: "quiet mos.channel=http://a mos.channel=http://b\n".into(),
            ..facts()
        };
        assert_eq!(Plan::new(&mirror).store, "http://b");
        let nowhere = Facts {
            settings: String::new(),
            ..facts()
        };
        let plan = Plan::new(&nowhere);
        assert!(plan.parts.is_empty() && plan.notes.len() == 2, "{plan:?}");
        assert!(plan.notes[0].contains("FLIST_STORE"), "{plan:?}");
    }

    #[test]
    fn the_uppermost_mount_counts() {
        let table = "1 0 0:1 / / rw - rootfs none rw\n\
                     2 1 0:2 / /lib/firmware rw - fuse mos:/a/firmware-1.fl rw\n\
                     3 2 0:3 / /lib/firmware ro shared:1 - overlay mos:/a/firmware-2.fl#0123 ro\n\
                     4 1 0:4 / /lib/firmware/x rw - tmpfs x rw\n";
        let found = mounted_at(table, Path::new("/lib/firmware")).unwrap();
        assert!(is_source(found, Path::new("/a/firmware-2.fl")));
        assert!(!is_source(found, Path::new("/a/firmware-1.fl")));
        assert!(!is_source("tmpfs", Path::new("tmpfs")));
        assert_eq!(mounted_at(table, Path::new("/lib")), None);
    }
}

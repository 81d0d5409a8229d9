//! What a service file asks for, as numbers and paths for the kernel.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use mos_service::{Account, Service, UNLIMITED};
use mos_sys::spawn::{Conditions, Identity, Mounts};

use crate::services::c_string;

/// `RLIMIT_NOFILE` (asm-generic/resource.h).
const OPEN_FILES: u32 = 7;
/// What a service may change although everything else is read-only to it.
const WRITABLE: [&str; 6] = ["/dev", "/proc", "/run", "/sys", "/tmp", "/var"];

/// The conditions of a service; owns what [`Conditions`] borrows.
#[derive(Debug)]
pub(super) struct Prepared {
    identity: Option<(u32, u32, Vec<u32>)>,
    limits: Vec<(u32, u64, u64)>,
    oom_score_adjust: Option<CString>,
    mounts: Option<(Vec<CString>, Vec<CString>)>,
    capabilities: Option<u64>,
}

impl Prepared {
    /// Looks up everything; `open_files` is the limit, soft and hard, of services that say nothing.
    ///
    /// # Errors
    /// A sentence when there is no such user or group.
    pub(super) fn of(service: &Service, open_files: Option<(u64, u64)>) -> Result<Self, String> {
        let asked = service
            .limits
            .0
            .iter()
            .map(|(resource, value)| (*resource, *value, *value));
        let standard = open_files.map(|(soft, hard)| (OPEN_FILES, soft, hard));
        let unless_asked = standard.filter(|_| !service.limits.0.iter().any(|(resource, _)| *resource == OPEN_FILES));
        let bits = |list: &Vec<mos_service::Capability>| list.iter().fold(0, |bits, one| bits | 1 << one.0);
        Ok(Self {
            identity: identity(service)?,
            limits: unless_asked.into_iter().chain(asked).collect(),
            oom_score_adjust: service.oom_score_adjust.map(|score| c_string(&score.to_string())),
            mounts: service.security.has_own_mounts().then(|| mounts(service)),
            capabilities: service.security.capabilities.as_ref().map(bits),
        })
    }

    pub(super) fn conditions<'p>(&'p self, service: &Service) -> Conditions<'p> {
        let identity = self.identity.as_ref().map(|(user, group, groups)| Identity {
            user: *user,
            group: *group,
            groups,
        });
        let mounts = self.mounts.as_ref().map(|(writable, read_only)| Mounts {
            private_tmp: service.security.private_tmp,
            writable,
            read_only,
        });
        Conditions {
            identity,
            umask: service.umask,
            nice: service.nice,
            oom_score_adjust: self.oom_score_adjust.as_deref(),
            limits: &self.limits,
            mounts,
            capabilities: self.capabilities,
            no_new_privileges: service.security.no_new_privileges,
        }
    }

    /// User and group, if they are not ours.
    pub(super) fn owner(&self) -> Option<(u32, u32)> {
        self.identity.as_ref().map(|(user, group, _)| (*user, *group))
    }
}

// The value that both call "no limit" is the same.
const _: () = assert!(UNLIMITED == u64::MAX);

fn identity(service: &Service) -> Result<Option<(u32, u32, Vec<u32>)>, String> {
    if service.user.is_none() && service.group.is_none() && service.groups.is_empty() {
        return Ok(None);
    }
    let (user, own_group) = match &service.user {
        None => (
            rustix::process::getuid().as_raw(),
            Some(rustix::process::getgid().as_raw()),
        ),
        Some(user) => look_up(user, "user", "/etc/passwd")?,
    };
    let group = match &service.group {
        Some(group) => look_up(group, "group", "/etc/group")?.0,
        None => own_group.unwrap_or(user),
    };
    let groups: Result<Vec<u32>, String> = service
        .groups
        .iter()
        .map(|group| Ok(look_up(group, "group", "/etc/group")?.0))
        .collect();
    Ok(Some((user, group, groups?)))
}

/// The numbers of a user and a group, as far as they are given; a user's group is its own.
pub(super) fn look_up_owner(
    user: Option<&Account>,
    group: Option<&Account>,
) -> Result<(Option<u32>, Option<u32>), String> {
    let user = user.map(|user| look_up(user, "user", "/etc/passwd")).transpose()?;
    let group = group.map(|group| look_up(group, "group", "/etc/group")).transpose()?;
    let own = user.and_then(|(_, group)| group);
    Ok((user.map(|(number, _)| number), group.map(|(number, _)| number).or(own)))
}

/// A number need not be in the database; a name has to.
fn look_up(account: &Account, kind: &str, database: &str) -> Result<(u32, Option<u32>), String> {
    let found = account.find(&crate::lossy::read(database).unwrap_or_default());
    match (found, account) {
        (Some(found), _) => Ok(found),
        (None, Account::Id(number)) => Ok((*number, None)),
        (None, Account::Name(name)) => Err(format!("there is no {kind} `{name}` in {database}")),
    }
}

/// What is to stay as it is, and what becomes read-only.
fn mounts(service: &Service) -> (Vec<CString>, Vec<CString>) {
    if !service.security.read_only_root {
        return (Vec::new(), Vec::new());
    }
    let text = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let (writable, read_only) = split(&text, |path| Path::new(path).is_dir());
    // None of them can hold a zero byte: the kernel made them of names.
    let path = |path: PathBuf| CString::new(path.into_os_string().into_vec()).ok();
    let paths = |list: Vec<PathBuf>| list.into_iter().filter_map(path).collect();
    (paths(writable), paths(read_only))
}

/// From the text of `/proc/self/mountinfo` (proc(5)): directories to be mounted on themselves, and mounts to be made
/// read-only. Each path once.
fn split(mountinfo: &[u8], is_directory: impl Fn(&str) -> bool) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    let places = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    let mut places: Vec<PathBuf> = places.map(crate::halt::unescape).collect();
    places.sort();
    places.dedup();
    let stays = |path: &PathBuf| WRITABLE.iter().any(|one| path.starts_with(one));
    let unmounted = |path: &&str| !places.iter().any(|place| place == Path::new(path)) && is_directory(path);
    let writable = WRITABLE.into_iter().filter(unmounted).map(PathBuf::from).collect();
    (writable, places.iter().filter(|path| !stays(path)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_mount_is_bound_and_everything_else_becomes_read_only() {
        let text = b"21 1 0:2 / / rw - rootfs rootfs rw\n22 21 0:5 / /proc rw - proc proc rw\n\
                    23 21 0:6 / /srv/a\\040b rw - ext4 x rw\n24 21 0:7 / /var/cache rw - ext4 y rw\n\
                    25 21 0:8 / /devices rw - ext4 z rw\n26 21 0:9 / / rw - tmpfs x rw\n\
                    27 21 0:10 / /srv/\xff rw - fuse x rw\n";
        let (writable, read_only) = split(text, |path| path != "/sys");
        assert_eq!(writable, ["/dev", "/run", "/tmp", "/var"].map(PathBuf::from));
        // Whoever may mount something chooses its name, which is not to keep the others from becoming read-only.
        let odd = PathBuf::from(std::ffi::OsString::from_vec(b"/srv/\xff".to_vec()));
        let plain = ["/", "/devices", "/srv/a b"].map(PathBuf::from);
        assert_eq!(read_only, [&plain[..], &[odd]].concat());
    }

    #[test]
    fn a_user_that_is_not_there_is_named() {
        let service = |text: &str| mos_service::parse("a.toml", text).service.expect("a service");
        let nobody = service("[service]\nexec = \"x\"\nuser = \"no-such-user\"\n");
        assert_eq!(
            identity(&nobody),
            Err("there is no user `no-such-user` in /etc/passwd".to_owned())
        );
        let number = service("[service]\nexec = \"x\"\nuser = 54321\ngroups = [7]\n");
        assert_eq!(identity(&number), Ok(Some((54321, 54321, vec![7]))));
        assert_eq!(identity(&service("[service]\nexec = \"x\"\n")), Ok(None));
    }
}

//! What the kernel's random numbers begin with: a seed that the last boot left on a disk.
//!
//! A seed counts as entropy only when nobody but root could have read or made it, and only once: it is replaced, durably,
//! by a new one before it is used. Where there is no place on a disk nothing is done.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Where it is, on a node's state file system.
pub const PLACE: &str = "/var/cache/mos/seed";
/// Says that it was used since the machine started.
const DONE: &str = "/run/my_init.seeded";
/// Its length in bytes: the kernel's pool holds 256 bits.
const LENGTH: usize = 32;
/// `TMPFS_MAGIC` and `RAMFS_MAGIC` (linux/magic.h): what forgets a seed anyway.
const FORGETFUL: [i64; 2] = [0x0102_1994, 0x8584_58F6];

/// What became of a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seed {
    /// It was used, and there is a new one.
    Used,
    /// There was none; now there is.
    Made,
    /// There is no place for one.
    NoPlace,
}

/// Uses the seed and leaves a new one.
///
/// # Errors
/// Whatever the system says; the old seed was then not used.
pub fn use_and_renew(place: &Path) -> io::Result<Seed> {
    if !is_kept(place) {
        return Ok(Seed::NoPlace);
    }
    let old = read(place)?;
    renew(place)?;
    match old {
        Some(old) => mos_sys::entropy::credit(&old).map(|()| Seed::Used),
        None => Ok(Seed::Made),
    }
}

/// Leaves a new seed, for the next boot.
///
/// # Errors
/// Whatever the system says; then the old one is still there.
pub fn renew(place: &Path) -> io::Result<()> {
    if !is_kept(place) {
        return Ok(());
    }
    let mut seed = [0; LENGTH];
    // Early in the first boot this may be little more than the time; adding that to the next one does no harm.
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::INSECURE)?;
    mos_sys::durable::write(place, &seed, 0o600)
}

/// True when the directory is there, and on something that outlives the machine's memory.
fn is_kept(place: &Path) -> bool {
    place
        .parent()
        .is_some_and(|above| above.is_dir() && !is_forgetful(above))
}

/// True for what lives in the machine's memory.
pub fn is_forgetful(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|system| FORGETFUL.contains(&system.f_type))
}

/// Uses the seed, once since the machine started. Returns what went wrong.
pub fn use_once() -> Option<String> {
    if is_done() {
        return None;
    }
    match use_and_renew(Path::new(PLACE)) {
        Ok(Seed::NoPlace) => None,
        Ok(Seed::Used | Seed::Made) => File::create(DONE).err().map(|error| format!("{DONE}: {error}")),
        Err(error) => Some(format!("{PLACE}: {error}")),
    }
}

/// True when there is nothing more to be done with the seed until the machine goes down.
pub fn is_done() -> bool {
    Path::new(DONE).exists()
}

/// `None` when there is none, or when it could be known to others.
fn read(place: &Path) -> io::Result<Option<[u8; LENGTH]>> {
    let mut file = match File::open(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let kind = file.metadata()?;
    let secret =
        kind.is_file() && kind.uid() == rustix::process::geteuid().as_raw() && kind.permissions().mode() & 0o077 == 0;
    let mut seed = [0; LENGTH];
    Ok((secret && file.read_exact(&mut seed).is_ok()).then_some(seed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_seed_is_renewed_and_one_that_others_can_read_is_not_used() {
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let place = directory.path().join("state/seed");
        assert_eq!(use_and_renew(&place).unwrap(), Seed::NoPlace);
        fs::create_dir(directory.path().join("state")).unwrap();
        if !is_kept(&place) {
            println!("SKIPPED: this is no disk");
            return;
        }
        assert_eq!(use_and_renew(&place).unwrap(), Seed::Made);
        let first = fs::read(&place).unwrap();
        assert_eq!((first.len(), read(&place).unwrap().is_some()), (LENGTH, true));
        renew(&place).unwrap();
        assert_ne!(fs::read(&place).unwrap(), first);
        fs::set_permissions(&place, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(read(&place).unwrap(), None);
        fs::write(&place, "short").unwrap();
        assert_eq!(use_and_renew(&place).unwrap(), Seed::Made);
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn memory_is_no_place() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        assert_eq!(use_and_renew(&directory.path().join("seed")).unwrap(), Seed::NoPlace);
        renew(&directory.path().join("seed")).unwrap();
        assert!(!directory.path().join("seed").exists());
    }
}

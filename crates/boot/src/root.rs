//! What every root file system starts from: directories, device nodes, accounts, BusyBox's commands.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::time::Duration;

use mos_tree::{Content, Inode, Kind, Metadata, Tree, TreeError};

/// Directories and their modes.
const DIRECTORIES: [(&str, u32); 23] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("dev/pts", 0o755),
    ("dev/shm", 0o1777),
    ("etc", 0o755),
    ("lib", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sbin", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/lib", 0o755),
    ("usr/sbin", 0o755),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/cache/mos", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

/// Character devices that something may open before devtmpfs is mounted: mode, major, minor (the kernel's
/// `Documentation/admin-guide/devices.txt`). Without `/dev/console` PID 1 has no output.
const DEVICES: [(&str, u32, u32, u32); 9] = [
    ("dev/console", 0o600, 5, 1),
    ("dev/full", 0o666, 1, 7),
    ("dev/kmsg", 0o600, 1, 11),
    ("dev/null", 0o666, 1, 3),
    ("dev/random", 0o666, 1, 8),
    ("dev/tty", 0o666, 5, 0),
    ("dev/ttyS0", 0o600, 4, 64),
    ("dev/urandom", 0o666, 1, 9),
    ("dev/zero", 0o666, 1, 5),
];

/// Root and nobody, both locked: somebody gets in by what the image adds.
const FILES: [(&str, u32, &str); 5] = [
    (
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("etc/group", 0o644, "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("etc/shadow", 0o600, "root:!:::::::\nnobody:!:::::::\n"),
    ("etc/hosts", 0o644, "127.0.0.1 localhost\n::1 localhost\n"),
    ("etc/shells", 0o644, "/bin/sh\n"),
];

/// Places that have moved, and links to the kernel's own.
const LINKS: [(&str, &str); 5] = [
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
    ("etc/mtab", "/proc/self/mounts"),
];

/// Where Debian's packages have BusyBox, before and after the merge of `/bin` into `/usr/bin`.
const BUSYBOX: [&str; 2] = ["bin/busybox", "usr/bin/busybox"];

/// Why a root could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// A path of the skeleton is something else in the tree.
    #[error("root skeleton: {0}")]
    Tree(#[from] TreeError),
    /// There is no BusyBox to link to.
    #[error("the image has no bin/busybox; add busybox-static to image/packages.list")]
    NoBusybox,
    /// BusyBox did not tell its commands.
    #[error(
        "cannot ask busybox for its commands: {0}; it must be a static program that runs on this host (busybox-static)"
    )]
    Busybox(#[source] io::Error),
}

/// The skeleton: directories, device nodes, accounts.
///
/// # Errors
/// Never in practice: the paths are constants.
pub fn base_tree() -> Result<Tree, RootError> {
    let mut tree = Tree::default();
    for (path, mode) in DIRECTORIES {
        tree.insert_directory(path, mode)?;
    }
    for (path, mode, major, minor) in DEVICES {
        let metadata = Metadata::root(mode);
        let kind = Kind::CharacterDevice { major, minor };
        tree.insert(path, Inode { metadata, kind })?;
    }
    for (path, mode, content) in FILES {
        tree.insert_file(path, mode, content)?;
    }
    for (path, target) in LINKS {
        tree.insert_symlink(path, target)?;
    }
    Ok(tree)
}

/// Adds a link to BusyBox for each of its commands that the tree does not have from elsewhere. Returns how many.
///
/// The program itself is asked for its commands, so it is run once, on this host, from a temporary file.
///
/// # Errors
/// See [`RootError`].
pub fn link_busybox(tree: &mut Tree) -> Result<usize, RootError> {
    let (path, content) = find_busybox(tree).ok_or(RootError::NoBusybox)?;
    let commands = commands(&content).map_err(RootError::Busybox)?;
    let mut links = 0;
    // `linuxrc` alone has no directory: it is for initial RAM disks of the old kind.
    for command in commands.lines().filter(|line| line.contains('/')) {
        if !has_command(tree, command) {
            tree.insert_symlink(command, format!("/{path}"))?;
            links += 1;
        }
    }
    Ok(links)
}

fn find_busybox(tree: &Tree) -> Option<(&'static str, Content)> {
    BUSYBOX.into_iter().find_map(|path| match &tree.get(path)?.kind {
        Kind::File(content) => Some((path, content.clone())),
        _ => None,
    })
}

/// True when the command, by its file name, is in any of the directories of programs: the image's own wins over
/// BusyBox's wherever it stands.
fn has_command(tree: &Tree, command: &str) -> bool {
    let name = command.rsplit('/').next().unwrap_or(command);
    let places = ["bin", "sbin", "usr/bin", "usr/sbin"];
    tree.get(command).is_some() || places.iter().any(|place| tree.get(format!("{place}/{name}")).is_some())
}

/// The commands with the directories where they belong: `bin/sh`, one a line.
fn commands(busybox: &Content) -> io::Result<String> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("busybox");
    let mut file = fs::File::create(&path)?;
    file.write_all(&busybox.read()?)?;
    file.set_permissions(fs::Permissions::from_mode(0o700))?;
    drop(file);
    let output = run(Command::new(&path).arg("--list-full"))?;
    if !output.status.success() || output.stdout.is_empty() {
        return Err(io::Error::other(format!(
            "`busybox --list-full` ended with {}",
            output.status
        )));
    }
    String::from_utf8(output.stdout).map_err(io::Error::other)
}

/// Runs a program that was just written. Another thread that starts a program at this moment holds our file open
/// for writing until its exec, which makes ours "busy" for an instant.
fn run(command: &mut Command) -> io::Result<Output> {
    for _ in 0..20 {
        match command.output() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
    command.output()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_and_sticky_directories_are_there_and_root_is_locked() {
        let tree = base_tree().unwrap();
        let console = tree.get("dev/console").unwrap();
        assert_eq!(console.kind, Kind::CharacterDevice { major: 5, minor: 1 });
        assert_eq!(tree.get("tmp").unwrap().metadata.mode, 0o1777);
        assert_eq!(tree.get("root").unwrap().metadata.mode, 0o700);
        let Kind::File(shadow) = &tree.get("etc/shadow").unwrap().kind else {
            panic!("no file")
        };
        assert!(shadow.read().unwrap().starts_with(b"root:!:"));
    }

    #[test]
    fn commands_are_linked_where_nothing_stands() {
        let mut tree = base_tree().unwrap();
        assert!(matches!(link_busybox(&mut tree), Err(RootError::NoBusybox)));
        let script = "#!/bin/sh\n[ \"$1\" = --list-full ] && printf 'linuxrc\\nbin/sh\\nusr/sbin/chroot\\nbin/ip\\n'\n";
        tree.insert_file("bin/busybox", 0o755, script).unwrap();
        tree.insert_file("sbin/ip", 0o755, "real").unwrap();
        assert_eq!(link_busybox(&mut tree).unwrap(), 2);
        assert_eq!(
            tree.get("bin/sh").unwrap().kind,
            Kind::Symlink(b"/bin/busybox".to_vec())
        );
        assert!(tree.get("bin/ip").is_none());
        tree.insert_file("bin/busybox", 0o755, "#!/bin/false\n").unwrap();
        assert!(matches!(link_busybox(&mut tree), Err(RootError::Busybox(_))));
    }
}

//! A small machine made of namespaces: the real program as PID 1 of its own process ids, mounts, network and host name,
//! in a root file system of its own.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::send;

/// Makes the root file system and becomes PID 1 in it. `$1` is the folder of the test, `$2` the program, the rest
/// its words.
const SCRIPT: &str = r#"
set -e
mount --make-rprivate /
directory=$1; program=$2; shift 2
root=$directory/root
mount -t tmpfs tmpfs $root
cd $root
mkdir -p usr proc sys dev/pts dev/shm run tmp etc/my_init test var
mount --bind /usr usr
for link in bin sbin lib lib64; do [ -e /usr/$link ] && ln -s usr/$link $link; done
[ -d usr/lib/modules ] && mount -t tmpfs tmpfs usr/lib/modules
mount -t tmpfs tmpfs dev
mkdir dev/pts dev/shm
mknod -m 666 dev/null c 1 3; mknod -m 666 dev/zero c 1 5; mknod -m 666 dev/urandom c 1 9
touch dev/console; mount --bind $directory/console dev/console
mount --bind $directory/test test
cp -a $directory/etc/. etc
cp $program my_init
mount -t sysfs sysfs sys && mount -t tmpfs tmpfs sys/fs/cgroup
[ -e $directory/test/cmdline ] && mount -t proc proc proc && mount --bind $directory/test/cmdline proc/cmdline
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /my_init --machine "$@"
"#;

/// The machine.
pub struct Namespace {
    pub directory: tempfile::TempDir,
    child: Child,
}

impl Namespace {
    /// Starts it with these files, whose paths begin with `etc/` or `test/`; `test/cmdline` is its kernel
    /// command line. `None`, after saying so, where there are no namespaces to be had.
    pub fn start(files: &[(&str, &str)]) -> Option<Self> {
        Self::start_with_words(files, &[])
    }

    /// Starts it with words that the kernel hands to PID 1.
    pub fn start_with_words(files: &[(&str, &str)], words: &[&str]) -> Option<Self> {
        let options = ["--pid", "--mount", "--net", "--uts", "--ipc", "--fork", "--kill-child"];
        let possible = Command::new("unshare")
            .args(options)
            .args(["mount", "--make-rprivate", "/"])
            .output();
        if !possible.is_ok_and(|output| output.status.success()) {
            println!("SKIPPED: no namespaces here (root and unshare are needed)");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        for folder in ["root", "test", "etc/my_init/services"] {
            fs::create_dir_all(directory.path().join(folder)).unwrap();
        }
        fs::write(directory.path().join("console"), "").unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let child = Command::new("unshare")
            .args(options)
            .args(["sh", "-c", SCRIPT, "sh"])
            .arg(directory.path())
            .arg(env!("CARGO_BIN_EXE_my_init"))
            .args(words)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { directory, child })
    }

    pub fn console(&self) -> String {
        fs::read_to_string(self.directory.path().join("console")).unwrap_or_default()
    }

    /// The folder that is `/test` in there.
    pub fn shared(&self, name: &str) -> PathBuf {
        self.directory.path().join("test").join(name)
    }

    pub fn wait(&self, what: &str, done: impl Fn() -> bool) {
        super::wait(what, done, || self.console());
    }

    pub fn wait_for_line(&self, part: &str) {
        self.wait(part, || self.console().contains(part));
    }

    /// PID 1, as the host numbers it.
    pub fn keeper(&self) -> u32 {
        children(self.child.id())[0]
    }

    /// The child of PID 1 that executes the same program.
    pub fn supervisor(&self) -> u32 {
        let keeper = self.keeper();
        let program = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
        let same = |pid: &u32| program(*pid) == program(keeper);
        children(keeper).into_iter().find(same).unwrap()
    }

    /// A path of the machine, from outside.
    pub fn inside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.keeper()))
    }

    pub fn is_there(&self) -> bool {
        !children(self.child.id()).is_empty()
    }

    /// Sends a signal to PID 1, by number, if it is there.
    pub fn signal(&self, number: i32) {
        if let Some(keeper) = children(self.child.id()).first() {
            let keeper = rustix::process::Pid::from_raw(i32::try_from(*keeper).unwrap()).unwrap();
            let _ = mos_sys::signals::send(keeper, number);
        }
    }

    /// The signal by which the kernel tells the parent of a PID namespace what reboot(2) was asked for: SIGHUP (1) for a
    /// restart, SIGINT (2) for the rest.
    pub fn end(&mut self) -> Option<i32> {
        let console = self.directory.path().join("console");
        super::end(&mut self.child, &console).signal()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The end of PID 1 is that of everything in there.
        if let (Ok(None), Some(keeper)) = (self.child.try_wait(), children(self.child.id()).first()) {
            send(*keeper, rustix::process::Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(Path::new("/proc").join(format!("{pid}/task/{pid}/children"))).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

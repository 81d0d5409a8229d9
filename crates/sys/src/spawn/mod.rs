//! Starting a process the way a supervisor needs it: in a session, a control group and a working directory of its own,
//! with clean signals, and with the reason when it does not start.
//!
//! The child shares our memory until it executes its program (see `clone`), and only makes system calls on data prepared
//! before: safe also when other threads exist.

use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use crate::shared_pid::SharedPid;

mod child;
mod clone;
mod own_id;
mod pad;

use own_id::OwnId;
pub use pad::Pad;

/// What to start, and how.
#[derive(Debug, Clone, Copy)]
pub struct Spawn<'a> {
    /// The file to execute.
    pub program: &'a CStr,
    /// Its arguments, the zeroth included.
    pub arguments: &'a [CString],
    /// Its whole environment, as `NAME=value`.
    pub environment: &'a [CString],
    /// Adds `LISTEN_PID`, its own process id, to the environment (sd_listen_fds(3)).
    pub tells_pid: bool,
    /// Its working directory.
    pub directory: &'a CStr,
    /// Its standard input.
    pub input: BorrowedFd<'a>,
    /// Its standard output and error.
    pub output: BorrowedFd<'a>,
    /// Low numbers, for who has many files open.
    pub pad: Option<&'a Pad>,
    /// What else it has open, and under which numbers (from 3).
    pub descriptors: &'a [(BorrowedFd<'a>, RawFd)],
    /// What it is and may do.
    pub conditions: Conditions<'a>,
    /// The directory of the control group (v2) to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Makes the standard input the controlling terminal.
    pub terminal: bool,
    /// Makes it a child of our parent, which then is told of its end (`CLONE_PARENT`, clone(2)), and has our files open if we
    /// are no more: whoever comes after us is to wait there until the child has its own, see [`SharedPid::settle`].
    /// A start has begun there ([`SharedPid::begin`]).
    pub sibling: Option<&'a SharedPid>,
    /// Has the kernel kill it when its parent ends (`PR_SET_PDEATHSIG`, prctl(2)).
    pub dies_with_parent: bool,
}

/// What a process is and may do. What is absent is inherited.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conditions<'a> {
    /// Whom to become.
    pub identity: Option<Identity<'a>>,
    /// Its file mode creation mask (umask(2)).
    pub umask: Option<u32>,
    /// Its nice value (nice(2)).
    pub nice: Option<i32>,
    /// What to write into `/proc/self/oom_score_adj` (proc(5)).
    pub oom_score_adjust: Option<&'a CStr>,
    /// Limits (setrlimit(2)): resource, soft, hard.
    pub limits: &'a [(u32, u64, u64)],
    /// A mount namespace of its own.
    pub mounts: Option<Mounts<'a>>,
    /// The capabilities that it has, as bits, and no others (capabilities(7)).
    pub capabilities: Option<u64>,
    /// Nothing that it executes gains privileges (`PR_SET_NO_NEW_PRIVS`, prctl(2)).
    pub no_new_privileges: bool,
}

/// User, group, supplementary groups.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
    /// Supplementary groups, and no others.
    pub groups: &'a [u32],
}

/// What a mount namespace of its own has that the system's has not.
#[derive(Debug, Clone, Copy)]
pub struct Mounts<'a> {
    /// A `/tmp` of its own.
    pub private_tmp: bool,
    /// Directories that stay as they are below mounts that become read-only.
    pub writable: &'a [CString],
    /// Mounts that become read-only.
    pub read_only: &'a [CString],
}

/// Why a process did not start.
#[derive(Debug)]
pub struct SpawnError {
    /// What was being done.
    pub step: &'static str,
    /// What the system said.
    pub source: io::Error,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.source)
    }
}

impl std::error::Error for SpawnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Starts a process and returns its id once it executes its program.
///
/// # Errors
/// The step that failed and why; nothing is left running or to be reaped then.
pub fn spawn(what: &Spawn<'_>) -> Result<u32, SpawnError> {
    let before = |step| move |source| SpawnError { step, source };
    let held = what.pad.map(|pad| pad.hold(what.output)).transpose();
    let held = held.map_err(before("descriptors"))?;
    let output = held.as_ref().map_or(what.output, |held| held.file());
    let what = &Spawn { output, ..*what };
    let handed = out_of_the_way(what.descriptors).map_err(before("descriptors"))?;
    let arguments = pointers(what.arguments);
    let own_id = OwnId::new();
    let mut environment = pointers(what.environment);
    if what.tells_pid {
        environment.insert(0, own_id.variable());
    }
    let mut task = Task {
        what,
        handed: &handed,
        arguments: &arguments,
        environment: &environment,
        own_id: &own_id,
        failure: None,
    };
    let conditions = &what.conditions;
    let _dumpable = (conditions.identity.is_some() || conditions.capabilities.is_some()).then(Dumpable::now);
    // SAFETY: the child only makes system calls on what the task has, and then executes or ends.
    let pid = unsafe { clone::clone(what, child::run, (&raw mut task).cast()) };
    // It may have been killed before it could say so.
    what.sibling.inspect(|place| place.settled());
    let pid = pid.map_err(before("fork"))?;
    match task.failure {
        None => Ok(pid.unsigned_abs()),
        Some((step, errno)) => {
            // SAFETY: waits for our own child, which has ended or is about to; a null status is not written to. It fails
            // at once for a sibling, for which our parent waits.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
            Err(SpawnError {
                step: child::STEPS.get(step).copied().unwrap_or("start"),
                source: io::Error::from_raw_os_error(errno),
            })
        }
    }
}

/// What the child needs, made before there is one, and what it says.
struct Task<'a> {
    what: &'a Spawn<'a>,
    handed: &'a [(OwnedFd, RawFd)],
    /// Pointers to strings, the last one null.
    arguments: &'a [*const c_char],
    environment: &'a [*const c_char],
    /// Among the variables, if the process is to know its own id.
    own_id: &'a OwnId,
    /// The step that failed, as an index into [`child::STEPS`], and `errno`.
    failure: Option<(usize, i32)>,
}

/// Executes a program in place of this one, with the same environment. Returns only when that fails; unlike the standard
/// library's way it never has a shell read a file that the kernel does not take for a program (execvp(3) does).
pub fn replace(program: &CStr, arguments: &[CString]) -> io::Error {
    let arguments = pointers(arguments);
    // SAFETY: the program ends in NUL, and the pointers to strings that do, in null; all outlive the call.
    unsafe { libc::execv(program.as_ptr(), arguments.as_ptr()) };
    io::Error::last_os_error()
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    let each = strings.iter().map(|string| string.as_ptr());
    each.chain([std::ptr::null()]).collect()
}

/// Copies what is to be handed over to numbers above all that it is to have, so that nothing is overwritten before it is
/// used.
fn out_of_the_way(descriptors: &[(BorrowedFd<'_>, RawFd)]) -> io::Result<Vec<(OwnedFd, RawFd)>> {
    let Some(last) = descriptors.iter().map(|(_, number)| *number).max() else {
        return Ok(Vec::new());
    };
    let copy = |file: BorrowedFd<'_>| {
        // SAFETY: takes two numbers, and makes a new descriptor or fails.
        let copy = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, last.saturating_add(1)) };
        match copy {
            -1 => Err(io::Error::last_os_error()),
            // SAFETY: it was just returned as new, so nobody else owns it.
            copy => Ok(unsafe { OwnedFd::from_raw_fd(copy) }),
        }
    };
    descriptors
        .iter()
        .map(|(file, number)| Ok((copy(*file)?, *number)))
        .collect()
}

/// What a change of user or of capabilities takes away from a process also as long as its child shares its memory: that
/// it may be looked at under its own user (`PR_SET_DUMPABLE`, prctl(2)).
struct Dumpable(libc::c_int);

impl Dumpable {
    fn now() -> Self {
        // SAFETY: asks for a number.
        Self(unsafe { libc::prctl(libc::PR_GET_DUMPABLE) })
    }
}

impl Drop for Dumpable {
    fn drop(&mut self) {
        // SAFETY: sets the number that there was.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;

    fn run(program: &CStr, script: &str, directory: &CStr) -> (Result<u32, SpawnError>, String) {
        let arguments: Vec<CString> = ["sh", "-c", script]
            .iter()
            .map(|word| CString::new(*word).unwrap())
            .collect();
        let environment = [CString::new("A=1").unwrap()];
        let null = File::open("/dev/null").unwrap();
        let (mut read, write) = io::pipe().unwrap();
        let what = Spawn {
            program,
            arguments: &arguments,
            environment: &environment,
            tells_pid: true,
            directory,
            input: null.as_fd(),
            output: write.as_fd(),
            pad: None,
            descriptors: &[],
            conditions: Conditions {
                limits: &[(libc::RLIMIT_NOFILE, 64, 64)],
                ..Conditions::default()
            },
            cgroup: None,
            terminal: false,
            sibling: None,
            dies_with_parent: false,
        };
        let result = spawn(&what);
        drop(write);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        if let Ok(pid) = result {
            // SAFETY: waits for the child that was just started.
            unsafe { libc::waitpid(i32::try_from(pid).unwrap(), std::ptr::null_mut(), 0) };
        }
        (result, text)
    }

    #[test]
    fn a_process_leads_its_session_with_its_own_limits_and_directory() {
        let script = "read -r pid _ _ _ group session _ </proc/self/stat; echo $A $(pwd) $(ulimit -n); echo $LISTEN_PID $group $session >&2";
        let (result, text) = run(c"/bin/sh", script, c"/tmp");
        let pid = result.unwrap();
        assert_eq!(text, format!("1 /tmp 64\n{pid} {pid} {pid}\n"));
    }

    #[test]
    fn descriptors_arrive_under_their_numbers_whatever_else_has_them_here() {
        let arguments = ["sh", "-c", "cat <&3; cat <&4; cat <&5"];
        let arguments: Vec<CString> = arguments.iter().map(|word| CString::new(*word).unwrap()).collect();
        let texts = ["three\n", "four\n", "five\n"].map(|text| {
            let (read, mut write) = io::pipe().unwrap();
            write.write_all(text.as_bytes()).unwrap();
            read
        });
        let (mut read, write) = io::pipe().unwrap();
        let null = File::open("/dev/null").unwrap();
        let pad = Pad::new().unwrap();
        // In reverse, so that some take numbers that others have here.
        let descriptors = [(texts[2].as_fd(), 5), (texts[0].as_fd(), 3), (texts[1].as_fd(), 4)];
        let pid = spawn(&Spawn {
            tells_pid: false,
            program: c"/bin/sh",
            arguments: &arguments,
            environment: &[],
            directory: c"/",
            input: null.as_fd(),
            output: write.as_fd(),
            pad: Some(&pad),
            descriptors: &descriptors,
            conditions: Conditions::default(),
            cgroup: None,
            terminal: false,
            sibling: None,
            dies_with_parent: false,
        })
        .unwrap();
        drop(write);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        // SAFETY: waits for the child that was just started.
        unsafe { libc::waitpid(i32::try_from(pid).unwrap(), std::ptr::null_mut(), 0) };
        assert_eq!(text, "three\nfour\nfive\n");
    }

    #[test]
    fn what_fails_in_the_child_is_told_by_name() {
        let (result, _) = run(c"/no/such/program", "", c"/");
        assert_eq!(
            result.unwrap_err().to_string(),
            "execute: No such file or directory (os error 2)"
        );
        let (result, _) = run(c"/bin/sh", "", c"/no/such/directory");
        assert_eq!(result.unwrap_err().step, "working directory");
    }

    #[test]
    fn what_a_child_does_to_itself_is_not_done_to_us() {
        let (mut read, mut write) = io::pipe().unwrap();
        for number in 3..8 {
            // Numbers of which nothing here says that a child needs them, and a child that fails late.
            let (result, _) = run(
                c"/bin/sh",
                "exit 0",
                if number < 5 { c"/tmp" } else { c"/no/such/directory" },
            );
            assert_eq!(result.is_ok(), number < 5);
            write.write_all(b"x").unwrap();
            read.read_exact(&mut [0]).unwrap();
        }
        let mut blocked = std::mem::MaybeUninit::uninit();
        // SAFETY: asks for the set of blocked signals, which is filled in before it is read.
        let blocked = unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), blocked.as_mut_ptr());
            blocked.assume_init()
        };
        // SAFETY: looks into a set that was filled in.
        assert_eq!(unsafe { libc::sigismember(&raw const blocked, libc::SIGTERM) }, 0);
        assert_eq!(Dumpable::now().0, 1);
    }
}

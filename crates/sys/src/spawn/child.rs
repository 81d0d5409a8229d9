//! What happens in the child, between fork and exec: system calls only, on data prepared before.

use std::ffi::{CString, c_char, c_void};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use super::{Conditions, Identity, Mounts, Spawn, Task};

/// The steps, in order; a failure is reported as an index into this.
pub(super) const STEPS: [&str; 16] = [
    "new session",
    "signals",
    "standard input and output",
    "controlling terminal",
    "nice value",
    "oom_score_adj",
    "limits",
    "mount namespace",
    "private /tmp",
    "read-only mounts",
    "capabilities",
    "user and group",
    "no new privileges",
    "working directory",
    "descriptors",
    "execute",
];

/// Which step failed, as an index into [`STEPS`]; `errno` says why.
type Step = Result<(), usize>;

fn check(step: usize, status: impl Into<i64>) -> Step {
    if status.into() < 0 { Err(step) } else { Ok(()) }
}

/// What the child begins with. Never returns.
///
/// # Safety
/// To be called in a child of `clone` only, with a pointer to a [`Task`] that nobody else uses meanwhile.
pub(super) unsafe extern "C" fn run(task: *mut c_void) -> ! {
    // SAFETY: see the functions; the pointers end in null and outlive the calls.
    unsafe {
        let task = &mut *task.cast::<Task<'_>>();
        let step = match prepare(task.what, task.handed) {
            Ok(()) => {
                task.own_id.fill(libc::getpid());
                libc::execve(
                    task.what.program.as_ptr(),
                    task.arguments.as_ptr(),
                    task.environment.as_ptr(),
                );
                STEPS.len() - 1
            }
            Err(step) => step,
        };
        task.failure = Some((step, *libc::__errno_location()));
        libc::_exit(127)
    }
}

/// Until now the table of open files is our parent's. Makes one of its own with all up to the highest that is needed: when
/// those are low numbers that takes no time, however many the parent has open.
///
/// # Safety
/// To be called in a freshly made child only.
unsafe fn own_files(what: &Spawn<'_>, handed: &[(OwnedFd, RawFd)]) -> i64 {
    let named = [what.input.as_raw_fd(), what.output.as_raw_fd(), libc::STDERR_FILENO];
    let copied = handed.iter().map(|(file, _)| file.as_raw_fd());
    let last = named.into_iter().chain(copied).fold(0, RawFd::max);
    // SAFETY: plain system calls on numbers; what they close is only closed here.
    unsafe {
        let done = libc::syscall(libc::SYS_close_range, last + 1, u32::MAX, CLOSE_RANGE_UNSHARE);
        if done == 0 {
            return done;
        }
        // Before Linux 5.9. All the others have to be copied then.
        libc::unshare(libc::CLONE_FILES).into()
    }
}

/// linux/close_range.h.
const CLOSE_RANGE_UNSHARE: u32 = 2;

/// # Safety
/// To be called in a freshly made child only.
unsafe fn prepare(what: &Spawn<'_>, handed: &[(OwnedFd, RawFd)]) -> Step {
    // SAFETY: plain system calls on descriptors, numbers and strings that the caller keeps alive.
    unsafe {
        // First of all: until then, what happens to descriptors would happen to our parent, and what happens to them there
        // would happen to us.
        check(14, own_files(what, handed))?;
        what.sibling.inspect(|place| place.settled());
        check(0, libc::setsid())?;
        check(1, clean_signals())?;
        check(2, libc::dup2(what.input.as_raw_fd(), libc::STDIN_FILENO))?;
        check(2, libc::dup2(what.output.as_raw_fd(), libc::STDOUT_FILENO))?;
        check(2, libc::dup2(libc::STDOUT_FILENO, libc::STDERR_FILENO))?;
        for (file, number) in handed {
            check(14, libc::dup2(file.as_raw_fd(), *number))?;
        }
        if what.terminal {
            check(3, libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0))?;
        }
        fulfil(&what.conditions)?;
        if what.dies_with_parent {
            // After the change of user, which would undo it. Cannot fail: the signal exists.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        }
        check(13, libc::chdir(what.directory.as_ptr()))
    }
}

/// # Safety
/// To be called in a freshly made child only.
unsafe fn fulfil(conditions: &Conditions<'_>) -> Step {
    // SAFETY: as above.
    unsafe {
        if let Some(mask) = conditions.umask {
            libc::umask(mask);
        }
        if let Some(nice) = conditions.nice {
            check(4, libc::setpriority(libc::PRIO_PROCESS, 0, nice))?;
        }
        if let Some(text) = conditions.oom_score_adjust {
            let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            check(5, file)?;
            check(5, libc::write(file, text.as_ptr().cast(), text.count_bytes()) as i64)?;
        }
        for (resource, soft, hard) in conditions.limits {
            let limit = libc::rlimit {
                rlim_cur: *soft,
                rlim_max: *hard,
            };
            // The raw call: the C libraries give the number different types.
            check(6, libc::syscall(libc::SYS_setrlimit, *resource, &raw const limit))?;
        }
        if let Some(mounts) = &conditions.mounts {
            own_mounts(mounts)?;
        }
        if let Some(mask) = conditions.capabilities {
            bound_capabilities(mask)?;
        }
        if let Some(identity) = &conditions.identity {
            become_user(identity, conditions.capabilities.is_some())?;
        }
        if let Some(mask) = conditions.capabilities {
            set_capabilities(mask, conditions.identity.is_some_and(|identity| identity.user != 0))?;
        }
        if conditions.no_new_privileges {
            check(12, libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        }
        Ok(())
    }
}

/// # Safety
/// To be called in a freshly made child only.
unsafe fn own_mounts(mounts: &Mounts<'_>) -> Step {
    let none = std::ptr::null::<c_char>();
    // SAFETY: plain system calls on strings that the caller keeps alive; absent ones are null where the call allows it.
    unsafe {
        check(7, libc::unshare(libc::CLONE_NEWNS))?;
        // What the system mounts later is seen here, and nothing that is mounted here is seen there.
        check(
            7,
            libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_SLAVE, none.cast()),
        )?;
        for path in mounts.writable {
            let flags = libc::MS_BIND | libc::MS_REC;
            check(9, libc::mount(path.as_ptr(), path.as_ptr(), none, flags, none.cast()))?;
        }
        for path in mounts.read_only {
            // One below another mount, or one that is gone by now, cannot be reached by this path: nor can anybody write there.
            let unreachable = |status: &i64| *status < 0 && *libc::__errno_location() == libc::ENOENT;
            check(
                9,
                Some(make_read_only(path))
                    .filter(|status| !unreachable(status))
                    .unwrap_or(0),
            )?;
        }
        if mounts.private_tmp {
            let kind = c"tmpfs".as_ptr();
            let flags = libc::MS_NOSUID | libc::MS_NODEV;
            check(
                8,
                libc::mount(kind, c"/tmp".as_ptr(), kind, flags, c"mode=1777".as_ptr().cast()),
            )?;
        }
        Ok(())
    }
}

/// mount_setattr(2), Linux 5.12: unlike a remount it keeps all other properties of the mount.
///
/// # Safety
/// To be called in a freshly made child only.
unsafe fn make_read_only(path: &CString) -> i64 {
    // `struct mount_attr`: what to set, what to clear, propagation, user namespace.
    let attributes: [u64; 4] = [MOUNT_ATTR_RDONLY, 0, 0, 0];
    let size = size_of_val(&attributes);
    // SAFETY: the path ends in NUL, the structure has the size that is told, and both outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            0,
            &raw const attributes,
            size,
        )
    }
}

/// linux/mount.h.
const MOUNT_ATTR_RDONLY: u64 = 1;

/// # Safety
/// To be called in a freshly made child only.
unsafe fn become_user(identity: &Identity<'_>, keep_capabilities: bool) -> Step {
    // SAFETY: plain system calls. The raw ones: those of libc would first tell every thread.
    unsafe {
        if keep_capabilities {
            check(10, libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))?;
        }
        check(
            11,
            libc::syscall(libc::SYS_setgroups, identity.groups.len(), identity.groups.as_ptr()),
        )?;
        check(11, libc::syscall(libc::SYS_setgid, identity.group))?;
        check(11, libc::syscall(libc::SYS_setuid, identity.user))
    }
}

/// The highest capability that there can be: the sets have 64 bits (capset(2)).
const CAPABILITIES: u64 = 64;

/// Takes every other capability out of what exec can give.
///
/// # Safety
/// To be called in a freshly made child only.
unsafe fn bound_capabilities(mask: u64) -> Step {
    for number in (0..CAPABILITIES).filter(|number| mask >> number & 1 == 0) {
        // SAFETY: plain system calls on numbers.
        unsafe {
            if libc::prctl(libc::PR_CAPBSET_READ, number, 0, 0, 0) == 1 {
                check(10, libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0))?;
            }
        }
    }
    Ok(())
}

/// Has exactly these, now and, for who is not root, after exec (`ambient`).
///
/// # Safety
/// To be called in a freshly made child only.
unsafe fn set_capabilities(mask: u64, ambient: bool) -> Step {
    // `struct __user_cap_header_struct`: version 3, this process; then effective, permitted and inheritable, the low 32
    // bits before the high ones (capset(2)).
    let header: [u32; 2] = [0x2008_0522, 0];
    let (low, high) = (mask as u32, (mask >> 32) as u32);
    let sets: [u32; 6] = [low, low, low, high, high, high];
    // SAFETY: both have the layout that the call expects, and outlive it.
    unsafe {
        check(10, libc::syscall(libc::SYS_capset, &raw const header, &raw const sets))?;
        for number in (0..CAPABILITIES).filter(|number| ambient && mask >> number & 1 == 1) {
            check(
                10,
                libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number, 0, 0),
            )?;
        }
    }
    Ok(())
}

/// Unblocks every signal and gives back the one disposition that Rust programs change and exec keeps.
///
/// # Safety
/// To be called in a freshly made child only.
unsafe fn clean_signals() -> i32 {
    let mut none = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set before it is read.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut())
    }
}

//! clone3(2) for a child that borrows our memory until it executes a program, as vfork(2) and posix_spawn(3) do: nothing
//! is copied, which for a process with a few megabytes and many open files is most of what it costs to start another one.
//!
//! Until then this thread stands still, so the child may use anything that it has, as long as it leaves no trace: system
//! calls only, no allocation, no lock, no panic. It has a stack of its own, so that what it leaves on it is nobody's.

use std::arch::asm;
use std::ffi::c_void;
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Mutex;

use super::Spawn;

/// `CLONE_INTO_CGROUP` and `CLONE_CLEAR_SIGHAND` (linux/sched.h), too wide for the type libc gives them.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

/// The child's stack, in bytes. What it does goes a few frames deep.
const STACK: usize = 64 * 1024;
/// What processors ask of a stack pointer.
const ALIGNMENT: usize = 16;

/// What a child begins with. Never returns.
pub(super) type Entry = unsafe extern "C" fn(*mut c_void) -> !;

/// Makes a child that begins with `entry`, and returns once it executes a program or has ended.
///
/// # Errors
/// Whatever the system says.
///
/// # Safety
/// `entry` makes system calls only, on what `task` points to, until it executes a program or ends its process.
pub(super) unsafe fn clone(what: &Spawn<'_>, entry: Entry, task: *mut c_void) -> io::Result<libc::pid_t> {
    // Nobody else has it: with two at a time each has one, and one of them is kept.
    let taken = SPARE.lock().ok().and_then(|mut spare| spare.take());
    let mut stack = Stack(taken.unwrap_or_else(|| Vec::with_capacity(STACK)));
    let bottom = stack.0.as_mut_ptr() as usize;
    let top = (bottom + STACK) / ALIGNMENT * ALIGNMENT;
    let mut arguments = arguments(what);
    (arguments.stack, arguments.stack_size) = (bottom as u64, (top - bottom) as u64);
    // No handler of ours is to run in the child while it is here; it unblocks its signals itself, and has no handlers then.
    let _blocked = Blocked::all();
    // SAFETY: the arguments and the stack outlive the child's stay, because CLONE_VFORK ends it before this returns.
    let first = unsafe { clone3(&arguments, entry, task) };
    if first.is_err() && arguments.flags & CLONE_INTO_CGROUP != 0 {
        // Before Linux 5.7, or a directory that is no control group of this kind.
        arguments.flags &= !CLONE_INTO_CGROUP;
        // SAFETY: as above.
        return unsafe { clone3(&arguments, entry, task) };
    }
    first
}

/// The stack of the last child, for the next one: new memory each time costs more than all else that is prepared.
static SPARE: Mutex<Option<Vec<u8>>> = Mutex::new(None);

/// A child's stack, kept for the next child when it is dropped.
struct Stack(Vec<u8>);

impl Drop for Stack {
    fn drop(&mut self) {
        if let Ok(mut spare) = SPARE.lock() {
            *spare = Some(std::mem::take(&mut self.0));
        }
    }
}

fn arguments(what: &Spawn<'_>) -> libc::clone_args {
    // SAFETY: all fields are integers, for which zero means "not used".
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    // The table of open files is shared only until the child has made one of its own with the few that it needs.
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES;
    arguments.flags = u64::from(flags.unsigned_abs()) | CLONE_CLEAR_SIGHAND;
    if let Some(cgroup) = what.cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    match what.sibling {
        // The parent is signalled as for us.
        Some(place) => {
            let flags = libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID;
            arguments.flags |= u64::from(flags.unsigned_abs());
            arguments.parent_tid = place.address();
        }
        None => arguments.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs()),
    }
    arguments
}

/// The call itself. The child is on a stack where there is nothing to return to, so what it does has to be here too.
///
/// # Safety
/// The arguments ask for CLONE_VFORK and have a stack; for `entry` see [`clone`].
unsafe fn clone3(arguments: &libc::clone_args, entry: Entry, task: *mut c_void) -> io::Result<libc::pid_t> {
    let result: isize;
    let (number, size) = (libc::SYS_clone3, size_of::<libc::clone_args>());
    // SAFETY: in the parent this is a system call and nothing else (rcx and r11 are the kernel's). In the child the
    // registers have what they have here, the stack is the new one, aligned; `entry` never returns.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r9",
            "call r8",
            "ud2",
            "2:",
            inlateout("rax") number as isize => result,
            in("rdi") arguments,
            in("rsi") size,
            in("r8") entry,
            in("r9") task,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    // SAFETY: as above; the kernel changes x0 only.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x3",
            "blr x2",
            "brk #1",
            "2:",
            in("x8") number,
            inlateout("x0") std::ptr::from_ref(arguments) as isize => result,
            in("x1") size,
            in("x2") entry,
            in("x3") task,
        );
    }
    match i32::try_from(result) {
        Ok(pid) if pid > 0 => Ok(pid),
        Ok(error) => Err(io::Error::from_raw_os_error(-error)),
        Err(_) => Err(io::ErrorKind::Other.into()),
    }
}

/// Every signal, blocked until this is dropped.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn all() -> Self {
        let (mut all, mut before) = (std::mem::MaybeUninit::uninit(), std::mem::MaybeUninit::uninit());
        // SAFETY: both sets are filled in by these calls, which cannot fail, before they are read.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set was filled in when this was made.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

//! Child processes that do not outlive the one that started them.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Has the kernel kill the child when the thread that starts it ends (`PR_SET_PDEATHSIG`, prctl(2)), however it ends.
///
/// It is the *thread* that counts: start the child from one that lives as long as the child shall.
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    let parent = rustix::process::getpid();
    let hook = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            // The parent ended before the request was in force.
            Err(rustix::io::Errno::SRCH.into())
        }
    };
    // SAFETY: the hook makes system calls only; it neither allocates nor takes locks, as befits a forked child.
    unsafe { command.pre_exec(hook) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn the_child_dies_with_its_thread() {
        let child = std::thread::spawn(|| die_with_parent(Command::new("sleep").arg("60")).spawn().unwrap());
        let status = child.join().unwrap().wait().unwrap();
        assert_eq!(status.signal(), Some(9));
    }
}

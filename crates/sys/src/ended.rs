//! Children that have ended, looked at before they are taken in.

use std::io;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// A child that has ended, whichever; its process id stays its own until it is taken in (waitpid(2)). `None` when none
/// has. Never blocks.
///
/// # Errors
/// When there are no children at all (`ECHILD`).
pub fn look() -> io::Result<Option<(u32, How)>> {
    // SAFETY: all fields are integers, for which zero means that nothing was filled in.
    let mut about: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the structure outlives the call, which fills it in.
    if unsafe { libc::waitid(libc::P_ALL, 0, &raw mut about, options) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: for waitid(2) these fields are the ones that are filled in, or zero.
    let (pid, status) = unsafe { (about.si_pid(), about.si_status()) };
    let how = match about.si_code {
        libc::CLD_EXITED => How::Code(status),
        _ => How::Signal(status),
    };
    Ok((pid != 0).then_some((pid.unsigned_abs(), how)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn who_has_ended_is_seen_and_stays() {
        // Other tests have children too: only what concerns ours is looked at.
        for (script, how) in [("exit 7", How::Code(7)), ("kill -9 $$", How::Signal(9))] {
            let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
            loop {
                match look() {
                    Ok(Some((pid, seen))) if pid == child.id() => break assert_eq!(seen, how),
                    _ => std::thread::sleep(std::time::Duration::from_millis(2)),
                }
                assert!(std::time::Instant::now() < deadline, "its end is not seen");
            }
            assert!(!child.wait().unwrap().success());
        }
    }
}

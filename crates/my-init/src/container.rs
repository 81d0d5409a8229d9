//! Is this a machine, or a container on somebody else's?
//!
//! In a container nothing is mounted, loaded or powered off: the program supervises, and exits when it is to go down.

use std::fs;
use std::path::Path;

/// The variable by which those who make containers tell their init so (systemd's container interface; lxc, nspawn,
/// podman set it).
const VARIABLE: &str = "container";
/// Files of podman and of docker.
const MARKS: [&str; 2] = ["/run/.containerenv", "/.dockerenv"];
/// `PROC_PID_INIT_INO` (linux/proc_ns.h), the number of the first PID namespace, which is the machine's.
const MACHINE: &str = "pid:[4026531836]";

/// Why this is a container, if it is one.
pub fn detected() -> Option<String> {
    let variable = std::env::var(VARIABLE).ok();
    let marks = MARKS.into_iter().filter(|mark| Path::new(mark).exists());
    decide(variable.as_deref(), marks.into_iter().next(), is_first_namespace())
}

/// True when the process ids here are the machine's. Also when nobody can say: `/proc` may not be mounted yet, and those
/// who make PID namespaces mount it.
pub fn is_first_namespace() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link == Path::new(MACHINE)) || !Path::new("/proc/self").exists()
}

fn decide(variable: Option<&str>, mark: Option<&str>, first_namespace: bool) -> Option<String> {
    let variable = variable.filter(|value| !value.is_empty());
    variable
        .map(|value| format!("{VARIABLE}={value}"))
        .or_else(|| mark.map(str::to_owned))
        .or_else(|| (!first_namespace).then(|| "a PID namespace".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sign_of_a_container_counts() {
        assert_eq!(decide(None, None, true), None);
        assert_eq!(decide(Some(""), None, true), None);
        assert_eq!(decide(Some("lxc"), None, true).as_deref(), Some("container=lxc"));
        assert_eq!(decide(None, Some(MARKS[1]), true).as_deref(), Some("/.dockerenv"));
        assert_eq!(decide(None, None, false).as_deref(), Some("a PID namespace"));
    }
}

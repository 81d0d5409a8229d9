//! What MOS does itself, so that no service of a checkout needs to.

/// The services that every image of MOS has.
pub(crate) const SERVICES: [&str; 5] = ["mosnet", "ready", "runtime-fetch", "runtime-watch", "state"];

/// What takes the place of a service that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StandIn {
    /// A service of MOS.
    Service(&'static str),
    /// PID 1: it is done before the first service starts.
    Always,
}

/// Names of services in checkouts, what takes their place, and why.
const BY_NAME: [(&str, StandIn, &str); 17] = [
    ("mosnet", StandIn::Service("mosnet"), NETWORK),
    ("network", StandIn::Service("mosnet"), NETWORK),
    ("networking", StandIn::Service("mosnet"), NETWORK),
    ("dhcpcd", StandIn::Service("mosnet"), NETWORK),
    ("ready", StandIn::Service("ready"), "MOS has its own"),
    ("runtime-fetch", StandIn::Service("runtime-fetch"), FETCH),
    ("runtime-watch", StandIn::Service("runtime-watch"), FETCH),
    ("state", StandIn::Service("state"), STATE),
    ("mos_volmgr", StandIn::Service("state"), STATE),
    ("mos_sysvol", StandIn::Service("state"), STATE),
    ("sysvol", StandIn::Service("state"), STATE),
    ("load-modules", StandIn::Always, MODULES),
    ("modules", StandIn::Always, MODULES),
    ("early-mounts", StandIn::Always, MOUNTS),
    ("cgroup", StandIn::Always, MOUNTS),
    ("cgroup-mounts", StandIn::Always, MOUNTS),
    (
        "hostname",
        StandIn::Always,
        "my_init sets the name that `hostname` in [image] gives",
    ),
];
/// Programs that a service may run under any name, the same.
const BY_PROGRAM: [(&str, StandIn, &str); 7] = [
    ("mosnet", StandIn::Service("mosnet"), NETWORK),
    ("dhcpcd", StandIn::Service("mosnet"), NETWORK),
    ("udhcpc", StandIn::Service("mosnet"), NETWORK),
    ("mos_volmgr", StandIn::Service("state"), STATE),
    ("mos-runtime-fetch.sh", StandIn::Service("runtime-fetch"), FETCH),
    ("my_init", StandIn::Always, "my_init runs already"),
    ("zinit", StandIn::Always, "my_init takes the place of zinit"),
];
const NETWORK: &str = "MOS's `mosnet` brings up the network";
const FETCH: &str = "MOS's `runtime-fetch` fetches and starts releases";
const STATE: &str = "MOS's `state` mounts the file system labelled mosdata on /var/cache";
const MODULES: &str = "my_init loads what modules.conf names";
const MOUNTS: &str = "my_init mounts it before the first service";

/// What takes the place of a service with this name.
pub(crate) fn stand_in(name: &str) -> Option<StandIn> {
    let named = BY_NAME.iter().find(|(other, ..)| *other == name);
    named.map(|(_, stand_in, _)| *stand_in)
}

/// Why a service is left out: by its name, or by the program that it runs.
pub(crate) fn reason(name: &str, text: &str) -> Option<&'static str> {
    if let Some((.., reason)) = BY_NAME.iter().find(|(other, ..)| *other == name) {
        return Some(reason);
    }
    if text.contains("@builtin:sysvol") {
        return Some(STATE);
    }
    let program = program(text)?;
    let known = BY_PROGRAM.iter().find(|(other, ..)| *other == program);
    known.map(|(.., reason)| *reason)
}

/// The file name of the first program in the line with `exec`.
fn program(text: &str) -> Option<&str> {
    let line = text.lines().map(str::trim).find_map(|line| line.strip_prefix("exec"))?;
    let value = line.trim_start().strip_prefix([':', '='])?;
    let word = value
        .trim_start_matches([' ', '"', '\''])
        .split([' ', '"', '\''])
        .next()?;
    word.rsplit('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mos_does_itself_is_known_by_name_and_by_program() {
        assert!(reason("dhcpcd", "").is_some());
        assert!(reason("dhcp", "exec: /sbin/udhcpc -i eth0\n").is_some());
        assert!(reason("disks", "[service]\nexec = \"@builtin:sysvol\"\n").is_some());
        assert!(reason("fetch", "exec = \"/usr/bin/mos-runtime-fetch.sh\"\n").is_some());
        assert_eq!(reason("sshd", "exec: /usr/sbin/sshd -D\n"), None);
        assert_eq!(stand_in("network"), Some(StandIn::Service("mosnet")));
        assert_eq!(stand_in("sshd"), None);
        for (_, stand_in, _) in BY_NAME.iter().chain(&BY_PROGRAM) {
            if let StandIn::Service(name) = stand_in {
                assert!(SERVICES.contains(name), "{name}");
            }
        }
    }
}

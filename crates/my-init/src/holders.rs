//! Who holds a port, or runs under a name: exactly those processes, and no others.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use mos_service::Guards;

/// Where the kernel lists TCP sockets (proc(5)).
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// The state of a socket that listens (`TCP_LISTEN`, net/tcp_states.h).
const LISTENS: &str = "0A";

/// What is looked for.
#[derive(Debug)]
pub struct Wanted<'g> {
    /// Sockets that listen on one of the ports: number and port.
    sockets: BTreeMap<u64, u16>,
    names: &'g [String],
}

/// A process that has something that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// The port that it holds; otherwise it is its name that was looked for.
    pub port: Option<u16>,
}

impl<'g> Wanted<'g> {
    /// What these guards look for, as things are now.
    pub fn now(guards: &'g Guards) -> Self {
        let mut sockets = BTreeMap::new();
        if !guards.ports.is_empty() {
            for table in TABLES {
                sockets.extend(listeners(&fs::read_to_string(table).unwrap_or_default(), &guards.ports));
            }
        }
        Self {
            sockets,
            names: &guards.process_filters,
        }
    }

    /// Whoever has something of it, and ports that somebody listens on whom nobody sees.
    pub fn find(&self) -> (Vec<Holder>, Vec<u16>) {
        let mut unseen = self.sockets.clone();
        let mut holders = Vec::new();
        if self.sockets.is_empty() && self.names.is_empty() {
            return (holders, Vec::new());
        }
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        for pid in numbers {
            let held = sockets_of(pid);
            unseen.retain(|socket, _| !held.contains(socket));
            holders.extend(self.judge(pid, &held));
        }
        (holders, unseen.into_values().collect())
    }

    /// The same about one process.
    pub fn find_in(&self, pid: u32) -> Option<Holder> {
        self.judge(pid, &sockets_of(pid))
    }

    fn judge(&self, pid: u32, held: &[u64]) -> Option<Holder> {
        let port = held.iter().find_map(|socket| self.sockets.get(socket)).copied();
        let names = names_of(pid);
        let named = names.iter().any(|name| self.names.contains(name));
        (port.is_some() || named).then(|| Holder {
            pid,
            name: names.into_iter().next().unwrap_or_default(),
            port,
        })
    }
}

/// The sockets in the text of `/proc/net/tcp` or `tcp6` that listen on one of the ports.
fn listeners(text: &str, ports: &[u16]) -> Vec<(u64, u16)> {
    let mut sockets = Vec::new();
    for line in text.lines().skip(1) {
        let mut fields = line.split_ascii_whitespace();
        let (local, state) = (fields.nth(1), fields.nth(1));
        // Between the state and the number of the socket: queues, timer, retransmissions, user, timeout.
        let socket = fields.nth(5).and_then(|socket| socket.parse().ok());
        let port = local.and_then(|local| u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok());
        if let (Some(port), Some(LISTENS), Some(socket)) = (port, state, socket)
            && ports.contains(&port)
        {
            sockets.push((socket, port));
        }
    }
    sockets
}

/// The sockets that a process has open.
fn sockets_of(pid: u32) -> Vec<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    let number = |link: &Path| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    links.filter_map(|link| number(&link)).collect()
}

/// The names of a process: what it calls itself, the file that it executes, and the name that it was executed under.
/// Threads of the kernel, and what has ended, have none.
fn names_of(pid: u32) -> Vec<String> {
    let Ok(command) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return Vec::new();
    };
    let Some(first) = command
        .split(|byte| *byte == 0)
        .next()
        .filter(|first| !first.is_empty())
    else {
        return Vec::new();
    };
    let own = crate::lossy::read(format!("/proc/{pid}/comm")).ok();
    let file = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let last = |path: &Path| Some(path.file_name()?.to_str()?.trim_end_matches(" (deleted)").to_owned());
    let all = [
        own.map(|name| name.trim_end().to_owned()),
        file.as_deref().and_then(last),
        last(Path::new(OsStr::from_bytes(first))),
    ];
    all.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::process::{Child, Command, Stdio};

    fn sleeper(input: Stdio) -> Child {
        Command::new("sleep").arg("1000").stdin(input).spawn().unwrap()
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn listeners_are_found_by_port_and_state() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                    \x20  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1\n\
                    \x20  1: 0100007F:1F90 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 102 1\n\
                    \x20  2: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 103 1\n\
                    half a line\n";
        assert_eq!(listeners(text, &[8080]), [(101, 8080)]);
        assert_eq!(listeners(text, &[80, 8080]), [(101, 8080), (103, 80)]);
        assert_eq!(listeners(text, &[81]), []);
    }

    #[test]
    fn d10_only_the_process_that_holds_the_port_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let holder = sleeper(Stdio::from(std::os::fd::OwnedFd::from(listener)));
        let bystander = sleeper(Stdio::null());
        let guards = Guards {
            ports: vec![port],
            ..Guards::default()
        };
        let wanted = Wanted::now(&guards);
        let found = Holder {
            pid: holder.id(),
            name: "sleep".to_owned(),
            port: Some(port),
        };
        assert_eq!(wanted.find(), (vec![found.clone()], Vec::new()));
        assert_eq!(wanted.find_in(holder.id()), Some(found));
        assert_eq!(wanted.find_in(bystander.id()), None);
        end(holder);
        assert_eq!(Wanted::now(&guards).find(), (Vec::new(), Vec::new()));
        end(bystander);
    }

    #[test]
    fn a_name_is_the_whole_name() {
        let directory = tempfile::tempdir().unwrap();
        let run = |name: &str| {
            let program = directory.path().join(name);
            std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
            Command::new(&program).arg("1000").spawn().unwrap()
        };
        let name = format!("guarded-{}", std::process::id());
        let (one, other) = (run(&name), run(&format!("{name}-too")));
        let guards = Guards {
            process_filters: vec![name],
            ..Guards::default()
        };
        let (found, _) = Wanted::now(&guards).find();
        let pids: Vec<u32> = found.iter().map(|holder| holder.pid).collect();
        assert_eq!(pids, [one.id()]);
        end(one);
        end(other);
    }
}

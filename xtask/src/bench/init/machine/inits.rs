//! Who can be the first process of a machine, and how each is told what to do.

use std::path::Path;

use crate::bench::init::supervisors::{Kind, Place};
use crate::bench::init::work::Service;

/// Where all programs are in a machine.
const PROGRAMS: &str = "/usr/bin";
pub(super) const MY_INIT: &str = "/usr/bin/my_init";
/// Where those find their service files that let one say so.
const SERVICES: &str = "/services";

/// A first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Init {
    /// One that runs as an ordinary process as well.
    Told(Kind),
    Busybox,
    Finit,
    Systemd,
}

/// A file of a machine: its path, its content.
pub(super) type File = (String, String);

impl Init {
    pub(super) fn all() -> Vec<Self> {
        let told = [Kind::Ours].into_iter().chain(Kind::PEERS).map(Self::Told);
        told.chain([Self::Busybox, Self::Finit, Self::Systemd]).collect()
    }

    /// As rows name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            // Its first process cannot be compiled as it is published.
            Self::Told(Kind::Zinit) => "zinit-server 0.3.9",
            Self::Told(kind) => kind.name(),
            Self::Busybox => "BusyBox init",
            Self::Finit => "finit",
            Self::Systemd => "systemd",
        }
    }

    /// False for those of which it is known that they do not start so many (zinit starts 336 of 500 with 1,024 open files;
    /// horust, that it takes minutes).
    pub(super) fn manages(self, services: usize) -> bool {
        services < 300 || !matches!(self, Self::Told(Kind::Zinit | Kind::Horust))
    }

    /// Its programs.
    pub(super) fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Told(Kind::S6) => &["s6-svscan", "s6-supervise"],
            Self::Told(Kind::Runit) => &["runit", "runsvdir", "runsv"],
            Self::Told(Kind::Ours) => &["my_init"],
            Self::Told(Kind::Dinit) => &["dinit"],
            Self::Told(Kind::Zinit) => &["zinit-server"],
            Self::Told(Kind::Horust) => &["horust"],
            Self::Busybox => &["busybox"],
            Self::Finit => &["finit"],
            Self::Systemd => &["systemd"],
        }
    }

    /// Where its service files are, if they are in a directory of their own.
    pub(super) fn services(self) -> &'static Path {
        Path::new(match self {
            Self::Told(Kind::Ours) => "/etc/my_init/services",
            _ => SERVICES,
        })
    }

    /// What tells it about the services.
    pub(super) fn files(self, place: &Place<'_>, services: &[Service]) -> Vec<File> {
        match self {
            Self::Told(kind) => {
                let below = |(name, text)| (format!("{}/{name}", place.services.display()), text);
                let mut files: Vec<File> = place.files(kind, services).into_iter().map(below).collect();
                if kind == Kind::Runit {
                    files.extend(runit());
                }
                files
            }
            Self::Busybox => lines("/etc/inittab", services, |service| {
                format!("::respawn:{}", place.line(service))
            }),
            Self::Finit => lines("/etc/finit.conf", services, |service| {
                format!("service :{} [2345] {} -- s{0}", service.number, place.line(service))
            }),
            Self::Systemd => systemd(place, services),
        }
    }

    /// What becomes the first process, in words.
    pub(super) fn command(self, place: &Place<'_>) -> Vec<String> {
        let program = |name: &str| format!("{PROGRAMS}/{name}");
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        match self {
            Self::Told(Kind::Ours) => words(&[MY_INIT]),
            Self::Told(Kind::Runit) => vec![program("runit")],
            Self::Told(Kind::Dinit) => {
                let mut command = vec![program("dinit")];
                command.extend(words(&["-q", "-d", SERVICES, "-p", "/run/dinitctl", "boot"]));
                command
            }
            Self::Told(kind) => {
                let path = program(kind.program());
                let command = place.command(kind, Path::new(&path));
                let rest = command.get_args().map(|word| word.to_string_lossy().into_owned());
                [path].into_iter().chain(rest).collect()
            }
            Self::Busybox => words(&["/sbin/init"]),
            Self::Finit => vec![program("finit")],
            Self::Systemd => vec![program("systemd")],
        }
    }
}

fn lines(path: &str, services: &[Service], line: impl Fn(&Service) -> String) -> Vec<File> {
    let text = services.iter().map(|service| line(service) + "\n").collect();
    vec![(path.to_owned(), text)]
}

/// What runit does in its first stage, and in its second.
fn runit() -> [File; 3] {
    [
        ("1", "true"),
        ("2", "exec /usr/bin/runsvdir -P /services"),
        ("3", "true"),
    ]
    .map(|(stage, what)| (format!("/etc/runit/{stage}"), format!("#!/bin/sh\n{what}\n")))
}

fn systemd(place: &Place<'_>, services: &[Service]) -> Vec<File> {
    const UNITS: &str = "/etc/systemd/system";
    let unit = |service: &Service| {
        let text = format!(
            "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart={}\nRestart=always\nStandardOutput=null\n",
            place.line(service)
        );
        (format!("{UNITS}/s{}.service", service.number), text)
    };
    let mut files: Vec<File> = services.iter().map(unit).collect();
    let wants: String = services
        .iter()
        .map(|service| format!("Wants=s{}.service\n", service.number))
        .collect();
    let target = format!("[Unit]\nDefaultDependencies=no\n{wants}");
    files.push((format!("{UNITS}/default.target"), target));
    files.push((
        "/etc/machine-id".to_owned(),
        "0123456789abcdef0123456789abcdef\n".to_owned(),
    ));
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::init::work::{Manner, independent};

    #[test]
    fn everybody_is_told_about_every_service() {
        for init in Init::all() {
            let place = Place {
                service: Path::new("/bench/service"),
                stamps: Path::new("/run/stamps"),
                services: init.services(),
                socket: Path::new("/run/socket"),
                total: Some(2),
            };
            let files = init.files(&place, &independent(2, Manner::Stay));
            for number in 0..2 {
                let line = format!("/bench/service stay /run/stamps {number} 2");
                let told = files.iter().filter(|(_, text)| text.contains(&line)).count();
                assert_eq!(told, 1, "{init:?}");
            }
            assert!(init.command(&place)[0].starts_with('/'), "{init:?}");
        }
    }
}

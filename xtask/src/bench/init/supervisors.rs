//! The supervisors: how each is told what to do, and started.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::work::{Manner, Service};

/// A supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Ours,
    Dinit,
    Zinit,
    S6,
    Runit,
    Horust,
}

impl Kind {
    pub(super) const PEERS: [Self; 5] = [Self::Dinit, Self::Zinit, Self::S6, Self::Runit, Self::Horust];

    /// As rows name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "my_init",
            Self::Dinit => "dinit",
            Self::Zinit => "zinit 0.3.9",
            Self::S6 => "s6",
            Self::Runit => "runit",
            Self::Horust => "horust",
        }
    }

    /// Its program.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Ours => "my_init",
            Self::Dinit => "dinit",
            Self::Zinit => "zinit-server",
            Self::S6 => "s6-svscan",
            Self::Runit => "runsvdir",
            Self::Horust => "horust",
        }
    }
}

/// Where the things of one run are.
#[derive(Debug)]
pub(super) struct Place<'p> {
    /// The program of `service.c`.
    pub(super) service: &'p Path,
    /// Where services stamp.
    pub(super) stamps: &'p Path,
    /// Where the supervisor finds its service files.
    pub(super) services: &'p Path,
    /// Its control socket.
    pub(super) socket: &'p Path,
    /// Says to the services that they are so many: the one that stamps last then looks around.
    pub(super) total: Option<usize>,
}

impl Place<'_> {
    /// What a service executes, in words without spaces.
    pub(super) fn line(&self, service: &Service) -> String {
        let (program, stamps, number) = (self.service.display(), self.stamps.display(), service.number);
        let total = self.total.map(|total| format!(" {total}")).unwrap_or_default();
        match service.manner {
            Manner::Once => format!("{program} once {stamps} {number}{total}"),
            Manner::Stay => format!("{program} stay {stamps} {number}{total}"),
            Manner::Chat(bytes) => format!("{program} chat {stamps} {number} {bytes}"),
        }
    }

    /// Writes the service files of a supervisor.
    pub(super) fn write(&self, kind: Kind, services: &[Service]) -> Result<(), String> {
        let mut files = self.files(kind, services).into_iter();
        files.try_for_each(|(name, text)| put(&self.services.join(name), &text))
    }

    /// The service files of a supervisor: names below its directory, content.
    pub(super) fn files(&self, kind: Kind, services: &[Service]) -> Vec<(String, String)> {
        let mut files: Vec<_> = services.iter().map(|service| self.file(kind, service)).collect();
        if kind == Kind::Dinit {
            let each: String = services
                .iter()
                .map(|service| format!("waits-for = s{}\n", service.number))
                .collect();
            files.push(("boot".to_owned(), format!("type = internal\n{each}")));
        }
        files
    }

    /// The name and content of a service's file.
    fn file(&self, kind: Kind, service: &Service) -> (String, String) {
        let (number, line) = (service.number, self.line(service));
        let once = service.manner == Manner::Once;
        match kind {
            // Both read the same; zinit has a shell run every line, which need not stay.
            Kind::Ours | Kind::Zinit => {
                let line = if kind == Kind::Zinit {
                    format!("exec {line}")
                } else {
                    line
                };
                let needs = service
                    .needs
                    .map(|number| format!("[dependencies]\nrequires = [\"s{number}\"]\n"));
                let text = format!(
                    "[service]\nname = \"s{number}\"\nexec = \"{line}\"\noneshot = {once}\n{}",
                    needs.unwrap_or_default()
                );
                (format!("s{number}.toml"), text)
            }
            Kind::Dinit => {
                let how = if once {
                    "type = scripted\nrestart = false"
                } else {
                    "type = process\nrestart = true"
                };
                let needs = service.needs.map(|number| format!("depends-on = s{number}\n"));
                (
                    format!("s{number}"),
                    format!("{how}\ncommand = {line}\n{}", needs.unwrap_or_default()),
                )
            }
            Kind::S6 | Kind::Runit => (format!("s{number}/run"), format!("#!/bin/sh\nexec {line}\n")),
            Kind::Horust => {
                let strategy = if once { "never" } else { "always" };
                let needs = service
                    .needs
                    .map(|number| format!("start-after = [\"s{number}.toml\"]\n"));
                let text = format!(
                    "command = \"{line}\"\n{}[restart]\nstrategy = \"{strategy}\"\n",
                    needs.unwrap_or_default()
                );
                (format!("s{number}.toml"), text)
            }
        }
    }

    /// Starts the supervisor, from this file.
    pub(super) fn command(&self, kind: Kind, program: &Path) -> Command {
        let mut command = Command::new(program);
        match kind {
            Kind::Ours => command
                .arg("--container")
                .arg("--services")
                .arg(self.services)
                .arg("--socket")
                .arg(self.socket),
            Kind::Dinit => command
                .args(["-o", "-q", "-d"])
                .arg(self.services)
                .arg("-p")
                .arg(self.socket)
                .arg("boot"),
            Kind::Zinit => command
                .arg("-c")
                .arg(self.services)
                .arg("-s")
                .arg(self.socket)
                .args(["--log-level", "error"]),
            Kind::S6 => command.args(["-c", "5000", "-t", "0"]).arg(self.services),
            Kind::Runit => command.arg("-P").arg(self.services),
            Kind::Horust => command
                .arg("--services-path")
                .arg(self.services)
                .arg("--uds-folder-path")
                .arg(self.folder()),
        };
        // runsvdir looks for runsv, and s6-svscan for s6-supervise.
        if let Some(folder) = program.parent() {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", folder.display()));
        }
        command
    }

    fn folder(&self) -> PathBuf {
        self.socket.parent().unwrap_or(Path::new("/")).to_owned()
    }
}

/// Writes a file, executable because `run` files are.
pub(super) fn put(path: &Path, text: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, text).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(kind: Kind, service: &Service) -> (String, String) {
        let place = Place {
            service: Path::new("/b/service"),
            stamps: Path::new("/b/stamps"),
            services: Path::new("/b/services"),
            socket: Path::new("/b/socket"),
            total: None,
        };
        place.file(kind, service)
    }

    #[test]
    fn every_supervisor_is_told_the_same() {
        let service = Service {
            number: 3,
            manner: Manner::Once,
            needs: Some(1),
        };
        let line = "/b/service once /b/stamps 3";
        let ours = format!(
            "[service]\nname = \"s3\"\nexec = \"{line}\"\noneshot = true\n[dependencies]\nrequires = [\"s1\"]\n"
        );
        assert_eq!(file(Kind::Ours, &service), ("s3.toml".to_owned(), ours.clone()));
        assert_eq!(
            file(Kind::Zinit, &service).1,
            ours.replace(line, &format!("exec {line}"))
        );
        let dinit = format!("type = scripted\nrestart = false\ncommand = {line}\ndepends-on = s1\n");
        assert_eq!(file(Kind::Dinit, &service), ("s3".to_owned(), dinit));
        for kind in Kind::PEERS {
            assert!(file(kind, &service).1.contains(line), "{kind:?}");
        }
    }
}

//! Service files: zinit's YAML and the TOML of its successors, to `services/NAME.service.toml`.
//!
//! A service that runs the program of a component becomes that component's service and calls the program where it is on a
//! node. Services that MOS brings itself are left out, and who depends on one depends on MOS's own instead.

mod edit;
mod own;
mod zinit;

use std::collections::BTreeMap;

use mos_toml::{Position, Problem, Problems, Severity};

use crate::checkout::Checkout;

/// Where the programs of components are on a node.
const PROGRAMS: &str = "/var/cache/bin/";
/// Where mos_builder's components were in the image.
const FORMER: [&str; 6] = [
    "/usr/local/bin/",
    "/usr/bin/",
    "/usr/sbin/",
    "/usr/local/sbin/",
    "/bin/",
    "/sbin/",
];
/// The folders that service files are in; of two files for one service the first counts.
const FOLDERS: [&str; 5] = [
    "config/my_init/services/",
    "config/my_init/",
    "configs/my_init/services/",
    "configs/my_init/",
    "config/zinit/",
];

/// A service file of the checkout.
struct Source<'c> {
    /// Its path.
    path: &'c str,
    name: String,
    text: String,
}

/// A service as a config repository has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    /// The file that it comes from.
    pub(crate) from: String,
    pub(crate) text: String,
    /// The component whose program it runs.
    pub(crate) component: Option<String>,
}

/// What the services of a checkout may refer to.
pub(crate) struct Surroundings<'s> {
    /// Programs of components, with the component of each.
    pub(crate) programs: &'s BTreeMap<String, String>,
    /// Names of all services of the checkout that are kept.
    names: Vec<String>,
}

impl Surroundings<'_> {
    /// The command with programs of components where they are on a node, and the component.
    fn command(&self, line: &str) -> (String, Option<String>) {
        let (mut line, mut component) = (line.to_owned(), None);
        for (program, owner) in self.programs {
            let moved = move_program(&line, program);
            if moved != line {
                (line, component) = (moved, Some(owner.clone()));
            }
        }
        (line, component)
    }

    /// The name that stands for a service of the checkout; `None` when nothing needs to, because it is always done.
    fn stand_in(&self, name: &str) -> Option<String> {
        match own::stand_in(name) {
            Some(own::StandIn::Service(other)) => Some(other.to_owned()),
            Some(own::StandIn::Always) => None,
            None => Some(name.to_owned()),
        }
    }

    fn knows(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name) || own::SERVICES.contains(&name)
    }
}

/// Puts `/var/cache/bin/` before a program wherever a command calls it.
fn move_program(line: &str, program: &str) -> String {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || "-_.+/".contains(c));
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(program) {
        let (before, behind) = (&rest[..at], &rest[at + program.len()..]);
        let folder = FORMER.iter().find(|folder| {
            let head = before.strip_suffix(**folder);
            head.is_some_and(|head| head.is_empty() || head.ends_with([' ', '"', '\'', '=', ';', '(', '|', '&']))
        });
        // A word by itself is the program only where a command begins.
        let bare = text.is_empty() && before.trim().is_empty();
        match folder {
            Some(folder) if ends(behind) => text.push_str(&before[..before.len() - folder.len()]),
            None if bare && ends(behind) => text.push_str(before),
            _ => {
                text.push_str(before);
                text.push_str(program);
                rest = behind;
                continue;
            }
        }
        text.push_str(PROGRAMS);
        text.push_str(program);
        rest = behind;
    }
    text + rest
}

/// True for a file that holds a service: what is beside them, such as scripts, goes into the image as it is.
pub(crate) fn is_service(path: &str) -> bool {
    let direct = FOLDERS.iter().any(|folder| {
        let rest = path.strip_prefix(folder);
        rest.is_some_and(|rest| !rest.contains('/') && !rest.starts_with('.'))
    });
    direct && [".toml", ".yaml", ".yml"].iter().any(|suffix| path.ends_with(suffix))
}

/// Converts every service of the checkout. By name.
pub(crate) fn convert(
    checkout: &Checkout,
    programs: &BTreeMap<String, String>,
    problems: &Problems,
) -> BTreeMap<String, Service> {
    let sources = sources(checkout, problems);
    let surroundings = Surroundings {
        programs,
        names: sources.iter().map(|source| source.name.clone()).collect(),
    };
    let mut services = BTreeMap::new();
    for source in sources {
        let converted = match source.path.ends_with(".toml") {
            true => edit::convert(&source, &surroundings, problems),
            false => zinit::convert(&source, &surroundings, problems),
        };
        if let Some((text, component)) = converted
            && complete(&source, &text, problems)
        {
            let from = source.path.to_owned();
            services.insert(source.name, Service { from, text, component });
        }
    }
    services
}

/// The service files, without those of services that MOS brings itself.
fn sources<'c>(checkout: &'c Checkout, problems: &Problems) -> Vec<Source<'c>> {
    let mut found: Vec<Source<'c>> = Vec::new();
    for folder in FOLDERS {
        let paths = checkout
            .files
            .keys()
            .filter(|path| path.starts_with(folder) && is_service(path));
        for path in paths.filter(|path| !path[folder.len()..].contains('/')) {
            let text = checkout.text(path).unwrap_or_default();
            let name = name(path, &text);
            let place = |message: String| Problem::warning(Some(begin(path)), message);
            if let Some(reason) = own::reason(&name, &text) {
                problems.push(place(format!("the service `{name}` is left out: {reason}")));
            } else if let Some(first) = found.iter().find(|other| other.name == name) {
                problems.push(place(format!("the service `{name}` is in {} already", first.path)));
            } else {
                found.push(Source { path, name, text });
            }
        }
    }
    found
}

/// `[service] name`, or the file's.
fn name(path: &str, text: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let stem = stem.strip_suffix(".service").unwrap_or(stem);
    let inside = path
        .ends_with(".toml")
        .then(|| mos_toml::Document::parse(path, text).ok())
        .flatten();
    let problems = Problems::default();
    let named = inside.and_then(|document| {
        let root = document.root(&problems);
        let table = root.table("service").or_else(|| root.table("target"))?;
        table.string("name")
    });
    named.unwrap_or_else(|| stem.to_owned())
}

fn begin(path: &str) -> Position {
    Position {
        file: path.to_owned(),
        line: 1,
        column: 1,
    }
}

/// Says what is wrong with a converted service; lines of an edited file are those of the checkout's.
fn complete(source: &Source<'_>, text: &str, problems: &Problems) -> bool {
    let edited = source.path.ends_with(".toml");
    // A converted one is TOML, whatever the checkout's was.
    let path = match edited {
        true => source.path.to_owned(),
        false => format!("{}.service.toml", source.name),
    };
    let found = mos_service::parse(&path, text).problems;
    let usable = found.iter().all(|problem| problem.severity != Severity::Error);
    for mut problem in found {
        if !edited {
            problem.position = Some(begin(source.path));
        }
        problems.push(problem);
    }
    usable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_move_and_words_like_them_do_not() {
        for (line, moved) in [
            ("mycelium --tun x", "/var/cache/bin/mycelium --tun x"),
            ("/usr/bin/mycelium", "/var/cache/bin/mycelium"),
            (
                "sh -c 'exec /usr/sbin/mycelium -k'",
                "sh -c 'exec /var/cache/bin/mycelium -k'",
            ),
            ("/usr/bin/mycelium-ui", "/usr/bin/mycelium-ui"),
            ("/opt/usr/bin/mycelium", "/opt/usr/bin/mycelium"),
            ("tail -f /var/log/mycelium", "tail -f /var/log/mycelium"),
            ("cat mycelium", "cat mycelium"),
        ] {
            assert_eq!(move_program(line, "mycelium"), moved);
        }
    }
}

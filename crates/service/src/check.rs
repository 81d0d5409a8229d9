//! Many service files together.

use std::collections::HashMap;

use mos_toml::{Position, Problem, Severity, nearest};

use crate::parse::stem;
use crate::{Dependency, Graph, Service, Template, is_service_file, parse, split_instance};

/// What a node makes of its service files.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The services that can be used, in the order of the files; names are unique.
    pub services: Vec<Service>,
    /// What instances can be made of.
    pub templates: Vec<Template>,
    /// What is wrong with the rest.
    pub problems: Vec<Problem>,
    /// Files that cannot be used, and directories that cannot be read: what they say is not known, which is not the same
    /// as that they are gone.
    pub unusable: Vec<String>,
}

impl Loaded {
    /// True when a service that was read from this file may still be there.
    pub fn may_hold(&self, file: &str) -> bool {
        self.unusable.iter().any(|unusable| {
            let rest = file.strip_prefix(unusable.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Where a service of this name may still be, if it may: a file or template that is called so, or a directory that
    /// cannot be read.
    pub fn may_be_in(&self, name: &str) -> Option<&str> {
        let template = split_instance(name).map(|(stem, _)| stem);
        let found = self.unusable.iter().find(|path| {
            let stem = stem(path);
            !is_service_file(path) || stem == name || Some(stem) == template
        });
        found.map(String::as_str)
    }
}

/// Reads files as `(name, text)`. Of several services with one name the first counts; the others are named. One bad
/// file costs nobody but itself.
pub fn load(files: &[(&str, &str)]) -> Loaded {
    let mut loaded = Loaded::default();
    let mut places: HashMap<String, String> = HashMap::new();
    for (file, text) in files {
        let parsed = parse(file, text);
        let template = Template::of(file, text);
        loaded.problems.extend(parsed.problems);
        let Some(service) = parsed.service else {
            loaded.unusable.push((*file).to_owned());
            continue;
        };
        if let Some(template) = template {
            if !loaded.templates.iter().any(|other| other.name == template.name) {
                loaded.templates.push(template);
            }
            continue;
        }
        if let Some(first) = places.get(&service.name) {
            loaded.problems.push(duplicate(&service, first));
            continue;
        }
        places.insert(service.name.clone(), service.file.clone());
        loaded.services.push(service);
    }
    loaded.complete_all();
    crate::group::share_status(&mut loaded.services);
    loaded
}

/// Checks files as `(name, text)` together; `known` are services that exist elsewhere and may be required. Returns
/// every problem, in the order of files; those that concern several files last.
pub fn check(files: &[(&str, &str)], known: &[&str]) -> Vec<Problem> {
    let Loaded {
        services,
        templates,
        mut problems,
        ..
    } = load(files);
    let names: Vec<&str> = services
        .iter()
        .map(|service| service.name.as_str())
        .chain(known.iter().copied())
        .chain(templates.iter().map(|template| template.name.as_str()))
        .collect();
    let samples = templates.iter().filter_map(|template| template.sample().service);
    problems.extend(samples.flat_map(|service| unknown_names(&service, &names)));
    for service in &services {
        problems.extend(unknown_names(service, &names));
        if known.contains(&service.name.as_str()) {
            problems.push(duplicate(service, "another part of the node"));
        }
    }
    problems.extend(crate::group::problems(&services));
    problems.extend(cycles(&services));
    problems
}

fn duplicate(service: &Service, first: &str) -> Problem {
    let message = format!("the service `{}` is already defined by {first}", service.name);
    Problem::error(Some(place(service, 1, 1)), message).with_hint("give one of them another name")
}

fn unknown_names(service: &Service, names: &[&str]) -> Vec<Problem> {
    let dependencies = &service.dependencies;
    let missing = |list: &[Dependency], key: &str, severity: Severity| -> Vec<Problem> {
        let unknown = list.iter().filter(|dependency| !is_known(&dependency.name, names));
        unknown
            .map(|dependency| unknown_name(service, dependency, key, severity, names))
            .collect()
    };
    let mut problems = missing(&dependencies.requires, "requires", Severity::Error);
    problems.extend(missing(&dependencies.after, "after", Severity::Warning));
    problems.extend(missing(&dependencies.wants, "wants", Severity::Warning));
    problems
}

/// True for the name of a service, and for an instance of a template.
fn is_known(name: &str, names: &[&str]) -> bool {
    names.contains(&name) || split_instance(name).is_some_and(|(stem, _)| names.contains(&stem))
}

fn unknown_name(service: &Service, dependency: &Dependency, key: &str, severity: Severity, names: &[&str]) -> Problem {
    let problem = Problem {
        position: Some(place(service, dependency.line, dependency.column)),
        severity,
        message: format!(
            "`{}` {key} `{}`, which no service file defines",
            service.name, dependency.name
        ),
        hint: None,
    };
    match nearest(&dependency.name, names.iter().copied()) {
        Some(name) => problem.with_hint(format!("did you mean `{name}`?")),
        None => problem,
    }
}

fn cycles(services: &[Service]) -> Vec<Problem> {
    let graph = Graph::new(services);
    let describe = |cycle: Vec<usize>| {
        let first = &services[cycle[0]];
        let message = format!("services wait for each other: {}", walk(&cycle, services));
        let hint = "remove one of these from `requires` or `after`";
        Problem::error(Some(place(first, 1, 1)), message).with_hint(hint)
    };
    graph.cycles().into_iter().map(describe).collect()
}

/// `a -> b -> a`.
fn walk(cycle: &[usize], services: &[Service]) -> String {
    let round = cycle.iter().chain(cycle.first());
    let names: Vec<&str> = round.map(|&id| services[id].name.as_str()).collect();
    names.join(" -> ")
}

pub(crate) fn place(service: &Service, line: u32, column: u32) -> Position {
    Position {
        file: service.file.clone(),
        line: usize::try_from(line).unwrap_or(usize::MAX),
        column: usize::try_from(column).unwrap_or(usize::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(dependencies: &str) -> String {
        format!("[service]\nexec = \"x\"\n[dependencies]\n{dependencies}\n")
    }

    fn checked(files: &[(&str, String)], known: &[&str]) -> Vec<String> {
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        check(&files, known).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn good_files_have_no_problem() {
        let files = [("a.toml", text("requires = [\"b\", \"net\"]")), ("b.toml", text(""))];
        assert_eq!(checked(&files, &["net"]), Vec::<String>::new());
    }

    #[test]
    fn missing_requires_is_an_error_with_place_and_nearest() {
        let files = [
            ("web.toml", text("requires = [\"mosnte\"]")),
            ("mosnet.toml", text("after = [\"zzz\"]")),
        ];
        assert_eq!(
            checked(&files, &[]),
            [
                "error: web.toml:4:13: `web` requires `mosnte`, which no service file defines\n  hint: did you mean `mosnet`?",
                "warning: mosnet.toml:4:10: `mosnet` after `zzz`, which no service file defines",
            ]
        );
    }

    #[test]
    fn cycles_are_named() {
        let files = [
            ("a.toml", text("requires = [\"b\"]")),
            ("b.toml", text("after = [\"c\"]")),
            ("c.toml", text("after = [\"a\"]")),
            ("d.toml", text("")),
        ];
        assert_eq!(
            checked(&files, &[]),
            [
                "error: a.toml:1:1: services wait for each other: a -> b -> c -> a\n  hint: remove one of these from `requires` or `after`"
            ]
        );
    }

    #[test]
    fn the_first_of_a_name_counts_and_a_bad_file_costs_only_itself() {
        let loaded = load(&[
            ("sys/web.toml", "[service]\nexec = \"first\"\n"),
            ("usr/web.service.toml", "[service]\nexec = \"second\"\n"),
            ("usr/bad.toml", "[service\n"),
            ("usr/good.toml", "[service]\nexec = \"x\"\n"),
        ]);
        let names: Vec<&str> = loaded.services.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(names, ["web", "good"]);
        assert_eq!(loaded.services[0].file, "sys/web.toml");
        assert_eq!(loaded.unusable, ["usr/bad.toml"]);
        assert!(
            loaded.may_hold("usr/bad.toml") && !loaded.may_hold("usr/bad.tom") && !loaded.may_hold("usr/bad.tomlx")
        );
        assert_eq!(
            (loaded.may_be_in("bad"), loaded.may_be_in("good")),
            (Some("usr/bad.toml"), None)
        );
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        assert!(
            problems[0].contains("`web` is already defined by sys/web.toml"),
            "{problems:?}"
        );
        assert!(problems[1].starts_with("error: usr/bad.toml:1:"), "{problems:?}");
    }

    #[test]
    fn a_name_that_is_known_elsewhere_is_taken() {
        let problems = checked(&[("mosnet.toml", text(""))], &["mosnet"]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("`mosnet` is already defined by another part of the node"));
    }
}

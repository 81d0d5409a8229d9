//! What is wrong with the packages that apt cannot install, each in a line of its own.

use std::fmt;

use crate::apt::{Apt, bare};

/// As many versions or providers of a package are named.
const SHOWN: usize = 5;
const NONE: &str = "no source of this host has it";
/// What apt says before it tells what does not fit together.
const UNMET: &str = "The following packages have unmet dependencies:";

/// A package that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsatisfied {
    /// The package, as it was asked for: `name` or `name=version`; or one that another needs.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Unsatisfied {
    /// No source has it.
    pub fn none(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            problem: NONE.to_owned(),
        }
    }
}

impl fmt::Display for Unsatisfied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "package `{}`: {}", self.name, self.problem)
    }
}

/// What no source of apt has, of these names; else what apt said that does not fit together.
pub(crate) fn explain(apt: &Apt, missing: &[&str], said: &str) -> Vec<Unsatisfied> {
    let mut known = None;
    let absent: Vec<Unsatisfied> = missing
        .iter()
        .filter_map(|name| {
            Some(Unsatisfied {
                name: (*name).to_owned(),
                problem: absence(apt, name, &mut known)?,
            })
        })
        .collect();
    if absent.is_empty() { unmet(said) } else { absent }
}

/// Why no source has a package; `None` when one has it. `known` keeps the names of all packages.
fn absence(apt: &Apt, wanted: &str, known: &mut Option<String>) -> Option<String> {
    let name = bare(wanted);
    if !apt.exists(name) {
        let providers = providers(&apt.ask("apt-cache", &["showpkg", "--", name]));
        if !providers.is_empty() {
            return Some(format!(
                "it is not a package but what others provide: name one of {providers}"
            ));
        }
        let known = known.get_or_insert_with(|| apt.ask("apt-cache", &["pkgnames"]));
        let nearest = mos_toml::nearest(name, known.lines().filter(|known| *known != name));
        let hint = nearest.map(|nearest| format!("; did you mean `{nearest}`?"));
        return Some(format!("{NONE}{}", hint.unwrap_or_default()));
    }
    let version = wanted.split_once('=')?.1;
    (!apt.exists(wanted)).then(|| {
        let versions = versions(&apt.ask("apt-cache", &["madison", "--", name]));
        format!("no source of this host has version {version}; they have {versions}")
    })
}

/// Of `apt-cache madison`: `name | version | source`.
fn versions(table: &str) -> String {
    shown(table.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim))
}

/// Of `apt-cache showpkg`: `name version (= provided)` after the last heading.
fn providers(page: &str) -> String {
    let (_, list) = page.split_once("Reverse Provides:").unwrap_or_default();
    shown(list.lines().filter_map(|line| line.split_whitespace().next()))
}

fn shown<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut unique: Vec<&str> = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    let more = if unique.len() > SHOWN { ", …" } else { "" };
    unique.truncate(SHOWN);
    format!("{}{more}", unique.join(", "))
}

/// Of `apt-get install`: ` name : problem`, and lines that go on with it.
fn unmet(said: &str) -> Vec<Unsatisfied> {
    let lines = said.lines().skip_while(|line| *line != UNMET).skip(1);
    let mut found: Vec<Unsatisfied> = Vec::new();
    for line in lines.take_while(|line| line.starts_with(' ')) {
        match (line.trim_start().split_once(" : "), found.last_mut()) {
            (Some((name, problem)), _) => found.push(Unsatisfied {
                name: name.to_owned(),
                problem: problem.trim().to_owned(),
            }),
            (None, Some(last)) => {
                let joint = if last.problem.ends_with(" or") { " " } else { "; " };
                last.problem.push_str(&format!("{joint}{}", line.trim()));
            }
            (None, None) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_together_is_told_by_package() {
        let said = "Reading package lists...\nThe following information may help to resolve the situation:\n\n\
            The following packages have unmet dependencies:\n \
            busybox : Conflicts: busybox-static but 1:1.35.0-4 is to be installed\n \
            exim4 : Depends: exim4-daemon-light (>= 4.96) but it is not installable or\n                  \
            exim4-daemon-heavy (>= 4.96) but it is not installable\n         Breaks: postfix\nE: no\n c : d\n";
        let lines: Vec<String> = unmet(said).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "package `busybox`: Conflicts: busybox-static but 1:1.35.0-4 is to be installed",
                "package `exim4`: Depends: exim4-daemon-light (>= 4.96) but it is not installable or \
                 exim4-daemon-heavy (>= 4.96) but it is not installable; Breaks: postfix"
            ]
        );
        assert_eq!(unmet("E: something else"), []);
    }

    #[test]
    fn versions_and_providers_are_named_once_and_not_all() {
        let table =
            " libc6 | 2.36-9 | http://m bookworm/main\n libc6 | 2.36-9 | http://s\n libc6 | 2.36-7 | http://s\n";
        assert_eq!(versions(table), "2.36-9, 2.36-7");
        let page = "Package: awk\nProvides: \nReverse Provides: \nmawk 1.3 (= )\ngawk 1:5 (= )\ngawk 1:5 (= )\n";
        assert_eq!(providers(page), "mawk, gawk");
        assert_eq!(providers("Package: x\nReverse Provides: \n"), "");
        let many: Vec<String> = (0..9).map(|number| number.to_string()).collect();
        assert_eq!(shown(many.iter().map(String::as_str)), "0, 1, 2, 3, 4, …");
    }
}

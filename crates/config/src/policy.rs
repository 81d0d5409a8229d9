//! The rules of each kind of environment. They are refused here instead of being left to the author's care.
//!
//! | kind | versions | access |
//! |---|---|---|
//! | development | anything, branches too | anything |
//! | testing | a branch is worth a warning | anything |
//! | canary | as production | no developers, no passwordless sudo, no sudo for every command |
//! | production | exact versions with digest, commits | no developers, no passwordless sudo |

use mos_toml::{Item, Position, Problem, Problems};

use crate::access::AccessGroup;
use crate::check::effective;
use crate::environment::{Environment, EnvironmentKind};
use crate::repository::Repository;
use crate::source::{Origin, Request, Source, exact_version, is_prerelease};

/// Checks one environment against the rules of its kind.
pub(crate) fn check(repository: &Repository, name: &str, environment: &Environment, problems: &Problems) {
    let rules = Rules {
        name,
        kind: environment.kind,
        problems,
    };
    for (component, selection) in environment.components.iter().filter(|(_, selection)| selection.enabled) {
        let Some(described) = repository.components.get(component) else {
            continue;
        };
        let request = effective(described, selection);
        let position = &selection.position;
        match (rules.strict(), &described.origin) {
            (false, _) => rules.warn_of_branch(component, &request),
            (true, Origin::Crate { .. } | Origin::Release { .. } | Origin::Oci { .. }) => {
                let source = Source::new(&described.origin, &request);
                let locked = source.is_some_and(|source| repository.lock.component(component, &source).is_some());
                let is_crate = matches!(described.origin, Origin::Crate { .. });
                if !is_crate || rules.exact_crate(component, &request) {
                    rules.digest(component, &request, position, locked);
                }
            }
            (true, Origin::Git { .. }) => rules.exact_commit(component, &request, position),
            (true, Origin::Path { .. } | Origin::Mos) => {}
        }
    }
    if rules.strict() {
        for group in &environment.groups {
            if let Some(members) = repository.access.get(&group.value) {
                rules.access(group, members);
            }
        }
        rules.own_key(repository, environment);
    }
}

struct Rules<'r> {
    name: &'r str,
    kind: EnvironmentKind,
    problems: &'r Problems,
}

impl Rules<'_> {
    /// True for environments that real users depend on.
    fn strict(&self) -> bool {
        self.kind >= EnvironmentKind::Canary
    }

    fn refuse(&self, position: &Position, message: String, hint: &str) {
        let problem = Problem::error(Some(position.clone()), message);
        self.problems.push(problem.with_hint(hint));
    }

    fn warn_of_branch(&self, component: &str, request: &Request) {
        if let (EnvironmentKind::Testing, Some(branch), None) = (self.kind, &request.branch, &request.commit) {
            let message = format!("`{component}` follows the branch `{}` in `{}`", branch.value, self.name);
            let problem = Problem::warning(Some(branch.position.clone()), message);
            self.problems
                .push(problem.with_hint("test what will be released: a tag or a commit"));
        }
    }

    /// True when the version is exact, so that its digest can be asked for.
    fn exact_crate(&self, component: &str, request: &Request) -> bool {
        let Some(version) = &request.version else { return false };
        let kind = self.kind;
        let Some(exact) = exact_version(&version.value) else {
            let message = format!(
                "`{component}` may be any version that fits `{}`; {kind} takes exact ones",
                version.value
            );
            self.refuse(&version.position, message, "write all three numbers, such as 1.2.3");
            return false;
        };
        if is_prerelease(exact) {
            let message = format!("`{component}` {exact} is a pre-release; {kind} takes released versions");
            self.refuse(&version.position, message, "use the newest version without a `-`");
        }
        true
    }

    fn digest(&self, component: &str, request: &Request, position: &Position, locked: bool) {
        let Some(version) = &request.version else { return };
        if request.sha256.is_none() && !locked {
            let (version, kind) = (&version.value, self.kind);
            let message = format!("`{component}` {version} has no digest; {kind} takes nothing without one");
            let hint = "run `mos lock`, which writes it to mos.lock, or write sha256 = \"…\" beside the version";
            self.refuse(position, message, hint);
        }
    }

    fn exact_commit(&self, component: &str, request: &Request, position: &Position) {
        let kind = self.kind;
        if let Some(branch) = &request.branch {
            let message = format!(
                "`{component}` follows the branch `{}`; {kind} takes commits",
                branch.value
            );
            self.refuse(
                &branch.position,
                message,
                "replace the branch by commit = \"…\", 40 digits",
            );
        } else if request.commit.is_none() {
            let message = format!("`{component}` has no commit; {kind} takes no tag alone, because a tag can be moved");
            let place = request.tag.as_ref().map_or(position, |tag| &tag.position);
            self.refuse(
                place,
                message,
                "write commit = \"…\" beside the tag; `git rev-parse TAG^{commit}` prints it",
            );
        }
    }

    fn access(&self, group: &Item<String>, members: &AccessGroup) {
        if members.developers {
            let message = format!("`{}` are developers, whom {} does not let in", group.value, self.kind);
            self.refuse(&group.position, message, "name a group of operators");
        }
        let rules = members
            .users
            .iter()
            .flat_map(|(user, it)| it.sudo.iter().map(move |rule| (user, rule)));
        for (user, rule) in rules {
            // The group's file may be fine for other environments: the line to blame is the one that brings it here.
            let (name, kind, place) = (&group.value, self.kind, &rule.position);
            if rule.value.contains("NOPASSWD") || rule.value.contains("!authenticate") {
                let message = format!("`{name}` lets `{user}` use sudo without a password, which {kind} refuses");
                self.refuse(&group.position, message, &format!("the rule is at {place}"));
            }
            if kind == EnvironmentKind::Canary && allows_everything(&rule.value) {
                let message = format!("`{name}` lets `{user}` run every command with sudo, which {kind} refuses");
                self.refuse(
                    &group.position,
                    message,
                    &format!("name the commands; the rule is at {place}"),
                );
            }
        }
    }

    /// A key that signs for a loose environment must not sign for a strict one.
    fn own_key(&self, repository: &Repository, environment: &Environment) {
        let loose = repository
            .environments
            .iter()
            .find(|(_, other)| other.kind < EnvironmentKind::Canary && other.trust.value == environment.trust.value);
        if let Some((other, _)) = loose {
            let message = format!(
                "`{}` also signs for `{other}`, so whoever releases there releases here",
                environment.trust.value
            );
            self.refuse(
                &environment.trust.position,
                message,
                "give each its own key: `mos keys new`",
            );
        }
    }
}

/// True when the command list of a sudoers rule contains `ALL` (sudoers(5): `HOST = (RUNAS) TAG: COMMANDS`).
fn allows_everything(rule: &str) -> bool {
    let commands = rule.split_once('=').map_or(rule, |(_, commands)| commands);
    commands.split(',').any(|command| {
        let command = command.rsplit([')', ':']).next().unwrap_or(command);
        command.trim() == "ALL"
    })
}

#[cfg(test)]
mod tests {
    use super::allows_everything;

    #[test]
    fn sudo_for_everything() {
        for all in [
            "ALL=(ALL) ALL",
            "ALL=(ALL:ALL) NOPASSWD: ALL",
            "ALL=ALL",
            "ALL=(root) /bin/true, ALL",
        ] {
            assert!(allows_everything(all), "{all}");
        }
        for some in [
            "ALL=(root) /usr/bin/true",
            "ALL=(ALL) NOPASSWD: /sbin/mosctl",
            "ALL=(root) /bin/a, /bin/b",
        ] {
            assert!(!allows_everything(some), "{some}");
        }
    }
}

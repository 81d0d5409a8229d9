//! Groups: several services handled as one.

use std::collections::HashMap;

use mos_toml::Problem;

use crate::check::place;
use crate::{Kind, Service};

/// What becomes of a group when one of its members ends without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// All are restarted when that one is, and stopped when it is not.
    #[default]
    Restart,
    /// All are stopped, once that one is not restarted any more.
    Stop,
    /// The others go on.
    Keep,
}

/// Members are started without being asked when their group is. Of several groups with one member the first counts.
pub(crate) fn share_status(services: &mut [Service]) {
    let groups = services.iter().filter(|service| service.kind == Kind::Group);
    let mut statuses = HashMap::new();
    for group in groups {
        for member in &group.dependencies.requires {
            statuses.entry(member.name.clone()).or_insert(group.status);
        }
    }
    for service in services.iter_mut().filter(|service| service.kind != Kind::Group) {
        service.status = statuses.get(&service.name).copied().unwrap_or(service.status);
    }
}

/// Members that cannot be members.
pub(crate) fn problems(services: &[Service]) -> Vec<Problem> {
    let kinds: HashMap<&str, Kind> = services
        .iter()
        .map(|service| (service.name.as_str(), service.kind))
        .collect();
    let mut groups: HashMap<&str, &str> = HashMap::new();
    let mut problems = Vec::new();
    for group in services.iter().filter(|service| service.kind == Kind::Group) {
        for member in &group.dependencies.requires {
            let other = groups.insert(&member.name, &group.name);
            let message = match (kinds.get(member.name.as_str()), other) {
                (Some(Kind::Group), _) => format!("`{}` is a group, and cannot be in another", member.name),
                (_, Some(other)) if other == group.name => format!("`{}` is named twice", member.name),
                (_, Some(other)) => format!("`{}` is in the group `{other}` already", member.name),
                _ => continue,
            };
            problems.push(Problem::error(Some(place(group, member.line, member.column)), message));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use crate::{Kind, OnFailure, Status, check, load};

    const SERVICE: &str = "[service]\nexec = \"x\"\n";

    #[test]
    fn members_are_started_as_their_group_says() {
        let group = "[group]\nmembers = [\"a\", \"b@%i\"]\nstatus = \"stop\"\non_failure = \"keep\"\n";
        let mut loaded = load(&[("vm@.toml", group), ("a.toml", SERVICE), ("b@.toml", SERVICE)]);
        assert!(loaded.instantiate("vm@7"));
        let of = |name: &str| {
            loaded
                .services
                .iter()
                .find(|service| service.name == name)
                .expect("there")
        };
        assert_eq!((of("vm@7").kind, of("vm@7").on_failure), (Kind::Group, OnFailure::Keep));
        assert_eq!((of("a").status, of("b@7").status), (Status::Stop, Status::Stop));
        assert_eq!(loaded.problems, []);
    }

    #[test]
    fn mistakes_have_their_place() {
        let files = [
            ("g.toml", "[group]\nmembers = [\"a\", \"no\", \"h\"]\n"),
            ("h.toml", "[group]\nmembers = [\"a\"]\n"),
            ("i.toml", "[group]\n"),
            ("a.toml", SERVICE),
        ];
        let problems: Vec<String> = check(&files, &[]).iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "error: i.toml:1:1: a group has `members`, the names of at least one service",
                "error: g.toml:2:17: `g` requires `no`, which no service file defines",
                "error: g.toml:2:23: `h` is a group, and cannot be in another",
                "error: h.toml:2:12: `a` is in the group `g` already",
            ]
        );
    }
}

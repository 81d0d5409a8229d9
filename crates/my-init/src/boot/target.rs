//! A boot of less than everything: `my_init.target=NAME` starts that one and what it requires or wants, `my_init.rescue`
//! nothing at all. The rest is there, and can be started by hand.

use std::collections::BTreeSet;

use mos_service::{Service, Status};

/// What is started without being asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Target {
    /// Whatever its own file says.
    #[default]
    Everything,
    /// This service and what it requires or wants, directly or not.
    Only(String),
    /// Nothing.
    Nothing,
}

impl Target {
    /// Changes services so that only these are started. When there is none of that name everything is as it was, and the
    /// result says so.
    pub fn apply<'s>(&self, services: impl Iterator<Item = &'s mut Service>) -> Option<String> {
        let mut services: Vec<&mut Service> = services.collect();
        let chosen = match self {
            Self::Everything => return None,
            Self::Nothing => BTreeSet::new(),
            Self::Only(name) => closure(name, &services),
        };
        if let Self::Only(name) = self
            && chosen.is_empty()
        {
            return Some(format!(
                "my_init.target={name}: there is no such service, so everything is started"
            ));
        }
        for service in &mut services {
            let chosen = chosen.contains(&service.name);
            match service.status {
                Status::Start if !chosen => service.status = Status::Stop,
                // It was named: that is to ask for it.
                Status::Stop | Status::Ignore if self.names(&service.name) => service.status = Status::Start,
                _ => {}
            }
        }
        None
    }

    fn names(&self, name: &str) -> bool {
        matches!(self, Self::Only(only) if only == name)
    }
}

fn closure(name: &str, services: &[&mut Service]) -> BTreeSet<String> {
    let (mut chosen, mut open) = (BTreeSet::new(), vec![name.to_owned()]);
    while let Some(name) = open.pop() {
        let Some(service) = services.iter().find(|service| service.name == name) else {
            continue;
        };
        let needs = service.dependencies.requires.iter().chain(&service.dependencies.wants);
        if chosen.insert(name) {
            open.extend(needs.map(|need| need.name.clone()));
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(target: &Target) -> (Vec<String>, Option<String>) {
        let file = |extra: &str| format!("[service]\nexec = \"x\"\n{extra}");
        let texts = [
            (
                "a.service.toml",
                file("[dependencies]\nrequires = [\"b\"]\nafter = [\"d\"]\n"),
            ),
            ("b.service.toml", file("[dependencies]\nwants = [\"c\", \"a\"]\n")),
            ("c.service.toml", file("")),
            ("d.service.toml", file("")),
            ("e.service.toml", file("status = \"stop\"\n")),
        ];
        let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, &**text)).collect();
        let mut services = mos_service::load(&texts).services;
        let said = target.apply(services.iter_mut());
        let started = services.into_iter().filter(|service| service.status == Status::Start);
        let mut names: Vec<String> = started.map(|service| service.name).collect();
        names.sort();
        (names, said)
    }

    #[test]
    fn a_target_brings_what_it_needs_and_nothing_else() {
        assert_eq!(started(&Target::Only("a".into())).0, ["a", "b", "c"]);
        assert_eq!(started(&Target::Only("e".into())).0, ["e"]);
        assert_eq!(started(&Target::Nothing).0, Vec::<String>::new());
        assert_eq!(
            started(&Target::Everything),
            (["a", "b", "c", "d"].map(str::to_owned).to_vec(), None)
        );
        let (names, said) = started(&Target::Only("x".into()));
        assert_eq!(
            (names.len(), said.as_deref()),
            (
                4,
                Some("my_init.target=x: there is no such service, so everything is started")
            )
        );
    }
}

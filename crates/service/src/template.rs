//! Templates: `web@.service.toml` describes `web@a`, `web@b` and every other instance that somebody names.
//!
//! In all strings of a template `%i` is the instance's argument (`a`), `%n` its whole name (`web@a`), and `%%` a `%`.
//! Arguments are made of what names are made of, so nothing that a shell or a path takes for more than text gets in.

use std::collections::HashSet;

use mos_toml::{Document, Problem};

use crate::check::{Loaded, place};
use crate::parse::{Parsed, parse_as};

/// So many instances are made at most: templates may require instances of each other.
const INSTANCES_MAX: usize = 4096;
/// With this argument a template is tried when it is read.
const SAMPLE: &str = "1";

/// A description of services that differ in their argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its name, which ends in `@`.
    pub name: String,
    file: String,
    text: String,
}

/// `web@` and `a` of `web@a`; `None` for what is no instance's name.
pub fn split_instance(name: &str) -> Option<(&str, &str)> {
    let at = name.find('@').filter(|at| *at > 0 && at + 1 < name.len())?;
    Some(name.split_at(at + 1))
}

impl Template {
    /// The template that a file of this name holds, if it holds one.
    pub(crate) fn of(file: &str, text: &str) -> Option<Self> {
        let name = crate::parse::stem(file);
        let template = (name.ends_with('@') && !crate::is_yaml(file)).then(|| Self {
            name: name.to_owned(),
            file: file.to_owned(),
            text: text.to_owned(),
        });
        template.filter(|template| template.name.len() > 1)
    }

    /// The service of this name, `argument` being what stands behind the `@`.
    pub fn instance(&self, argument: &str) -> Parsed {
        let name = format!("{}{argument}", self.name);
        let document = Document::parse(&*self.file, &*self.text).and_then(|mut document| {
            document.replace_strings(&|text| substitute(text, &name, argument))?;
            Ok(document)
        });
        let mut parsed = parse_as(&self.file, document, Some(&name));
        if let Some(service) = &mut parsed.service {
            service.source = crate::fnv1a(format!("{name}\0{}", self.text).as_bytes());
        }
        parsed
    }

    /// An instance to find out what is wrong with all of them.
    pub(crate) fn sample(&self) -> Parsed {
        self.instance(SAMPLE)
    }
}

fn substitute(text: &str, name: &str, argument: &str) -> Result<String, String> {
    let mut pieces = text.split('%');
    let mut result = pieces.next().unwrap_or_default().to_owned();
    while let Some(piece) = pieces.next() {
        let mut rest = piece.chars();
        match rest.next() {
            Some('i') => result.push_str(argument),
            Some('n') => result.push_str(name),
            // The second of `%%` begins the next piece, which is text.
            None => match pieces.next() {
                Some(next) => {
                    result.push('%');
                    result.push_str(next);
                    continue;
                }
                None => return Err("a `%` at the end stands for nothing; write `%%`".to_owned()),
            },
            Some(other) => {
                return Err(format!(
                    "`%{other}` stands for nothing; there are `%i` (the argument), `%n` (the name) and `%%`"
                ));
            }
        }
        result.push_str(rest.as_str());
    }
    Ok(result)
}

impl Loaded {
    /// Takes in what a template says of an instance, and of those that this one names, unless they are there. False when
    /// there is no such template, or it cannot be used with this argument.
    pub fn instantiate(&mut self, name: &str) -> bool {
        self.complete(vec![name.to_owned()]);
        crate::group::share_status(&mut self.services);
        self.services.iter().any(|service| service.name == name)
    }

    /// Makes the instances that services name.
    pub(crate) fn complete_all(&mut self) {
        if !self.templates.is_empty() {
            let named = self.services.iter().flat_map(crate::Service::pulls_in);
            let named = named.map(str::to_owned).collect();
            self.complete(named);
        }
    }

    fn complete(&mut self, mut wanted: Vec<String>) {
        let mut seen: HashSet<String> = self.services.iter().map(|service| service.name.clone()).collect();
        let mut count = 0;
        while let Some(name) = wanted.pop() {
            let Some((stem, argument)) = split_instance(&name) else {
                continue;
            };
            let template = self.templates.iter().find(|template| template.name == stem);
            let Some(template) = template.filter(|_| !seen.contains(&name)) else {
                continue;
            };
            count += 1;
            let parsed = template.instance(argument);
            seen.insert(name);
            let Some(service) = parsed.service else {
                self.problems.extend(parsed.problems);
                continue;
            };
            if count > INSTANCES_MAX {
                let message =
                    format!("more than {INSTANCES_MAX} instances of templates are required, the rest is left out");
                self.problems.push(Problem::error(Some(place(&service, 1, 1)), message));
                return;
            }
            wanted.extend(service.pulls_in().map(str::to_owned));
            self.services.push(service);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check, load};

    const GETTY: &str = "[service]\nexec = \"getty %i 100%%\"\nenv = { NAME = \"%n\" }\ndir = \"/run/%i\"\n[dependencies]\nrequires = [\"log@%i\"]\n";
    const LOG: &str = "[service]\nexec = \"log %i\"\n";

    #[test]
    fn what_is_named_is_made_and_nothing_else() {
        let base = "[service]\nexec = \"x\"\n[dependencies]\nwants = [\"getty@tty1\"]\n";
        let mut loaded = load(&[("base.toml", base), ("getty@.service.toml", GETTY), ("log@.toml", LOG)]);
        assert_eq!(loaded.problems, []);
        let names = |loaded: &Loaded| {
            loaded
                .services
                .iter()
                .map(|service| service.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&loaded), ["base", "getty@tty1", "log@tty1"]);
        let getty = &loaded.services[1];
        assert_eq!(
            getty.command.as_ref().map(crate::Command::line),
            Some("getty tty1 100%")
        );
        assert_eq!(getty.environment, [("NAME".to_owned(), "getty@tty1".to_owned())]);
        assert_eq!((&*getty.directory, &*getty.file), ("/run/tty1", "getty@.service.toml"));
        assert!(loaded.instantiate("getty@ttyS0"));
        assert_eq!(names(&loaded)[3..], ["getty@ttyS0", "log@ttyS0"]);
        assert_ne!(loaded.services[1].source, loaded.services[3].source);
        for name in ["getty", "getty@", "no@tty1", "getty@a/b", "getty@a@b"] {
            assert!(!loaded.instantiate(name), "{name}");
        }
    }

    #[test]
    fn a_file_of_its_own_counts_more_than_the_template() {
        let own = "[service]\nexec = \"own\"\n";
        let loaded = load(&[("log@.toml", LOG), ("log@a.toml", own)]);
        assert_eq!(
            loaded.services[0].command.as_ref().map(crate::Command::line),
            Some("own")
        );
    }

    #[test]
    fn mistakes_have_their_place() {
        for (text, problem) in [
            (
                "[service]\nexec = \"date +%s\"\n",
                "error: a@.toml:2:8: `%s` stands for nothing",
            ),
            ("[service]\nexec = \"x 5%\"\n", "error: a@.toml:2:8: a `%` at the end"),
            (
                "[service]\nexec = \"x\"\nname = \"b\"\n",
                "error: a@.toml:3:8: a template's instances are named",
            ),
            ("[service]\nexec = \"x\"\nnice = \"1\"\n", "error: a@.toml:3:8: "),
        ] {
            let problems = check(&[("a@.toml", text)], &[]);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].to_string().starts_with(problem), "{problems:?}");
        }
        let unknown = "[service]\nexec = \"x\"\n[dependencies]\nrequires = [\"a@%i\", \"c@%i\", \"d\"]\n";
        let problems = check(&[("b@.toml", unknown), ("a@.toml", LOG)], &[]);
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(
            problems[0].starts_with("error: b@.toml:4:21: `b@1` requires `c@1`"),
            "{problems:?}"
        );
    }

    #[test]
    fn templates_that_require_each_other_without_end_come_to_one() {
        let doubling = "[service]\nexec = \"x\"\n[dependencies]\nrequires = [\"a@%ix\", \"a@%iy\"]\n";
        let loaded = load(&[
            (
                "b.toml",
                "[service]\nexec = \"x\"\n[dependencies]\nrequires = [\"a@1\"]\n",
            ),
            ("a@.toml", doubling),
        ]);
        assert!(loaded.services.len() <= INSTANCES_MAX + 1);
        assert!(
            loaded
                .problems
                .iter()
                .any(|problem| problem.to_string().contains("more than 4096 instances"))
        );
    }
}

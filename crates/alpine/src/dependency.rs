//! Lines of the form `[!]name[@tag][operator version]` (apk-world(5)): what a package needs, provides, conflicts with,
//! replaces, and what a user wants.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::{Checksum, Package, version};

/// Longest name of a package or of what one provides, in bytes. Alpine's own stay far below.
const MAX_NAME: usize = 512;

/// Which versions are wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Constraint {
    /// Any, or none at all.
    Any,
    /// Those that stand in this relation to a version.
    Version {
        /// How.
        relation: Relation,
        /// To which.
        version: String,
    },
    /// `><`: the one package with this checksum.
    Package(Checksum),
}

/// How a version may stand to the one that is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Relation {
    less: bool,
    equal: bool,
    greater: bool,
    /// `~`: the version that is named is the beginning of the other.
    prefix: bool,
}

/// Something that has to be there, or with `!` must not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dependency {
    /// `busybox`, `so:libc.musl-x86_64.so.1`, `cmd:sh`, `/bin/sh`.
    pub name: String,
    /// `!`: a conflict.
    pub conflict: bool,
    /// `@edge`: packages may come from repositories with this tag.
    pub tag: Option<String>,
    /// Which versions.
    pub constraint: Constraint,
}

/// A package as a provider of a name: its own, or one of those that it provides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Provided<'p> {
    /// `None` for a virtual name: the package provides it without a version.
    pub(crate) version: Option<&'p str>,
    /// Of the package.
    pub(crate) checksum: &'p Checksum,
}

impl Relation {
    fn parse(text: &str) -> Option<Self> {
        let prefix = text.contains('~');
        let relation = Self {
            less: text.contains('<'),
            equal: prefix || text.contains('='),
            greater: text.contains('>'),
            prefix,
        };
        ["=", "<", "<=", ">", ">=", "~", "=~", "~=", "<~", ">~"]
            .contains(&text)
            .then_some(relation)
    }

    /// True when `version` stands in this relation to `to`.
    pub fn holds(self, version: &str, to: &str) -> bool {
        let order = match self.prefix {
            true => version::compare_with_prefix(version, to),
            false => version::compare(version, to),
        };
        match order {
            Ordering::Less => self.less,
            Ordering::Equal => self.equal,
            Ordering::Greater => self.greater,
        }
    }
}

impl Dependency {
    /// Any version of a name.
    pub fn any(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            conflict: false,
            tag: None,
            constraint: Constraint::Any,
        }
    }

    /// The version that a package provides when this stands in its `p:`.
    pub(crate) fn version(&self) -> Option<&str> {
        match &self.constraint {
            Constraint::Version { version, .. } => Some(version),
            _ => None,
        }
    }

    /// True when a package under its own name is meant.
    pub(crate) fn meets(&self, package: &Package) -> bool {
        let own = Provided {
            version: Some(&package.version),
            checksum: &package.checksum,
        };
        self.name == package.name && self.means(own)
    }

    /// True when a provider of [`Dependency::name`] is one of those that are meant, be it as needed or as a conflict.
    /// A virtual name has no version: it is meant only where any is.
    pub(crate) fn means(&self, provided: Provided<'_>) -> bool {
        match (&self.constraint, provided.version) {
            (Constraint::Any, _) => true,
            (Constraint::Package(checksum), _) => checksum == provided.checksum,
            (Constraint::Version { .. }, None) => false,
            (Constraint::Version { relation, version }, Some(found)) => relation.holds(found, version),
        }
    }
}

impl FromStr for Dependency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (conflict, rest) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let is_operator = |byte: char| matches!(byte, '<' | '>' | '=' | '~');
        let (named, constraint) = match rest.find(is_operator) {
            Some(at) => (&rest[..at], constraint(text, &rest[at..])?),
            None => (rest, Constraint::Any),
        };
        let (name, tag) = match named.split_once('@') {
            Some((name, tag)) => (name, Some(tag)),
            None => (named, None),
        };
        let sound = |word: &str| !word.is_empty() && word.len() <= MAX_NAME && word.bytes().all(is_name_byte);
        if !sound(name) || !tag.is_none_or(sound) {
            return Err(format!(
                "`{text}` is no dependency: `[!]name[@tag][= < <= > >= ~ version]` was expected"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            conflict,
            tag: tag.map(str::to_owned),
            constraint,
        })
    }
}

/// What names consist of: everything that is seen, but what divides the parts of a dependency.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"!@<>=~".contains(&byte) || byte >= 0x80
}

fn constraint(text: &str, rest: &str) -> Result<Constraint, String> {
    let end = rest.find(|byte| !matches!(byte, '<' | '>' | '=' | '~'));
    let (operator, version) = rest.split_at(end.unwrap_or(rest.len()));
    if operator == "><" {
        return version.parse().map(Constraint::Package);
    }
    let relation = Relation::parse(operator).ok_or_else(|| format!("`{text}`: there is no operator `{operator}`"))?;
    if !version::is_valid(version) {
        return Err(format!("`{text}`: `{version}` is no version"));
    }
    Ok(Constraint::Version {
        relation,
        version: version.to_owned(),
    })
}

/// A list with blanks between, as the fields `D:`, `p:`, `i:` and `r:` have it.
pub(crate) fn parse_list(text: &str) -> Result<Vec<Dependency>, String> {
    text.split_ascii_whitespace().map(str::parse).collect()
}

/// The text of [`parse_list`], without tags.
pub(crate) fn show_list(list: &[Dependency]) -> String {
    let shown: Vec<String> = list.iter().map(|one| format!("{one:#}")).collect();
    shown.join(" ")
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signs = [
            (self.less, "<"),
            (self.greater, ">"),
            (self.prefix, "~"),
            (self.equal && !self.prefix, "="),
        ];
        signs
            .iter()
            .filter(|sign| sign.0)
            .try_for_each(|sign| f.write_str(sign.1))
    }
}

/// With `{:#}`, without the tag.
impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.conflict {
            f.write_str("!")?;
        }
        f.write_str(&self.name)?;
        if let Some(tag) = self.tag.as_ref().filter(|_| !f.alternate()) {
            write!(f, "@{tag}")?;
        }
        match &self.constraint {
            Constraint::Any => Ok(()),
            Constraint::Version { relation, version } => write!(f, "{relation}{version}"),
            Constraint::Package(checksum) => write!(f, "><{checksum}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn means(text: &str, version: Option<&str>) -> bool {
        let checksum = Checksum::sha1(b"");
        let dependency: Dependency = text.parse().unwrap();
        dependency.means(Provided {
            version,
            checksum: &checksum,
        })
    }

    #[test]
    fn operators() {
        for (text, yes, no) in [
            ("a", "1", ""),
            ("a=1.0", "1.0", "1.0-r1"),
            ("a<2", "1.9", "2"),
            ("a<=2", "2", "2.1"),
            ("a>2", "2-r1", "2"),
            ("a>=2", "2", "2_rc1"),
            ("a~1.2", "1.2.9-r3", "1.20"),
            ("a=~1.2", "1.2", "1.3"),
            ("a>~1.2", "1.3", "1.1"),
            ("a<~1.2", "1.2.7", "1.3"),
            ("!a<2", "1", "2"),
        ] {
            assert!(means(text, Some(yes)), "{text} {yes}");
            assert!(no.is_empty() || !means(text, Some(no)), "{text} {no}");
        }
        assert!(means("a", None));
        assert!(!means("a>1", None));
        assert!(means("a><Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=", Some("7")));
        assert!(!means("a><Q1qKcZ+j23xssAXmgQhkOO8dHnbWw=", Some("7")));
    }

    #[test]
    fn shown_as_read() {
        for text in [
            "a",
            "!a",
            "a@edge",
            "a@edge>=1",
            "so:libc.musl-x86_64.so.1",
            "/bin/sh",
            "a<~1",
            "c++~1.2",
            "py3.12:x=1",
        ] {
            assert_eq!(text.parse::<Dependency>().unwrap().to_string(), text);
        }
        assert_eq!(
            "a@edge>=1".parse::<Dependency>().map(|one| format!("{one:#}")).unwrap(),
            "a>=1"
        );
        assert_eq!("a=~1".parse::<Dependency>().unwrap().to_string(), "a~1");
    }

    #[test]
    fn what_is_no_dependency() {
        for text in [
            "", "!", "=1", "a=", "a==1", "a<>1", "a>=x", "a b", "a@", "@x", "a><Q1x", "a\n", "a@b@c",
        ] {
            assert!(text.parse::<Dependency>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer(text in "[!a-c@<>=~.0-9_é-]{0,12}") {
            if let Ok(read) = text.parse::<Dependency>() {
                prop_assert_eq!(read.to_string().parse::<Dependency>().unwrap(), read);
            }
        }
    }
}

//! Where packages come from: `URL/ARCHITECTURE/APKINDEX.tar.gz` and the packages beside it.

use std::fmt;
use std::str::FromStr;

use crate::AlpineError;

/// A line of `/etc/apk/repositories` (apk-repositories(5)).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    /// `edge` of `@edge`: only what is wanted with this tag comes from here, and what it needs.
    pub tag: Option<String>,
    /// `http(s)://…`, or `dir:///…` for a directory; no slash at the end.
    pub url: String,
}

impl FromStr for Repository {
    type Err = AlpineError;

    fn from_str(line: &str) -> Result<Self, AlpineError> {
        let wrong = || AlpineError::Repository(line.to_owned());
        let mut words = line.split_ascii_whitespace();
        let mut word = words.next().ok_or_else(wrong)?;
        let tag = word.strip_prefix('@').map(str::to_owned);
        if tag.is_some() {
            word = words.next().ok_or_else(wrong)?;
        }
        let url = match word.strip_prefix('/') {
            Some(path) => format!("dir:///{path}"),
            None => word.to_owned(),
        };
        let url = url.trim_end_matches('/').to_owned();
        let known = ["http://", "https://", "dir:///"]
            .iter()
            .any(|scheme| url.len() > scheme.len() && url.starts_with(scheme));
        let sound = known && words.next().is_none() && tag.as_ref().is_none_or(|tag| !tag.is_empty());
        sound.then_some(Self { tag, url }).ok_or_else(wrong)
    }
}

/// As apk reads it: directories without `dir://`.
impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.tag {
            write!(f, "@{tag} ")?;
        }
        f.write_str(self.url.strip_prefix("dir://").unwrap_or(&self.url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_repositories() {
        for (line, tag, url) in [
            ("https://host/v3.22/main/", None, "https://host/v3.22/main"),
            ("@edge http://host/edge/main", Some("edge"), "http://host/edge/main"),
            ("/srv/packages/main", None, "dir:///srv/packages/main"),
            ("dir:///srv/packages/main", None, "dir:///srv/packages/main"),
        ] {
            let repository: Repository = line.parse().unwrap();
            assert_eq!((repository.tag.as_deref(), repository.url.as_str()), (tag, url));
            assert_eq!(repository.to_string().parse::<Repository>().unwrap(), repository);
        }
        for line in [
            "",
            "@edge",
            "@ http://host/x",
            "ftp://host/x",
            "http://",
            "relative",
            "http://host/a b",
        ] {
            assert!(line.parse::<Repository>().is_err(), "{line}");
        }
    }
}

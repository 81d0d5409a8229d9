//! Where a component comes from, and which state of it.

use mos_toml::{Item, Position, Problem, Problems, Table};
use serde::Serialize;

use crate::names::{is_hex, is_inner_path};

/// Hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;
/// Hexadecimal digits of a git commit.
const COMMIT_DIGITS: usize = 40;

/// Stands for the version in the URL of a release.
pub(crate) const VERSION: &str = "{version}";

/// Where a component comes from, without saying which state of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A crate of the registry that the user's cargo is configured for.
    Crate {
        /// The crate's name.
        name: String,
    },
    /// A git repository.
    Git {
        /// Any URL that git understands, or the path of a repository or bundle relative to the config repository.
        url: Item<String>,
        /// The folder in it that is built; the whole when absent.
        subdirectory: Option<String>,
    },
    /// A file that somebody published: a program, or an archive with programs or with their source.
    Release {
        /// `http(s)://…`, or the path of a file in the config repository; `{version}` stands for the version.
        url: Item<String>,
        /// What a file that is no archive is called here; as in the URL when absent.
        rename: Option<String>,
    },
    /// A container image in a registry, of which programs are taken.
    Oci {
        /// `HOST[:PORT]/REPOSITORY`.
        image: Item<String>,
    },
    /// A folder beside or inside the config repository.
    Path {
        /// The folder, relative to the config repository.
        path: Item<String>,
    },
    /// The programs for nodes that come with MOS.
    Mos,
}

/// Which state of a component is wanted: in its own file as the default, in an environment instead of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// A crate's version or requirement, a release's version, an image's tag; a label for the others.
    pub version: Option<Item<String>>,
    /// A branch: follows whatever is pushed to it.
    pub branch: Option<Item<String>>,
    /// A tag.
    pub tag: Option<Item<String>>,
    /// A commit, 40 hexadecimal digits.
    pub commit: Option<Item<String>>,
    /// SHA-256 of the crate's archive, or of the published file, or of the image's manifest.
    pub sha256: Option<Item<String>>,
}

/// A component's source as an environment wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Source {
    /// A crate of the registry that the user's cargo is configured for.
    Crate {
        /// The crate's name.
        name: String,
        /// An exact version, or a requirement in cargo's grammar that the lock file makes exact.
        requirement: String,
        /// SHA-256 of the archive, in hex, when the configuration names it.
        sha256: Option<String>,
    },
    /// A git repository.
    Git {
        /// Any URL that git understands, or a path relative to the config repository.
        url: String,
        /// The branch to follow, or on which the commit is found.
        branch: Option<String>,
        /// The tag.
        tag: Option<String>,
        /// The commit, which decides when it is there.
        commit: Option<String>,
        /// The folder in it that is built.
        subdirectory: Option<String>,
    },
    /// A published file.
    Release {
        /// `http(s)://…`, or the path of a file in the config repository.
        url: String,
        /// The version, which stands in the URL as a rule.
        version: String,
        /// SHA-256 of the file, in hex, when the configuration names it.
        sha256: Option<String>,
        /// What a file that is no archive is called here.
        rename: Option<String>,
    },
    /// A container image.
    Oci {
        /// `HOST[:PORT]/REPOSITORY`.
        image: String,
        /// The tag.
        version: String,
        /// SHA-256 of the manifest, in hex, when the configuration names it.
        sha256: Option<String>,
    },
    /// A folder.
    Path {
        /// The folder, relative to the config repository.
        path: String,
    },
    /// The programs for nodes that come with MOS.
    Mos,
}

impl Request {
    /// Reads the keys of a request from the table that holds them.
    pub(crate) fn read(table: &Table<'_>) -> Self {
        let request = Self {
            version: table.string_item("version"),
            branch: table.string_item("branch"),
            tag: table.string_item("tag"),
            commit: table.string_item("commit"),
            sha256: table.string_item("sha256"),
        };
        let wrong = |item: &Option<Item<String>>, digits| item.as_ref().is_some_and(|i| !is_hex(&i.value, digits));
        if wrong(&request.commit, COMMIT_DIGITS) {
            table.complain("commit", "`commit` is not 40 lower-case hexadecimal digits");
        }
        if wrong(&request.sha256, SHA256_DIGITS) {
            table.complain("sha256", "`sha256` is not 64 lower-case hexadecimal digits");
        }
        for (key, item) in [("branch", &request.branch), ("tag", &request.tag)] {
            if item.as_ref().is_some_and(|item| !is_reference(&item.value)) {
                table.complain(key, format!("`{key}` is not a name that git allows"));
            }
        }
        if request
            .version
            .as_ref()
            .is_some_and(|item| !is_requirement(&item.value))
        {
            table.complain(
                "version",
                "`version` is not a version such as 2.44.1, or a requirement such as 2.44",
            );
        }
        request
    }

    /// True when nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Complains about keys that do not fit the origin, and about missing ones.
    pub(crate) fn check(&self, origin: &Origin, component: &str, position: &Position, problems: &Problems) {
        let references = [("branch", &self.branch), ("tag", &self.tag), ("commit", &self.commit)];
        let digest = [("sha256", &self.sha256)];
        let (kind, useless) = match origin {
            Origin::Crate { .. } => ("crate", references.to_vec()),
            Origin::Git { .. } => ("git", digest.to_vec()),
            Origin::Release { .. } => ("release", references.to_vec()),
            Origin::Oci { .. } => ("oci", references.to_vec()),
            Origin::Path { .. } => ("path", [references.as_slice(), &digest].concat()),
            Origin::Mos => ("mos", [references.as_slice(), &digest].concat()),
        };
        for (key, item) in useless {
            if let Some(item) = item {
                let message = format!("`{key}` has no meaning for `{component}`, whose source is of kind `{kind}`");
                problems.push(Problem::error(Some(item.position.clone()), message));
            }
        }
        self.check_state(origin, component, position, problems);
    }

    fn check_state(&self, origin: &Origin, component: &str, position: &Position, problems: &Problems) {
        match origin {
            Origin::Crate { .. } | Origin::Release { .. } | Origin::Oci { .. } if self.version.is_none() => {
                let problem = Problem::error(Some(position.clone()), format!("`{component}` has no `version`"));
                problems.push(problem.with_hint("write version = \"…\" here or in the [source] of the component"));
            }
            Origin::Git { .. } if self.branch.is_none() && self.tag.is_none() && self.commit.is_none() => {
                let message = format!("`{component}` has no `branch`, `tag` or `commit`");
                let hint = "write one of them here or in the [source] of the component";
                problems.push(Problem::error(Some(position.clone()), message).with_hint(hint));
            }
            _ => {}
        }
        if let (Some(branch), Some(_)) = (&self.branch, &self.tag) {
            let message = format!("`{component}` has both a `branch` and a `tag`");
            problems.push(Problem::error(Some(branch.position.clone()), message).with_hint("keep one of them"));
        }
    }
}

impl Source {
    /// Joins an origin and a request; `None` when the request lacks what the origin needs.
    pub(crate) fn new(origin: &Origin, request: &Request) -> Option<Self> {
        let value = |item: &Option<Item<String>>| item.as_ref().map(|item| item.value.clone());
        Some(match origin {
            Origin::Crate { name } => Self::Crate {
                name: name.clone(),
                requirement: value(&request.version)?,
                sha256: value(&request.sha256),
            },
            Origin::Git { url, subdirectory } => Self::Git {
                url: url.value.clone(),
                branch: value(&request.branch),
                tag: value(&request.tag),
                commit: value(&request.commit),
                subdirectory: subdirectory.clone(),
            },
            Origin::Release { url, rename } => {
                let version = value(&request.version)?;
                Self::Release {
                    url: url.value.replace(VERSION, &version),
                    version,
                    sha256: value(&request.sha256),
                    rename: rename.clone(),
                }
            }
            Origin::Oci { image } => Self::Oci {
                image: image.value.clone(),
                version: value(&request.version)?,
                sha256: value(&request.sha256),
            },
            Origin::Path { path } => Self::Path {
                path: path.value.clone(),
            },
            Origin::Mos => Self::Mos,
        })
    }

    /// `crate`, `git`, `release`, `oci`, `path` or `mos`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Crate { .. } => "crate",
            Self::Git { .. } => "git",
            Self::Release { .. } => "release",
            Self::Oci { .. } => "oci",
            Self::Path { .. } => "path",
            Self::Mos => "mos",
        }
    }

    /// The crate's name, the URL or the path; words for what comes with MOS.
    pub fn location(&self) -> &str {
        match self {
            Self::Crate { name, .. } => name,
            Self::Git { url, .. } | Self::Release { url, .. } => url,
            Self::Oci { image, .. } => image,
            Self::Path { path } => path,
            Self::Mos => "programs for nodes",
        }
    }

    /// Which state is asked for, in one line: what a lock entry must agree with to be used.
    pub fn reference(&self) -> String {
        match self {
            Self::Crate { requirement, .. } => requirement.clone(),
            Self::Release { version, .. } | Self::Oci { version, .. } => version.clone(),
            Self::Git {
                commit: Some(commit), ..
            } => format!("commit {commit}"),
            Self::Git { tag: Some(tag), .. } => format!("tag {tag}"),
            Self::Git {
                branch: Some(branch), ..
            } => format!("branch {branch}"),
            Self::Git { .. } => "HEAD".to_owned(),
            Self::Path { .. } | Self::Mos => String::new(),
        }
    }
}

/// The version without a leading `=`, when the text names exactly one: three numbers, then optionally a pre-release
/// and build metadata (Semantic Versioning 2.0.0).
pub fn exact_version(text: &str) -> Option<&str> {
    let version = text.strip_prefix('=').unwrap_or(text).trim();
    let end = version.find(['-', '+']).unwrap_or(version.len());
    let (numbers, rest) = version.split_at(end);
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let plain = rest.chars().all(|c| c.is_ascii_alphanumeric() || "-+.".contains(c));
    (numbers.split('.').count() == 3 && numbers.split('.').all(number) && plain).then_some(version)
}

/// True for an exact version with a pre-release part, such as 3.0.0-beta.2.
pub(crate) fn is_prerelease(version: &str) -> bool {
    version.split('+').next().is_some_and(|version| version.contains('-'))
}

/// Cargo says precisely what is wrong with a requirement; this only keeps out what could mean something else in a
/// manifest or on a command line.
fn is_requirement(text: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || " .,<>=~^*+-_".contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(known)
}

/// The rules of `git check-ref-format`, for one branch or tag; a leading `-` would be an option.
fn is_reference(text: &str) -> bool {
    let forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let part_ok = |part: &str| !part.starts_with('.') && !part.ends_with(".lock");
    is_inner_path(text)
        && !text.starts_with('-')
        && !text.ends_with('.')
        && !text.contains("..")
        && !text.contains("@{")
        && text != "@"
        && !text.contains(forbidden)
        && text.split('/').all(part_ok)
}

/// Where a git URL points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GitUrl {
    /// A path relative to the config repository.
    Relative,
    /// Anything with a host, or an absolute path.
    Elsewhere,
    /// Carries a password: `https://user:password@host/`.
    WithPassword,
    /// Nothing git should be given.
    Bad,
}

/// Sorts a URL as git would read it (git-clone(1), "Git URLs").
pub(crate) fn classify_url(url: &str) -> GitUrl {
    if url.is_empty() || url.starts_with('-') || url.contains("::") || url.contains(char::is_control) {
        return GitUrl::Bad;
    }
    if let Some((_, rest)) = url.split_once("://") {
        let authority = rest.split('/').next().unwrap_or_default();
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        return match user {
            Some(user) if user.contains(':') => GitUrl::WithPassword,
            _ => GitUrl::Elsewhere,
        };
    }
    let first = url.split('/').next().unwrap_or_default();
    if url.starts_with('/') || first.contains(':') {
        GitUrl::Elsewhere
    } else {
        GitUrl::Relative
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_versions() {
        assert_eq!(exact_version("2.44.1"), Some("2.44.1"));
        assert_eq!(exact_version("=2.44.1"), Some("2.44.1"));
        assert_eq!(exact_version("3.0.0-beta.2+x"), Some("3.0.0-beta.2+x"));
        for vague in ["2", "2.44", "^2.44.1", "2.44.*", "", "1.2.3.4", "1.2.x"] {
            assert_eq!(exact_version(vague), None, "{vague}");
        }
        assert!(is_prerelease("3.0.0-beta.2"));
        assert!(!is_prerelease("3.0.0+build-7"));
    }

    #[test]
    fn urls_are_sorted_as_git_reads_them() {
        assert_eq!(classify_url("repos/metrics.bundle"), GitUrl::Relative);
        assert_eq!(classify_url("https://example.org/a.git"), GitUrl::Elsewhere);
        assert_eq!(classify_url("ssh://git@example.org/a.git"), GitUrl::Elsewhere);
        assert_eq!(classify_url("git@example.org:a.git"), GitUrl::Elsewhere);
        assert_eq!(classify_url("/srv/a.git"), GitUrl::Elsewhere);
        assert_eq!(classify_url("https://me:secret@example.org/a"), GitUrl::WithPassword);
        assert_eq!(classify_url("ext::sh -c id"), GitUrl::Bad);
        assert_eq!(classify_url("--upload-pack=id"), GitUrl::Bad);
    }

    #[test]
    fn references_cannot_be_options_or_expressions() {
        for good in ["main", "v1.2.3", "feature/x-1"] {
            assert!(is_reference(good), "{good}");
        }
        for bad in ["-x", "a..b", "a b", "a^", "main:evil", "x.lock", ".x", "@", ""] {
            assert!(!is_reference(bad), "{bad}");
        }
    }
}

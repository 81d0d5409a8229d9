//! Addresses of artefacts. Pure.

use std::fmt;

use crate::{OciError, Sha256};

/// What the address begins with.
pub(crate) const SCHEME: &str = "oci://";
/// The tag when none is given, as every client has it.
const DEFAULT_TAG: &str = "latest";
/// Longest tag (OCI distribution specification, "Pulling manifests").
const MAX_TAG: usize = 128;
/// Longest repository name together with the host, as most registries have it (the same, "Pull").
const MAX_NAME: usize = 255;

/// `oci://HOST[:PORT]/REPOSITORY[:TAG|@sha256:DIGEST]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `host` or `host:port`.
    pub registry: String,
    /// The repository: lower-case names with slashes between them.
    pub repository: String,
    /// Which manifest.
    pub target: Target,
}

/// Which manifest of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one that has this name now.
    Tag(String),
    /// The one with this digest, for ever.
    Digest(Sha256),
}

impl Reference {
    /// Parses an address.
    ///
    /// # Errors
    /// [`OciError::BadReference`].
    pub fn parse(text: &str) -> Result<Self, OciError> {
        parse(text).map_err(|reason| OciError::BadReference {
            text: redact(text),
            reason: reason.into(),
        })
    }

    /// True for a registry on this machine, which is spoken to without TLS.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.registry)
    }
}

/// The part of an address before the port, brackets of IPv6 removed, and whether it is this machine's own.
fn is_loopback(registry: &str) -> bool {
    if let Some(rest) = registry.strip_prefix('[') {
        let host = rest.split(']').next().unwrap_or_default();
        return host
            .parse::<std::net::Ipv6Addr>()
            .is_ok_and(|address| address.is_loopback());
    }
    let host = registry.split(':').next().unwrap_or_default();
    host == "localhost"
        || host
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    let rest = text.strip_prefix(SCHEME).ok_or("it does not begin with oci://")?;
    let (registry, path) = rest.split_once('/').ok_or("the repository is missing")?;
    if registry.contains('@') {
        return Err("names and passwords do not belong in it (use `docker login` or `podman login`)");
    }
    if !good_host(registry) {
        return Err("the host is not one");
    }
    let (repository, target) = if let Some((repository, digest)) = path.split_once('@') {
        let digest = digest
            .parse()
            .map_err(|_| "the digest is not sha256: and 64 hexadecimal digits")?;
        // A tag before a digest says nothing more.
        let repository = repository.split_once(':').map_or(repository, |(name, _)| name);
        (repository, Target::Digest(digest))
    } else {
        let (repository, tag) = path.split_once(':').unwrap_or((path, DEFAULT_TAG));
        if !good_tag(tag) {
            return Err("the tag may have letters, digits, and `_.-` behind the first character");
        }
        (repository, Target::Tag(tag.to_owned()))
    };
    if !repository.split('/').all(good_component) || registry.len() + repository.len() > MAX_NAME {
        return Err("the repository may have lower-case letters, digits, and single separators `._-/` between them");
    }
    Ok(Reference {
        registry: registry.to_owned(),
        repository: repository.to_owned(),
        target,
    })
}

fn good_host(registry: &str) -> bool {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (registry, None),
    };
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
    };
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let good = bracketed.map_or_else(|| plain(host), |address| address.parse::<std::net::Ipv6Addr>().is_ok());
    good && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn good_component(component: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [component.bytes().next(), component.bytes().last()];
    let separators = component.split(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    ends.iter().all(|end| end.is_some_and(word))
        && separators
            .into_iter()
            .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
fn good_tag(tag: &str) -> bool {
    let first = tag
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let rest = tag
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    first && rest && tag.len() <= MAX_TAG
}

/// The text without what may be a password: everything before the last `@` of the host.
fn redact(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.escape_debug().to_string();
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host
        .rsplit_once('@')
        .map_or_else(|| host.to_owned(), |(_, host)| format!("***@{host}"));
    format!("{scheme}://{host}/{path}").escape_debug().to_string()
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = match self.target {
            Target::Tag(_) => ':',
            Target::Digest(_) => '@',
        };
        write!(
            f,
            "{SCHEME}{}/{}{separator}{}",
            self.registry, self.repository, self.target
        )
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_of_the_grammar() {
        let digest = Sha256::of(b"{}");
        for (text, registry, repository, target) in [
            ("oci://h/a", "h", "a", Target::Tag("latest".into())),
            (
                "oci://h:5000/a/b-c:v1.2_x",
                "h:5000",
                "a/b-c",
                Target::Tag("v1.2_x".into()),
            ),
            (
                "oci://[::1]:5000/a__b/c--d:1",
                "[::1]:5000",
                "a__b/c--d",
                Target::Tag("1".into()),
            ),
            (&format!("oci://h/a@{digest}"), "h", "a", Target::Digest(digest)),
            (&format!("oci://h/a:tag@{digest}"), "h", "a", Target::Digest(digest)),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(
                (reference.registry.as_str(), reference.repository.as_str()),
                (registry, repository)
            );
            assert_eq!(reference.target, target);
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (text, reason) in [
            ("h/a", "begin with oci://"),
            ("oci://h", "repository is missing"),
            ("oci://h/", "repository may have"),
            ("oci://h/A", "repository may have"),
            ("oci://h/a..b", "repository may have"),
            ("oci://h/a/../b", "repository may have"),
            ("oci://h/-a", "repository may have"),
            ("oci://h/a:", "tag may have"),
            ("oci://h/a:.b", "tag may have"),
            ("oci://h/a@sha256:12", "digest"),
            ("oci:///a", "host"),
            ("oci://h:99999/a", "host"),
            ("oci://me:secret@h/a", "do not belong"),
        ] {
            let error = Reference::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn only_this_machine_is_spoken_to_without_tls() {
        for (registry, loopback) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.8.9.1:5000", true),
            ("[::1]:5000", true),
            ("127.0.0.1.example.org", false),
            ("localhost.example.org", false),
            ("10.0.0.1:5000", false),
            ("[2001:db8::1]", false),
        ] {
            assert_eq!(is_loopback(registry), loopback, "{registry}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(text in "oci://[a-z]{1,5}(:[1-9][0-9]{0,3})?/[a-z0-9]{1,9}(/[a-z0-9]{1,4})?:[a-zA-Z0-9_][a-z.-]{0,9}") {
            prop_assert_eq!(Reference::parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn nothing_panics(text in "\\PC*") {
            let _ = Reference::parse(&text);
            let _ = Reference::parse(&format!("oci://{text}"));
        }
    }
}

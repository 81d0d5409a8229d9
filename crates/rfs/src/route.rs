//! Routes: which store has the blocks whose id begins with some byte.
//!
//! `[00-7f=]URL`: the first byte of the id, inclusive, in hex; without it all ids. Several routes may cover an id:
//! replicas. URLs are those of `mos-store`; `s3s` may also be written `s3s+tls` or `s3+tls`.

use std::fmt;

use mos_store::{Address, StoreError};

use crate::block::Hash;

/// What a route asks for that we do not have, by scheme, with what to do instead.
const UNSUPPORTED: [(&str, &str); 2] = [
    (
        "zdb",
        "zdb stores are not supported: copy the blocks to a directory or bucket (`rfs clone`), and give that one as the store",
    ),
    (
        "server",
        "rfs servers are not supported: copy the blocks to a directory or bucket (`rfs clone`), and give that one as the store",
    ),
];
/// Older spellings of `s3s`.
const TLS_SPELLINGS: [&str; 2] = ["s3s+tls", "s3+tls"];

/// One row of the table `route`. Shown without secrets; [`Route::url`] has them.
#[derive(Clone, PartialEq, Eq)]
pub struct Route {
    /// Lowest first byte of an id.
    pub start: u8,
    /// Highest first byte of an id, inclusive.
    pub end: u8,
    /// The store.
    pub url: String,
}

/// Why a text is no route, or a route leads nowhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The range is wrong.
    #[error("{0}: a range is written 00-7f=URL, two hexadecimal digits each, the lower one first")]
    Range(String),
    /// A kind of store that rfs has and we do not.
    #[error("{route}: {hint}")]
    Unsupported {
        /// The route, without secrets.
        route: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// The URL is wrong, or the store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Blocks that begin so have no store.
    #[error("no store takes blocks that begin with {0:02x}: give stores whose ranges cover 00 to ff")]
    Gap(u8),
}

impl Route {
    /// A store for all ids.
    pub fn everywhere(url: impl Into<String>) -> Self {
        Self {
            start: 0,
            end: u8::MAX,
            url: url.into(),
        }
    }

    /// Parses `[00-7f=]URL`, and checks that the URL is one of a store.
    ///
    /// # Errors
    /// [`RouteError`], without secrets.
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        let (start, end, url) = match split_range(text) {
            Some((range, url)) => {
                let (start, end) = parse_range(range).ok_or_else(|| RouteError::Range(range.to_owned()))?;
                (start, end, url)
            }
            None => (0, u8::MAX, text),
        };
        let route = Self {
            start,
            end,
            url: url.to_owned(),
        };
        route.address().map(|_| route)
    }

    /// Whether the store has blocks of this id.
    pub fn covers(&self, id: &Hash) -> bool {
        (self.start..=self.end).contains(&id[0])
    }

    /// The same without the password of the URL; the user's name stays, as rfs does it.
    pub fn without_password(&self) -> Self {
        let url = match credentials(&self.url) {
            Some((before, credentials, after)) => {
                let user = credentials.split(':').next().unwrap_or_default();
                let at = if user.is_empty() { "" } else { "@" };
                format!("{before}{user}{at}{after}")
            }
            None => self.url.clone(),
        };
        Self { url, ..*self }
    }

    /// Whether the URL holds a password, which everybody who gets the flist can read.
    pub fn has_password(&self) -> bool {
        *self != self.without_password()
    }

    /// Whether its credentials are percent-encoded, which rfs takes as they stand.
    pub(crate) fn needs_decoding(&self) -> bool {
        credentials(&self.url).is_some_and(|(_, credentials, _)| credentials.contains('%'))
    }

    /// The store's address, as `mos-store` knows it.
    pub(crate) fn address(&self) -> Result<Address, RouteError> {
        let scheme = self.scheme();
        if let Some((_, hint)) = UNSUPPORTED.iter().find(|(name, _)| *name == scheme) {
            return Err(RouteError::Unsupported {
                route: self.to_string(),
                hint,
            });
        }
        Ok(Address::parse(&self.openable())?)
    }

    /// The URL as `mos-store` takes it: `s3s` in its usual spelling, and no user whose password was stripped.
    pub(crate) fn openable(&self) -> String {
        let url = match TLS_SPELLINGS.contains(&self.scheme()) {
            true => format!("s3s{}", &self.url[self.scheme().len()..]),
            false => self.url.clone(),
        };
        match credentials(&url) {
            Some((before, user, after)) if !user.contains(':') => format!("{before}{after}"),
            _ => url,
        }
    }

    /// Whether objects lie flat in a bucket, rather than in folders named by the first byte.
    pub(crate) fn is_bucket(&self) -> bool {
        self.scheme().starts_with("s3")
    }

    fn scheme(&self) -> &str {
        self.url.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    fn masked(&self) -> String {
        match credentials(&self.url) {
            Some((before, credentials, after)) => match credentials.split_once(':') {
                Some(_) => format!("{before}***:***@{after}"),
                None => format!("{before}***@{after}"),
            },
            None => self.url.clone(),
        }
    }
}

/// `00-7f=URL`; a range of all ids is left out. Without secrets.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if (self.start, self.end) != (0, u8::MAX) {
            write!(f, "{:02x}-{:02x}=", self.start, self.end)?;
        }
        f.write_str(&self.masked())
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Route({self})")
    }
}

/// The range and the URL behind it; `None` when the text begins with a URL.
fn split_range(text: &str) -> Option<(&str, &str)> {
    let (range, url) = text.split_once('=')?;
    (!range.contains("://")).then_some((range, url))
}

fn parse_range(text: &str) -> Option<(u8, u8)> {
    let (start, end) = text.split_once('-')?;
    let byte = |digits: &str| {
        (digits.len() == 2)
            .then(|| hex::decode(digits).ok())?
            .map(|bytes| bytes[0])
    };
    let (start, end) = (byte(start)?, byte(end)?);
    (start <= end).then_some((start, end))
}

/// Splits `scheme://user:password@host/…` before and behind the credentials and the `@`. Secrets may hold slashes, so
/// they end at the last `@`; paths of directories and web servers may hold one too, so only buckets and databases have
/// credentials.
fn credentials(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let rest = match scheme {
        "dir" => return None,
        "http" | "https" => &rest[..rest.find('/').unwrap_or(rest.len())],
        _ => rest,
    };
    let at = scheme.len() + "://".len() + rest.rfind('@')?;
    let start = scheme.len() + "://".len();
    Some((&url[..start], &url[start..at], &url[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_of_the_grammar() {
        let all = Route::parse("dir:///srv/a=b@c").unwrap();
        assert_eq!((all.start, all.end, all.url.as_str()), (0, 255, "dir:///srv/a=b@c"));
        let half = Route::parse("00-7f=http://h:8080/blocks").unwrap();
        assert_eq!(
            (half.start, half.end, half.url.as_str()),
            (0, 0x7f, "http://h:8080/blocks")
        );
        assert!(half.covers(&[0x7f; 32]) && !half.covers(&[0x80; 32]));
        for scheme in ["s3", "s3s", "s3s+tls", "s3+tls"] {
            let route = Route::parse(&format!("80-ff={scheme}://K:S@h:9000/bucket?region=garage")).unwrap();
            let Address::S3(address) = route.address().unwrap() else {
                panic!("{route}")
            };
            assert_eq!(
                (address.tls, address.region.as_str()),
                (scheme != "s3", "garage"),
                "{scheme}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_a_route_is_said() {
        for (text, reason) in [
            ("7f-00=dir:///a", "lower one first"),
            ("0-7f=dir:///a", "two hexadecimal digits"),
            ("00-7g=dir:///a", "two hexadecimal digits"),
            ("/srv/a", "write dir:///path"),
            ("zdb://hub:9900/ns", "rfs clone"),
            ("server://hub", "rfs clone"),
            ("ftp://h/x", "a store is"),
        ] {
            let error = Route::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn passwords_are_stripped_and_the_user_stays() {
        for (url, stripped) in [
            ("s3://KEY:se/cr@et@h:9000/b?region=r", "s3://KEY@h:9000/b?region=r"),
            ("s3://KEY@h:9000/b", "s3://KEY@h:9000/b"),
            ("https://u:p@h/x@y", "https://u@h/x@y"),
            ("https://:p@h/x", "https://h/x"),
            ("zdb://:p@h:9900/ns", "zdb://h:9900/ns"),
            ("dir:///a:b@c", "dir:///a:b@c"),
            ("http://h/a:b@c", "http://h/a:b@c"),
        ] {
            let route = Route::everywhere(url);
            assert_eq!(route.without_password().url, stripped);
            assert_eq!(route.has_password(), url != stripped);
        }
        assert_eq!(Route::everywhere("s3://KEY@h:9000/b").openable(), "s3://h:9000/b");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_and_secrets_are_never_shown(text in ".*", secret in "[a-z]{12}") {
            let _ = Route::parse(&text);
            let route = Route::everywhere(format!("s3://K:{secret}{text}@h/b"));
            let shown = format!("{route} {route:?} {:?}", route.without_password());
            prop_assert!(!shown.contains(&secret));
            if let Err(error) = route.address() {
                prop_assert!(!error.to_string().contains(&secret));
            }
        }
    }
}

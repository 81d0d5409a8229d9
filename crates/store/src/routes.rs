//! The URLs of several stores that together hold all objects. Pure: nothing is opened.
//!
//! ```text
//! [00-7f=]URL [80-ff=]URL …
//! ```
//!
//! A range names the blobs that a store holds by the first byte of their digest, two hexadecimal digits each, both
//! inclusive; a URL without one holds all. Where ranges meet, the stores are replicas. Objects that are no blobs (flists,
//! releases) are in every store. A new route begins where blanks are followed by a range or a scheme, so paths of
//! directories may hold blanks.

use crate::{Address, StoreError, address, name};
use std::fmt;

/// Which blobs one store holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Route {
    /// Lowest first byte of a digest.
    pub first: u8,
    /// Highest first byte of a digest, inclusive.
    pub last: u8,
    /// The store.
    pub address: Address,
}

/// Stores that together hold every blob. Shown without secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Routes(Vec<Route>);

impl Route {
    /// Parses `[00-7f=]URL`.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`], with secrets removed.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let (range, url) = split_range(text).unwrap_or(("00-ff", text));
        let (first, last) = parse_range(range).ok_or_else(|| {
            bad(
                text,
                "a range is written 00-7f=URL, two hexadecimal digits each, the lower one first",
            )
        })?;
        Ok(Self {
            first,
            last,
            address: Address::parse(url)?,
        })
    }

    /// Whether an object of this name belongs into the store.
    pub fn holds(&self, name: &str) -> bool {
        name::blob_byte(name).is_none_or(|byte| (self.first..=self.last).contains(&byte))
    }
}

impl Routes {
    /// Parses routes with blanks between them.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`]: secrets removed, with the range when blobs have no store.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        Self::new(split(text).into_iter().map(Route::parse).collect::<Result<_, _>>()?)
    }

    /// These routes, when they cover every blob.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`] with the first range that has no store.
    pub fn new(routes: Vec<Route>) -> Result<Self, StoreError> {
        let routes = Self(routes);
        match gap(&routes.0) {
            None => Ok(routes),
            Some((first, last)) => Err(StoreError::BadUrl {
                url: routes.to_string(),
                reason: format!(
                    "blobs from {first:02x} to {last:02x} have no store: the ranges must cover 00 to ff together"
                ),
            }),
        }
    }

    /// The routes, in the order in which they were given.
    pub fn as_slice(&self) -> &[Route] {
        &self.0
    }
}

/// `00-7f=URL`; the range of all blobs is left out.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if (self.first, self.last) != (0, u8::MAX) {
            write!(f, "{:02x}-{:02x}=", self.first, self.last)?;
        }
        self.address.fmt(f)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Route({self})")
    }
}

impl fmt::Display for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<String> = self.0.iter().map(Route::to_string).collect();
        f.write_str(&shown.join(" "))
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

/// The first range of bytes that no route covers.
fn gap(routes: &[Route]) -> Option<(u8, u8)> {
    let open = |byte: &u8| !routes.iter().any(|route| (route.first..=route.last).contains(byte));
    let first = (0..=u8::MAX).find(open)?;
    let last = (first..=u8::MAX).take_while(open).last()?;
    Some((first, last))
}

/// Cuts a text where a route begins behind blanks.
fn split(text: &str) -> Vec<&str> {
    let mut starts = vec![0];
    let text = text.trim();
    for (at, character) in text.char_indices() {
        let next = at + character.len_utf8();
        if character.is_whitespace() && begins_route(&text[next..]) {
            starts.push(next);
        }
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| text[*start..end].trim())
        .collect()
}

/// True where a range or a scheme stands.
fn begins_route(text: &str) -> bool {
    let url = split_range(text).map_or(text, |(range, url)| if range.len() == 5 { url } else { text });
    url.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'+')
    })
}

/// The range and the URL behind it; `None` when the text begins with a URL.
fn split_range(text: &str) -> Option<(&str, &str)> {
    let (range, url) = text.split_once('=')?;
    let is_range = range.len() <= 16 && range.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_range.then_some((range, url))
}

fn parse_range(text: &str) -> Option<(u8, u8)> {
    let (first, last) = text.split_once('-')?;
    let byte = |digits: &str| {
        let digits = Some(digits).filter(|digits| digits.len() == 2 && !digits.starts_with('+'))?;
        u8::from_str_radix(digits, 16).ok()
    };
    let (first, last) = (byte(first)?, byte(last)?);
    (first <= last).then_some((first, last))
}

fn bad(url: &str, reason: &str) -> StoreError {
    StoreError::BadUrl {
        url: address::redact(url),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> Vec<String> {
        let routes = Routes::parse(text).unwrap();
        routes.as_slice().iter().map(Route::to_string).collect()
    }

    #[test]
    fn every_form_of_the_grammar() {
        assert_eq!(shown("dir:///srv/my blobs"), ["dir:///srv/my blobs"]);
        assert_eq!(shown("dir:///a=b@c"), ["dir:///a=b@c"]);
        assert_eq!(
            shown(" 00-7f=dir:///a b\n80-FF=http://h/x  s3://K:hush@h/b?region=r "),
            ["00-7f=dir:///a b", "80-ff=http://h/x", "s3://h/b"]
        );
        assert_eq!(shown("dir:///a dir:///a"), ["dir:///a", "dir:///a"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, reason) in [
            ("", "write dir:///path"),
            ("7f-00=dir:///a", "lower one first"),
            ("0-7f=dir:///a", "two hexadecimal digits"),
            ("00-+f=dir:///a", "a store is"),
            ("00-7f=dir:///a", "from 80 to ff have no store"),
            ("00-7f=dir:///a 90-ff=dir:///b", "from 80 to 8f have no store"),
            ("01-ff=dir:///a", "from 00 to 00 have no store"),
            ("00-ff=/srv", "write dir:///path"),
        ] {
            let error = Routes::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn blobs_belong_where_their_first_byte_says_and_the_rest_everywhere() {
        let route = Route::parse("10-1f=dir:///a").unwrap();
        let blob = |byte: u8| format!("blobs/{byte:02x}/{byte:02x}{}", "0".repeat(62));
        let held: Vec<u8> = (0..=255).filter(|byte| route.holds(&blob(*byte))).collect();
        assert!(held.into_iter().eq(0x10..=0x1f));
        assert!(route.holds("release.json") && route.holds("flists/ab"));
    }

    fn address() -> impl Strategy<Value = String> {
        prop_oneof![
            "(/[a-z0-9]{1,8}( [a-z0-9]{1,4})?){1,3}".prop_map(|path| format!("dir://{path}")),
            "[a-z]{1,9}/[a-z]{0,4}x".prop_map(|rest| format!("https://{rest}")),
            "[a-z]{1,9}/[a-z]{3,9}".prop_map(|rest| format!("s3://{rest}")),
        ]
    }

    proptest! {
        #[test]
        fn what_is_shown_is_parsed_again(stores in prop::collection::vec((address(), any::<(u8, u8)>()), 0..5)) {
            let mut texts = vec!["dir:///all".to_owned()];
            texts.extend(stores.iter().map(|(url, (a, b))| format!("{:02x}-{:02x}={url}", a.min(b), a.max(b))));
            let routes = Routes::parse(&texts.join(" ")).unwrap();
            prop_assert_eq!(routes.as_slice().len(), texts.len());
            prop_assert_eq!(Routes::parse(&routes.to_string()).unwrap(), routes);
        }

        #[test]
        fn cuts_cover_or_the_gap_is_named(cuts in prop::collection::btree_set(1_u8.., 0..6), leave_out in any::<usize>()) {
            let starts: Vec<u8> = [0].into_iter().chain(cuts).collect();
            let ends: Vec<u8> = starts.iter().skip(1).map(|start| start - 1).chain([255]).collect();
            let mut texts: Vec<String> =
                starts.iter().zip(&ends).map(|(a, b)| format!("{a:02x}-{b:02x}=dir:///s{a}")).collect();
            prop_assert!(Routes::parse(&texts.join(" ")).is_ok());
            let at = leave_out % texts.len();
            texts.remove(at);
            if !texts.is_empty() {
                let error = Routes::parse(&texts.join(" ")).unwrap_err().to_string();
                let gap = format!("from {:02x} to {:02x}", starts[at], ends[at]);
                prop_assert!(error.contains(&gap), "{}", error);
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused_without_secrets(text in "\\PC*", secret in "[a-z]{12}") {
            for text in [text.clone(), format!("00-7f=s3://K:{secret}{text}@h/b"), format!("{text}=s3://K:{secret}@h/b")] {
                let shown = match Routes::parse(&text) {
                    Ok(routes) => format!("{routes} {routes:?}"),
                    Err(error) => format!("{error} {error:?}"),
                };
                prop_assert!(!shown.contains(&secret), "{}", shown);
            }
        }
    }
}

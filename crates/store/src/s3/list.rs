//! Listings, and what they are good for: the lengths of many objects with few requests.

use super::{S3, SIGNATURE_VALID};
use crate::{Listed, Read, StoreError, name, parallel, transport};
use rusty_s3::S3Action as _;
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::actions::list_objects_v2::ListObjectsContent;
use std::collections::HashMap;
use std::time::SystemTime;
use ureq::http::StatusCode;

/// Largest page of a listing in bytes: 1000 names of at most 1024 bytes, percent-encoded, with their metadata.
const MAX_PAGE: u64 = 8 << 20;
/// Pages of 1000 names each: a server that goes on beyond that is not listing our objects.
const MAX_PAGES: usize = 10_000;
/// Names that are asked for one by one: a page of a listing takes a server about as long as so many single questions.
const FEW: usize = 8;
/// Names in one walk through a listing: a page's worth, so that walks can go on side by side.
const WALK: usize = 1000;

/// Where a page begins.
enum From {
    /// With the first key of the prefix.
    Start,
    /// Behind this key, whether or not there is such an object.
    After(String),
    /// Where the page before it ended.
    Token(String),
}

/// One page of a listing: keys in the server's order, and the token of the next page.
struct Page {
    objects: Vec<ListObjectsContent>,
    next: Option<String>,
}

/// All objects of the store whose names begin with `prefix`.
pub(super) fn entries(store: &S3, prefix: &str) -> Result<Vec<Listed>, StoreError> {
    let full = store.full(prefix);
    let (mut entries, mut from) = (Vec::new(), From::Start);
    for _ in 0..MAX_PAGES {
        let page = page(store, &full, &from)?;
        entries.extend(page.objects.iter().filter_map(|object| listed(store, object, prefix)));
        let Some(next) = page.next else {
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            return Ok(entries);
        };
        from = From::Token(next);
    }
    Err(StoreError::refused(store, prefix, "the listing does not end"))
}

fn page(store: &S3, prefix: &str, from: &From) -> Result<Page, StoreError> {
    let mut action = store.bucket.list_objects_v2(store.credentials.as_ref());
    action.with_prefix(prefix);
    match from {
        From::Start => {}
        From::After(key) => action.with_start_after(key),
        From::Token(token) => action.with_continuation_token(token),
    }
    let answer = store
        .transport
        .get(store, action.sign(SIGNATURE_VALID).as_str(), None)?;
    if answer.status() != StatusCode::OK {
        return Err(store.failure(prefix, answer));
    }
    let text = transport::whole(store, prefix, answer, MAX_PAGE)?;
    let page = String::from_utf8(text)
        .ok()
        .and_then(|text| ListObjectsV2::parse_response(&text).ok());
    let page = page.ok_or_else(|| StoreError::refused(store, prefix, "the listing makes no sense"))?;
    Ok(Page {
        objects: page.contents,
        next: page.next_continuation_token,
    })
}

/// A key of a listing as an object of this store; `None` for what other programs put beside them.
fn listed(store: &S3, object: &ListObjectsContent, prefix: &str) -> Option<Listed> {
    let name = object.key.get(store.full("").len()..)?;
    let own = name.starts_with(prefix) && name::check(name).is_ok();
    own.then(|| Listed {
        name: name.to_owned(),
        length: object.size.unwrap_or(0),
        modified: object.last_modified.as_deref().and_then(time),
    })
}

/// A time as listings have it: `2026-11-21T09:30:00.000Z`.
fn time(text: &str) -> Option<SystemTime> {
    text.parse::<jiff::Timestamp>().ok().map(SystemTime::from)
}

/// The lengths of many objects.
///
/// A listing in order answers for every name between its first and its last key. So the names are sorted and cut into
/// stretches, and each stretch walks through the listing from its first name to its last, stepping over what nobody
/// asked for. Where the names are too sparse for that, and where listing is not allowed, each name is asked for.
pub(super) fn lengths(store: &S3, names: &[String]) -> Result<Vec<Option<u64>>, StoreError> {
    let mut sorted: Vec<&str> = names.iter().map(String::as_str).filter(|name| is_plain(name)).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let stretches: Vec<&[&str]> = sorted.chunks(WALK).filter(|stretch| stretch.len() > FEW).collect();
    let known = match parallel::each(&stretches, parallel::WIDTH, |stretch| Stretch::walk(store, stretch)) {
        // A key that may read objects need not be allowed to list them.
        Err(StoreError::Refused { .. }) => HashMap::new(),
        other => other?.into_iter().flatten().collect(),
    };
    parallel::each(names, parallel::WIDTH, |name| match known.get(name.as_str()) {
        Some(length) => Ok(*length),
        None => store.length(name),
    })
}

/// True for names that stand in every server's listings as they are: some garble the characters that URLs encode.
fn is_plain(name: &str) -> bool {
    name::check(name).is_ok() && name::to_url_path(name) == name
}

/// A walk through a listing beside a sorted list of names.
struct Stretch<'a> {
    /// The names that the listing has not yet come to.
    left: &'a [&'a str],
    /// The key before: listings that are not in order answer nothing.
    last: String,
    known: Vec<(&'a str, Option<u64>)>,
}

impl<'a> Stretch<'a> {
    /// What the listing says of these names; of those that are missing in the result it says nothing.
    fn walk(store: &S3, names: &'a [&'a str]) -> Result<Vec<(&'a str, Option<u64>)>, StoreError> {
        let mut stretch = Stretch {
            left: names,
            last: String::new(),
            known: Vec::new(),
        };
        let prefix = common_prefix(names);
        while let Some(first) = stretch.left.first() {
            let page = page(
                store,
                &store.full(prefix),
                &From::After(just_before(&store.full(first))),
            )?;
            let before = stretch.left.len();
            if !stretch.see(store, &page) || before - stretch.left.len() < FEW {
                break;
            }
        }
        Ok(stretch.known)
    }

    /// Learns from a page; false when it is not in order, and nothing more can be learned.
    fn see(&mut self, store: &S3, page: &Page) -> bool {
        for object in &page.objects {
            if object.key < self.last {
                self.known.clear();
                return false;
            }
            self.last.clone_from(&object.key);
            let Some(name) = object.key.get(store.full("").len()..) else {
                continue;
            };
            self.pass(name);
            if self.left.first() == Some(&name) {
                self.known.push((self.left[0], object.size));
                self.left = &self.left[1..];
            }
        }
        if page.next.is_none() {
            self.known.extend(self.left.iter().map(|name| (*name, None)));
            self.left = &[];
        }
        true
    }

    /// The names before this key are not in the listing.
    fn pass(&mut self, key: &str) {
        let missing = self.left.partition_point(|name| *name < key);
        let (missing, left) = self.left.split_at(missing);
        self.known.extend(missing.iter().map(|name| (*name, None)));
        self.left = left;
    }
}

/// What all the names begin with; they are sorted, so the first and the last tell. Plain names are ASCII.
fn common_prefix<'a>(names: &[&'a str]) -> &'a str {
    let (first, last) = (names.first().unwrap_or(&""), names.last().unwrap_or(&""));
    let same = first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
    &first[..same]
}

/// A key before this one with hardly any in between: listings begin behind the key that they are given.
fn just_before(key: &str) -> String {
    let mut characters = key.chars();
    characters.next_back();
    characters.as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_listings() {
        let expected = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_795_253_400_250);
        assert_eq!(time("2026-11-21T09:30:00.250Z"), Some(expected));
        assert_eq!(time("yesterday"), None);
    }

    #[test]
    fn prefixes_and_keys_before() {
        assert_eq!(common_prefix(&["blobs/aa/1", "blobs/aa/2", "blobs/ab/1"]), "blobs/a");
        assert_eq!(common_prefix(&["a", "b"]), "");
        assert_eq!(just_before("blobs/aa/12"), "blobs/aa/1");
        assert_eq!(just_before("a"), "");
    }
}

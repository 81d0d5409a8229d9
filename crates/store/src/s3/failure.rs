//! What it means when a bucket says no.

use super::S3;
use crate::transport::{self, Answer};
use crate::{Read as _, StoreError};
use jiff::{SignedDuration, Timestamp};
use ureq::http::{StatusCode, header};

/// As much of an error document as is read, in bytes.
const MAX_DOCUMENT: u64 = 64 << 10;
/// As much of an error message as is shown, in characters.
const MAX_SHOWN: usize = 200;
/// Clocks that differ by more than this are the reason when a request is refused: S3 allows 15 minutes ("Authenticating
/// requests"), others less.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(5);
/// The code for clocks that differ ("Error responses").
const SKEWED: &str = "RequestTimeTooSkewed";
/// What to do about a request without credentials.
const ANONYMOUS: &str =
    "no credentials were given: write KEY:SECRET@ before the host, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";

/// What it means when keys were given and the server does not say why it refuses them, as in its answers to HEAD requests.
const UNEXPLAINED: &str = "the key is unknown, its secret is wrong, or it may not do this";

/// What an answer other than the expected one means. The document names a missing bucket; that is no missing object.
pub(super) fn failure(store: &S3, name: &str, mut answer: Answer) -> StoreError {
    let document = answer
        .body_mut()
        .with_config()
        .limit(MAX_DOCUMENT)
        .lossy_utf8(true)
        .read_to_string();
    let document = document.unwrap_or_default();
    let code = element(&document, "Code");
    let status = answer.status();
    if status == StatusCode::NOT_FOUND && code != Some("NoSuchBucket") {
        return StoreError::not_found(store, name);
    }
    if let Some(error) = skew(store, status, code, server_time(&answer), Timestamp::now()) {
        return error;
    }
    let why = match (status, store.credentials.is_some(), code) {
        (StatusCode::FORBIDDEN, false, _) => Some(ANONYMOUS),
        (StatusCode::FORBIDDEN, true, None) => Some(UNEXPLAINED),
        _ => None,
    };
    let parts = [code, element(&document, "Message"), why];
    let message = parts
        .map(|part| part.map(shown))
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    let message = (!message.is_empty()).then(|| message.join(": "));
    transport::status_error(store, name, status, message)
}

/// Text of the server that is fit for a message.
fn shown(text: &str) -> String {
    text.escape_debug().take(MAX_SHOWN).collect()
}

/// When the server sent its answer.
fn server_time(answer: &Answer) -> Option<Timestamp> {
    let date = answer.headers().get(header::DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()
}

/// The error for a request that was refused because the clocks differ.
fn skew(
    store: &S3,
    status: StatusCode,
    code: Option<&str>,
    theirs: Option<Timestamp>,
    ours: Timestamp,
) -> Option<StoreError> {
    let refused = matches!(status, StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST) && store.credentials.is_some();
    let far = theirs.is_some_and(|theirs| theirs.duration_since(ours).abs() > CLOCKS_DIFFER);
    let whole = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap_or(time).to_string();
    let there = theirs.map_or_else(|| "another time".into(), whole);
    (refused && (far || code == Some(SKEWED))).then(|| StoreError::ClockSkew {
        address: store.address(),
        times: format!("{there} there and {} here", whole(ours)),
    })
}

/// The text of the first `<tag>` of an error document. Good enough for a message, and nothing else is done with it.
fn element<'a>(document: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{tag}>"))?;
    rest.split_once('<').map(|(text, _)| text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Address, Options};

    #[test]
    fn clocks_that_differ_are_told_with_both_times() {
        let Address::S3(address) = Address::parse("s3://K:hush@h/b").unwrap() else {
            panic!("a bucket")
        };
        let store = S3::new(address, &Options::default()).unwrap();
        let ours: Timestamp = "2026-11-21T10:00:00.5Z".parse().unwrap();
        let at = |minutes| Some(ours + SignedDuration::from_mins(minutes));
        let said = |status, code, theirs| skew(&store, status, code, theirs, ours).map(|error| error.to_string());
        let far = said(StatusCode::FORBIDDEN, None, at(-600)).unwrap();
        assert!(
            far.contains("2026-11-21T00:00:00Z there") && far.contains("2026-11-21T10:00:00Z here"),
            "{far}"
        );
        assert!(said(StatusCode::FORBIDDEN, Some("AccessDenied"), at(2)).is_none());
        assert!(said(StatusCode::NOT_FOUND, None, at(-600)).is_none());
        assert!(said(StatusCode::FORBIDDEN, Some(SKEWED), None).is_some());
    }
}

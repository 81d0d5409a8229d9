//! Uploads in parts, and what killed ones leave.
//!
//! Parts are no object: it appears when the last request, which names all parts, is answered. Until then, and after a
//! kill for good, they take room in the bucket that no listing of objects shows.

use super::{S3, SIGNATURE_VALID, failure::failure};
use crate::transport::{self, Answer};
use crate::{StoreError, parallel};
use jiff::Timestamp;
use rusty_s3::S3Action as _;
use rusty_s3::actions::{CompleteMultipartUploadResponse, CreateMultipartUpload};
use rusty_s3::{Method, signing};
use std::time::{Duration, SystemTime};
use ureq::http::{StatusCode, header};

/// Objects above this many bytes are uploaded in parts of at least this many: what is lost with a connection is then less
/// than half a minute's worth of a line of 5 Mbit/s. S3 wants 5 MiB at least ("Multipart upload limits").
pub(super) const PART: usize = 16 << 20;
/// Parts of one upload ("Multipart upload limits").
const MAX_PARTS: usize = 10_000;
/// Parts under way at once.
const WIDTH: usize = 4;
/// Largest answer in bytes that names an upload or an object.
const MAX_ANSWER: u64 = 64 << 10;
/// Largest page of a listing of uploads in bytes: 1000 of them.
const MAX_PAGE: u64 = 8 << 20;
/// Pages of 1000 uploads each: a server that goes on beyond that is not listing our uploads.
const MAX_PAGES: usize = 100;

/// Puts a large object.
pub(super) fn put(store: &S3, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let key = store.key(name)?;
    let upload = begin(store, name, &key)?;
    let done = parts(store, name, &key, &upload, bytes).and_then(|tags| {
        let complete = || complete(store, name, &key, &upload, &tags);
        store.parts.run(complete)
    });
    if done.is_err() {
        // The first error is the one to report. What is left is found by `abort_stale_uploads`.
        let _ = abort(store, name, &key, &upload);
    }
    done
}

/// Asks for an upload; the answer is its name.
fn begin(store: &S3, name: &str, key: &str) -> Result<String, StoreError> {
    let action = store.bucket.create_multipart_upload(store.credentials.as_ref(), key);
    let answer = store
        .transport
        .post(store, action.sign(SIGNATURE_VALID).as_str(), &[])?;
    let text = text(store, name, answer, MAX_ANSWER)?;
    CreateMultipartUpload::parse_response(&text)
        .map(|response| response.upload_id().to_owned())
        .map_err(|_| StoreError::refused(store, name, "the answer to the upload makes no sense"))
}

/// Uploads all parts, each tried again by itself; returns their tags.
fn parts(store: &S3, name: &str, key: &str, upload: &str, bytes: &[u8]) -> Result<Vec<String>, StoreError> {
    let size = PART.max(bytes.len().div_ceil(MAX_PARTS));
    let parts: Vec<(u16, &[u8])> = (1..).zip(bytes.chunks(size)).collect();
    parallel::each(&parts, WIDTH, |(number, part)| {
        store.parts.run(|| put_part(store, name, key, upload, *number, part))
    })
}

fn put_part(store: &S3, name: &str, key: &str, upload: &str, number: u16, part: &[u8]) -> Result<String, StoreError> {
    let action = store
        .bucket
        .upload_part(store.credentials.as_ref(), key, number, upload);
    let answer = store
        .transport
        .put(store, action.sign(SIGNATURE_VALID).as_str(), part)?;
    if !answer.status().is_success() {
        return Err(gone_or(failure(store, name, answer), store));
    }
    let tag = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
    tag.map(str::to_owned)
        .ok_or_else(|| StoreError::refused(store, name, "the server gives no tag for a part"))
}

fn complete(store: &S3, name: &str, key: &str, upload: &str, tags: &[String]) -> Result<(), StoreError> {
    let action = store.bucket.complete_multipart_upload(
        store.credentials.as_ref(),
        key,
        upload,
        tags.iter().map(String::as_str),
    );
    let url = action.sign(SIGNATURE_VALID);
    let answer = store.transport.post(store, url.as_str(), action.body().as_bytes())?;
    if !answer.status().is_success() {
        return Err(gone_or(failure(store, name, answer), store));
    }
    // The server may find out what is wrong when it has answered 200 already ("CompleteMultipartUpload").
    let text = text(store, name, answer, MAX_ANSWER)?;
    match CompleteMultipartUploadResponse::parse(&text) {
        Ok(_) => Ok(()),
        Err(_) => Err(StoreError::unreachable(
            store,
            format!("{name}: the server could not join the parts"),
        )),
    }
}

/// An upload that is gone was aborted by somebody, or completed by a try whose answer was lost: begin again.
fn gone_or(error: StoreError, store: &S3) -> StoreError {
    match error {
        StoreError::NotFound { name, .. } => {
            StoreError::unreachable(store, format!("{name}: the upload in parts is gone"))
        }
        other => other,
    }
}

fn abort(store: &S3, name: &str, key: &str, upload: &str) -> Result<(), StoreError> {
    let action = store
        .bucket
        .abort_multipart_upload(store.credentials.as_ref(), key, upload);
    let answer = store.transport.delete(store, action.sign(SIGNATURE_VALID).as_str())?;
    if answer.status().is_success() {
        return Ok(());
    }
    match failure(store, name, answer) {
        StoreError::NotFound { .. } => Ok(()),
        other => Err(other),
    }
}

/// Aborts the uploads in parts below the store's prefix that began so long ago; returns how many those were.
pub(super) fn abort_stale(store: &S3, older_than: Duration) -> Result<usize, StoreError> {
    let mut stale = uploads(store)?;
    stale.retain(|upload| {
        let begun = upload.begun.map(SystemTime::from);
        begun.is_some_and(|begun| begun.elapsed().is_ok_and(|age| age >= older_than))
    });
    parallel::each(&stale, parallel::WIDTH, |upload| {
        abort(store, &upload.key, &upload.key, &upload.id)
    })?;
    Ok(stale.len())
}

/// An unfinished upload.
#[derive(Debug, PartialEq, Eq)]
struct Upload {
    key: String,
    id: String,
    begun: Option<Timestamp>,
}

/// Uploads, and where the next page begins: after this key and upload.
type Page = (Vec<Upload>, Option<(String, String)>);

fn uploads(store: &S3) -> Result<Vec<Upload>, StoreError> {
    let prefix = store.full("");
    let (mut uploads, mut after) = (Vec::new(), None);
    for _ in 0..MAX_PAGES {
        let answer = store
            .transport
            .get(store, &list_url(store, &prefix, after.as_ref()), None)?;
        let (page, next) = parse_page(&text(store, "uploads", answer, MAX_PAGE)?);
        uploads.extend(page.into_iter().filter(|upload| upload.key.starts_with(&prefix)));
        after = next;
        if after.is_none() {
            return Ok(uploads);
        }
    }
    Err(StoreError::refused(store, "uploads", "the listing does not end"))
}

/// The URL that lists uploads ("ListMultipartUploads"), which `rusty_s3` has no action for.
fn list_url(store: &S3, prefix: &str, after: Option<&(String, String)>) -> String {
    let mut query = vec![("prefix", prefix), ("uploads", "")];
    if let Some((key, id)) = after {
        query.extend([("key-marker", key.as_str()), ("upload-id-marker", id.as_str())]);
    }
    query.sort_unstable();
    let url = store.bucket.base_url().clone();
    let Some(credentials) = &store.credentials else {
        let mut url = url;
        url.query_pairs_mut().extend_pairs(query);
        return url.into();
    };
    let signed = signing::sign(
        &Timestamp::now(),
        Method::Get,
        url,
        credentials.key(),
        credentials.secret(),
        credentials.token(),
        store.bucket.region(),
        SIGNATURE_VALID.as_secs(),
        query.iter().copied(),
        std::iter::empty(),
    );
    signed.into()
}

/// Reads a page of a listing of uploads. What has no key or name cannot be aborted, and is left out.
fn parse_page(document: &str) -> Page {
    let uploads = document.split("<Upload>").skip(1).filter_map(|upload| {
        Some(Upload {
            key: element(upload, "Key")?,
            id: element(upload, "UploadId")?,
            begun: element(upload, "Initiated").and_then(|time| time.parse().ok()),
        })
    });
    let truncated = element(document, "IsTruncated").as_deref() == Some("true");
    let next = element(document, "NextKeyMarker").zip(element(document, "NextUploadIdMarker"));
    (uploads.collect(), next.filter(|_| truncated))
}

/// The text of the first `<tag>`, unescaped.
fn element(document: &str, tag: &str) -> Option<String> {
    let (_, rest) = document.split_once(&format!("<{tag}>"))?;
    let (text, _) = rest.split_once(&format!("</{tag}>"))?;
    // The five entities that XML has by itself (XML 1.0, 4.6); the ampersand last, so that nothing is unescaped twice.
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    Some(
        entities
            .iter()
            .fold(text.to_owned(), |text, (entity, plain)| text.replace(entity, plain)),
    )
}

fn text(store: &S3, name: &str, answer: Answer, limit: u64) -> Result<String, StoreError> {
    if answer.status() != StatusCode::OK {
        return Err(failure(store, name, answer));
    }
    String::from_utf8(transport::whole(store, name, answer, limit)?)
        .map_err(|_| StoreError::refused(store, name, "the answer is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn listings_of_uploads() {
        let document = "<?xml version=\"1.0\"?><ListMultipartUploadsResult><IsTruncated>true</IsTruncated>\
            <NextKeyMarker>b</NextKeyMarker><NextUploadIdMarker>2</NextUploadIdMarker>\
            <Upload><Initiated>2026-11-21T10:00:00.000Z</Initiated><Key>a&amp;lt;b</Key><UploadId>1</UploadId></Upload>\
            <Upload><Key>no id</Key></Upload></ListMultipartUploadsResult>";
        let upload = Upload {
            key: "a&lt;b".into(),
            id: "1".into(),
            begun: Some("2026-11-21T10:00:00Z".parse().unwrap()),
        };
        assert_eq!(parse_page(document), (vec![upload], Some(("b".into(), "2".into()))));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in ".*") {
            parse_page(&text);
            parse_page(&format!("<Upload><Key>{text}<UploadId></Key>"));
        }
    }
}

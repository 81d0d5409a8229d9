//! Objects in an S3 bucket (AWS, Garage, MinIO, ...), with path-style addresses.
//!
//! Requests are authorized by signed URLs that are valid for a few minutes. An upload becomes an object when its last
//! byte has arrived: a killed one leaves nothing.

mod list;

use crate::transport::{self, Answer, Timeouts, Transport};
use crate::{Listed, Read, S3Address, StoreError, Write, name, range};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use std::fmt;
use std::ops::Range;
use std::time::Duration;
use ureq::http::StatusCode;

/// Largest object that [`S3`] can put, in bytes: what S3 takes in one request ("Uploading objects").
pub const MAX_PUT: u64 = 5 << 30;
/// How long a signed URL is valid: a request that starts later was not ours. The clocks may differ by 15 minutes.
const SIGNATURE_VALID: Duration = Duration::from_secs(15 * 60);
/// As much of an error document as is read, in bytes.
const MAX_ERROR: u64 = 64 << 10;
/// As much of an error message as is shown, in characters.
const MAX_SHOWN: usize = 200;

/// A store in a bucket. Each call is one try; [`crate::open_write`] adds retries.
#[derive(Clone)]
pub struct S3 {
    address: S3Address,
    bucket: Bucket,
    credentials: Credentials,
    transport: Transport,
}

impl S3 {
    /// The store at this address, which must have credentials.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`] when credentials are missing or the host makes no URL.
    pub fn new(address: S3Address, timeouts: Timeouts) -> Result<Self, StoreError> {
        if cfg!(not(feature = "tls")) && address.tls {
            return Err(bad(&address, "this program is built without TLS"));
        }
        let credentials = address.credentials.as_ref().map(|(key, secret)| Credentials::new(key, secret)).ok_or_else(|| {
            bad(&address, "no credentials: write KEY:SECRET@ before the host, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        })?;
        let scheme = if address.tls { "https" } else { "http" };
        let endpoint = format!("{scheme}://{}", address.host)
            .parse()
            .map_err(|_| bad(&address, "the host is not valid"))?;
        let bucket = Bucket::new(endpoint, UrlStyle::Path, address.bucket.clone(), address.region.clone())
            .map_err(|error| bad(&address, error.to_string()))?;
        Ok(Self {
            address,
            bucket,
            credentials,
            transport: Transport::new(timeouts, false),
        })
    }

    fn key(&self, name: &str) -> Result<String, StoreError> {
        name::check(name)?;
        Ok(self.full(name))
    }

    fn full(&self, name: &str) -> String {
        match self.address.prefix.as_str() {
            "" => name.into(),
            prefix => format!("{prefix}/{name}"),
        }
    }

    fn fetch(&self, name: &str, range: Option<&Range<u64>>) -> Result<Answer, StoreError> {
        let key = self.key(name)?;
        let url = self
            .bucket
            .get_object(Some(&self.credentials), &key)
            .sign(SIGNATURE_VALID);
        self.transport.get(self, url.as_str(), range)
    }

    /// What an answer other than the expected one means. The document names a missing bucket; that is no missing object.
    fn failure(&self, name: &str, mut answer: Answer) -> StoreError {
        let document = answer
            .body_mut()
            .with_config()
            .limit(MAX_ERROR)
            .lossy_utf8(true)
            .read_to_string();
        let document = document.unwrap_or_default();
        let code = element(&document, "Code");
        if answer.status() == StatusCode::NOT_FOUND && code != Some("NoSuchBucket") {
            return StoreError::not_found(self, name);
        }
        let message = [code, element(&document, "Message")]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(": ");
        let message = message.escape_debug().take(MAX_SHOWN).collect::<String>();
        transport::status_error(self, name, answer.status(), (!message.is_empty()).then_some(message))
    }
}

impl Read for S3 {
    fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        let answer = self.fetch(name, None)?;
        match answer.status() {
            StatusCode::OK => transport::whole(self, name, answer, limit),
            _ => Err(self.failure(name, answer)),
        }
    }

    fn get_range(&self, name: &str, wanted: Range<u64>) -> Result<Vec<u8>, StoreError> {
        if wanted.is_empty() {
            return range::empty(self, name, &wanted);
        }
        let answer = self.fetch(name, Some(&wanted))?;
        match answer.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => transport::part(self, name, answer, &wanted),
            StatusCode::RANGE_NOT_SATISFIABLE => Err(range::short(self, name, &wanted, 0)),
            _ => Err(self.failure(name, answer)),
        }
    }

    fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let key = self.key(name)?;
        let url = self
            .bucket
            .head_object(Some(&self.credentials), &key)
            .sign(SIGNATURE_VALID);
        let answer = self.transport.head(self, url.as_str())?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => transport::announced_length(&answer)
                .map(Some)
                .ok_or_else(|| StoreError::refused(self, name, "the server does not say how long it is")),
            _ => Err(self.failure(name, answer)),
        }
    }

    fn lengths(&self, names: &[String]) -> Result<Vec<Option<u64>>, StoreError> {
        list::lengths(self, names)
    }

    fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Write for S3 {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        if bytes.len() as u64 > MAX_PUT {
            return Err(StoreError::too_large(self, name, MAX_PUT));
        }
        let key = self.key(name)?;
        let url = self
            .bucket
            .put_object(Some(&self.credentials), &key)
            .sign(SIGNATURE_VALID);
        let answer = self.transport.put(self, url.as_str(), bytes)?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(self.failure(name, answer))
        }
    }

    fn list_entries(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        list::entries(self, prefix)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        let key = self.key(name)?;
        let url = self
            .bucket
            .delete_object(Some(&self.credentials), &key)
            .sign(SIGNATURE_VALID);
        let answer = self.transport.delete(self, url.as_str())?;
        if answer.status().is_success() {
            return Ok(());
        }
        match self.failure(name, answer) {
            StoreError::NotFound { .. } => Ok(()),
            other => Err(other),
        }
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

fn bad(address: &S3Address, reason: impl Into<String>) -> StoreError {
    StoreError::BadUrl {
        url: address.to_string(),
        reason: reason.into(),
    }
}

/// The text of the first `<tag>` of an error document. Good enough for a message, and nothing else is done with it.
fn element<'a>(document: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{tag}>"))?;
    rest.split_once('<').map(|(text, _)| text.trim())
}

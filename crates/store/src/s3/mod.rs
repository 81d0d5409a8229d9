//! Objects in an S3 bucket (AWS, Garage, MinIO, ...).
//!
//! Requests are authorized by signed URLs that are valid for a few minutes; without credentials they are not, which is
//! enough to read what everybody may read. An upload becomes an object when its last byte has arrived: a killed one
//! leaves no object, and, when it was large enough to go in parts, parts that [`Write::abort_stale_uploads`] removes.

mod failure;
mod list;
mod multipart;

use crate::retry::Retrier;
use crate::transport::{self, Answer, Transport};
use crate::{Listed, Options, Read, S3Address, StoreError, Style, Write, name, range};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use std::fmt;
use std::ops::Range;
use std::time::Duration;
use ureq::http::StatusCode;

/// How long a signed URL is valid: a request that starts later was not ours. The clocks may differ by 15 minutes.
const SIGNATURE_VALID: Duration = Duration::from_secs(15 * 60);

/// A store in a bucket. Each call is one try, but for the parts of a large object, which are tried again each;
/// [`crate::open_write`] adds retries.
#[derive(Clone)]
pub struct S3 {
    address: S3Address,
    bucket: Bucket,
    credentials: Option<Credentials>,
    transport: Transport,
    parts: Retrier,
}

impl S3 {
    /// The store at this address; requests are anonymous when it has no credentials.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`] when the host or the bucket makes no URL; [`StoreError::NoAuthority`].
    pub fn new(address: S3Address, options: &Options) -> Result<Self, StoreError> {
        if cfg!(not(feature = "tls")) && address.tls {
            return Err(bad(&address, "this program is built without TLS"));
        }
        let scheme = if address.tls { "https" } else { "http" };
        let endpoint = format!("{scheme}://{}", address.host);
        let transport = Transport::new(&endpoint, options, false)?;
        let endpoint = endpoint.parse().map_err(|_| bad(&address, "the host is not valid"))?;
        let style = match address.style {
            Style::Path => UrlStyle::Path,
            Style::VirtualHost => UrlStyle::VirtualHost,
        };
        let bucket = Bucket::new(endpoint, style, address.bucket.clone(), address.region.clone())
            .map_err(|error| bad(&address, error.to_string()))?;
        Ok(Self {
            bucket,
            credentials: credentials(&address),
            address,
            transport,
            parts: Retrier::new(options.schedule, options.observer.clone()),
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
            .get_object(self.credentials.as_ref(), &key)
            .sign(SIGNATURE_VALID);
        self.transport.get(self, url.as_str(), range)
    }

    fn failure(&self, name: &str, answer: Answer) -> StoreError {
        failure::failure(self, name, answer)
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
            .head_object(self.credentials.as_ref(), &key)
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
        if bytes.len() > multipart::PART {
            return multipart::put(self, name, bytes);
        }
        let key = self.key(name)?;
        let url = self
            .bucket
            .put_object(self.credentials.as_ref(), &key)
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

    fn abort_stale_uploads(&self, older_than: Duration) -> Result<usize, StoreError> {
        multipart::abort_stale(self, older_than)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        let key = self.key(name)?;
        let url = self
            .bucket
            .delete_object(self.credentials.as_ref(), &key)
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

fn credentials(address: &S3Address) -> Option<Credentials> {
    let (key, secret) = address.credentials.as_ref()?;
    Some(match &address.session_token {
        Some(token) => Credentials::new_with_token(key, secret, token),
        None => Credentials::new(key, secret),
    })
}

fn bad(address: &S3Address, reason: impl Into<String>) -> StoreError {
    StoreError::BadUrl {
        url: address.to_string(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;

    fn store(url: &str, session_token: Option<&str>) -> S3 {
        let Ok(Address::S3(mut address)) = Address::parse(url) else {
            panic!("the address of a bucket")
        };
        address.session_token = session_token.map(str::to_owned);
        S3::new(address, &Options::default()).unwrap()
    }

    fn signed(store: &S3) -> String {
        let action = store.bucket.get_object(store.credentials.as_ref(), "a");
        action.sign(SIGNATURE_VALID).into()
    }

    #[test]
    fn both_styles_the_region_and_the_session_token_reach_the_request() {
        let path = signed(&store("s3s://K:S@host:9000/bucket/p?region=r", None));
        assert!(
            path.starts_with("https://host:9000/bucket/a?") && path.contains("%2Fr%2Fs3%2F"),
            "{path}"
        );
        let hosted = signed(&store("s3://K:S@host:9000/bucket?style=virtual", Some("to/ken")));
        assert!(hosted.starts_with("http://bucket.host:9000/a?"), "{hosted}");
        assert!(hosted.contains("X-Amz-Security-Token=to%2Fken"), "{hosted}");
        assert_eq!(signed(&store("s3://host/bucket", None)), "http://host/bucket/a");
        let shown = format!("{:?}", store("s3://K:hush@host/bucket", Some("hush")));
        assert!(!shown.contains("hush"), "{shown}");
    }
}

//! Objects on a web server, for reading.

use crate::transport::{self, Answer, Transport};
use crate::{Options, Read, StoreError, name, parallel, range};
use std::ops::Range;
use ureq::http::StatusCode;

/// A store on a web server. Each call is one try; [`crate::open_read`] adds retries.
#[derive(Clone, Debug)]
pub struct Http {
    base: String,
    transport: Transport,
}

impl Http {
    /// The store below this URL (`http://host/path`, no slash at the end, as [`crate::Address`] has it).
    ///
    /// # Errors
    /// [`StoreError::BadUrl`] for `https` in a program that is built without it; [`StoreError::NoAuthority`].
    pub fn new(base: &str, options: &Options) -> Result<Self, StoreError> {
        if cfg!(not(feature = "tls")) && base.starts_with("https:") {
            return Err(StoreError::BadUrl {
                url: base.into(),
                reason: "this program is built without https".into(),
            });
        }
        Ok(Self {
            base: base.into(),
            transport: Transport::new(base, options, true)?,
        })
    }

    fn url(&self, name: &str) -> Result<String, StoreError> {
        name::check(name)?;
        Ok(format!("{}/{}", self.base, name::to_url_path(name)))
    }

    fn fetch(&self, name: &str, range: Option<&Range<u64>>) -> Result<Answer, StoreError> {
        let answer = self.transport.get(self, &self.url(name)?, range)?;
        if is_absent(answer.status()) {
            Err(StoreError::not_found(self, name))
        } else {
            Ok(answer)
        }
    }
}

impl Read for Http {
    fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        let answer = self.fetch(name, None)?;
        match answer.status() {
            StatusCode::OK => transport::whole(self, name, answer, limit),
            status => Err(transport::status_error(self, name, status, None)),
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
            status => Err(transport::status_error(self, name, status, None)),
        }
    }

    fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let answer = self.transport.head(self, &self.url(name)?)?;
        match answer.status() {
            status if is_absent(status) => Ok(None),
            StatusCode::OK => transport::announced_length(&answer)
                .map(Some)
                .ok_or_else(|| StoreError::refused(self, name, "the server does not say how long it is")),
            status => Err(transport::status_error(self, name, status, None)),
        }
    }

    fn lengths(&self, names: &[String]) -> Result<Vec<Option<u64>>, StoreError> {
        parallel::each(names, parallel::WIDTH, |name| self.length(name))
    }

    fn address(&self) -> String {
        self.base.clone()
    }
}

/// Servers in front of buckets answer 403 for what is not there.
fn is_absent(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN)
}

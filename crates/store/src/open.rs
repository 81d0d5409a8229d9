//! From a URL to a store.

use crate::{Address, Dir, Http, Observer, Read, Retry, S3Address, Schedule, StoreError, Timeouts, Write};
use std::fmt;

/// How stores behind a network are used.
#[derive(Clone, Default)]
pub struct Options {
    /// When to give up on one request.
    pub timeouts: Timeouts,
    /// When to try again.
    pub schedule: Schedule,
    /// Who is told before each wait.
    pub observer: Option<Observer>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("timeouts", &self.timeouts)
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}

impl Options {
    fn retry<S>(&self, store: S) -> Retry<S> {
        Retry::new(store, self.schedule, self.observer.clone())
    }
}

/// Opens a store for reading, with default [`Options`]. Nothing is sent yet.
///
/// # Errors
/// [`StoreError::BadUrl`].
pub fn open_read(url: &str) -> Result<Box<dyn Read>, StoreError> {
    open_read_with(url, &Options::default())
}

/// As [`open_read`].
///
/// # Errors
/// As [`open_read`].
pub fn open_read_with(url: &str, options: &Options) -> Result<Box<dyn Read>, StoreError> {
    match Address::parse(url)? {
        Address::Dir(path) => Ok(Box::new(Dir::new(path))),
        Address::Http(base) => Ok(Box::new(options.retry(Http::new(&base, options.timeouts)?))),
        Address::S3(address) => Ok(open_s3(address, options)?),
    }
}

/// Opens a store for writing, with default [`Options`]. A directory is swept of what crashed writers left.
///
/// # Errors
/// [`StoreError::BadUrl`], also for a web server, which can only be read; [`StoreError::Io`].
pub fn open_write(url: &str) -> Result<Box<dyn Write>, StoreError> {
    open_write_with(url, &Options::default())
}

/// As [`open_write`].
///
/// # Errors
/// As [`open_write`].
pub fn open_write_with(url: &str, options: &Options) -> Result<Box<dyn Write>, StoreError> {
    match Address::parse(url)? {
        Address::Dir(path) => {
            let store = Dir::new(path);
            store.sweep()?;
            Ok(Box::new(store))
        }
        Address::Http(base) => Err(StoreError::BadUrl {
            url: base,
            reason: "a web server can only be read; write to the directory or bucket that it serves".into(),
        }),
        Address::S3(address) => open_s3(address, options),
    }
}

#[cfg(feature = "s3")]
fn open_s3(mut address: S3Address, options: &Options) -> Result<Box<dyn Write>, StoreError> {
    address.credentials = address.credentials.take().or_else(credentials_of_environment);
    Ok(Box::new(options.retry(crate::S3::new(address, options.timeouts)?)))
}

#[cfg(feature = "s3")]
fn credentials_of_environment() -> Option<(String, String)> {
    Some((
        std::env::var("AWS_ACCESS_KEY_ID").ok()?,
        std::env::var("AWS_SECRET_ACCESS_KEY").ok()?,
    ))
}

#[cfg(not(feature = "s3"))]
fn open_s3(address: S3Address, _: &Options) -> Result<Box<dyn Write>, StoreError> {
    Err(StoreError::BadUrl {
        url: address.to_string(),
        reason: "this program is built without S3".into(),
    })
}

//! From a URL to a store.

use crate::{
    Address, Authorities, Dir, Http, Observer, Read, Retry, Route, Routes, S3Address, Schedule, StoreError, Timeouts,
    Write,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Uploads that began longer ago are taken for those of killed writers when a store is opened for writing.
const STALE: Duration = Duration::from_secs(3600);

/// How stores behind a network are used.
#[derive(Clone, Default)]
pub struct Options {
    /// When to give up on one request.
    pub timeouts: Timeouts,
    /// When to try again.
    pub schedule: Schedule,
    /// Who is told before each wait.
    pub observer: Option<Observer>,
    /// Who vouches for servers.
    pub authorities: Authorities,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("timeouts", &self.timeouts)
            .field("schedule", &self.schedule)
            .field("authorities", &self.authorities)
            .finish_non_exhaustive()
    }
}

impl Options {
    fn retry<S>(&self, store: S) -> Retry<S> {
        Retry::new(store, self.schedule, self.observer.clone())
    }
}

/// Opens a store for reading, with default [`Options`]; `url` may be several [`Routes`]. Nothing is sent yet.
///
/// # Errors
/// [`StoreError::BadUrl`]; [`StoreError::NoAuthority`] for `https` and `s3s`.
pub fn open_read(url: &str) -> Result<Box<dyn Read>, StoreError> {
    open_read_with(url, &Options::default())
}

/// As [`open_read`].
///
/// # Errors
/// As [`open_read`].
pub fn open_read_with(url: &str, options: &Options) -> Result<Box<dyn Read>, StoreError> {
    let routes = Routes::parse(url)?;
    match routes.as_slice() {
        [only] => read_one(only.address.clone(), options),
        _ => read_several(&routes, options),
    }
}

/// One of several stores, and what it holds.
pub type RoutedStore = (Route, Arc<dyn Read>);

/// The stores of several [`Routes`], each by itself, for who has to know what each of them has. A store that is the only
/// one is there too.
///
/// # Errors
/// As [`open_read`].
pub fn open_replicas(url: &str, options: &Options) -> Result<Vec<RoutedStore>, StoreError> {
    let routes = Routes::parse(url)?;
    let open = |route: &Route| Ok((route.clone(), read_one(route.address.clone(), options)?.into()));
    routes.as_slice().iter().map(open).collect()
}

/// Opens a store for writing, with default [`Options`]; `url` may be several [`Routes`]. A directory is swept of what
/// crashed writers left.
///
/// # Errors
/// [`StoreError::BadUrl`], also for a web server, which can only be read; [`StoreError::NoAuthority`] for `s3s`; [`StoreError::Io`].
pub fn open_write(url: &str) -> Result<Box<dyn Write>, StoreError> {
    open_write_with(url, &Options::default())
}

/// As [`open_write`].
///
/// # Errors
/// As [`open_write`].
pub fn open_write_with(url: &str, options: &Options) -> Result<Box<dyn Write>, StoreError> {
    let routes = Routes::parse(url)?;
    match routes.as_slice() {
        [only] => write_one(only.address.clone(), options),
        _ => write_several(&routes, options),
    }
}

fn read_one(address: Address, options: &Options) -> Result<Box<dyn Read>, StoreError> {
    match address {
        Address::Dir(path) => Ok(Box::new(Dir::new(path))),
        Address::Http(base) => Ok(Box::new(options.retry(Http::new(&base, options)?))),
        Address::S3(address) => Ok(write_s3(address, options)?),
    }
}

fn write_one(address: Address, options: &Options) -> Result<Box<dyn Write>, StoreError> {
    match address {
        Address::Dir(path) => {
            let store = Dir::new(path);
            store.abort_stale_uploads(STALE)?;
            Ok(Box::new(store))
        }
        Address::Http(base) => Err(StoreError::BadUrl {
            url: base,
            reason: "a web server can only be read; write to the directory or bucket that it serves".into(),
        }),
        Address::S3(address) => write_s3(address, options),
    }
}

/// Each store gets one try at a time: another one may have the object. When none has, all of them are tried again.
#[cfg(feature = "routes")]
fn read_several(routes: &Routes, options: &Options) -> Result<Box<dyn Read>, StoreError> {
    let one_try = Options {
        schedule: Schedule {
            tries: 1,
            ..options.schedule
        },
        ..options.clone()
    };
    let stores = routes.as_slice().iter().map(|route| {
        let store = read_one(route.address.clone(), &one_try)?;
        Ok((route.clone(), store.into()))
    });
    let router = crate::Router::new(stores.collect::<Result<_, StoreError>>()?);
    Ok(Box::new(options.retry(router)))
}

#[cfg(feature = "routes")]
fn write_several(routes: &Routes, options: &Options) -> Result<Box<dyn Write>, StoreError> {
    let stores = routes.as_slice().iter().map(|route| {
        let store = write_one(route.address.clone(), options)?;
        Ok((route.clone(), store.into()))
    });
    let stores = stores.collect::<Result<_, StoreError>>()?;
    Ok(Box::new(crate::RouterWriter::new(stores)))
}

#[cfg(not(feature = "routes"))]
fn read_several(routes: &Routes, _: &Options) -> Result<Box<dyn Read>, StoreError> {
    Err(one_only(routes))
}

#[cfg(not(feature = "routes"))]
fn write_several(routes: &Routes, _: &Options) -> Result<Box<dyn Write>, StoreError> {
    Err(one_only(routes))
}

#[cfg(not(feature = "routes"))]
fn one_only(routes: &Routes) -> StoreError {
    StoreError::BadUrl {
        url: routes.to_string(),
        reason: "this program is built for one store at a time".into(),
    }
}

#[cfg(feature = "s3")]
fn write_s3(mut address: S3Address, options: &Options) -> Result<Box<dyn Write>, StoreError> {
    if address.credentials.is_none() {
        address.credentials = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"));
        address.session_token = address.credentials.as_ref().and(variable("AWS_SESSION_TOKEN"));
    }
    let store = crate::S3::new(address, options)?;
    Ok(Box::new(options.retry(store)))
}

/// A variable of the environment that is set to something.
#[cfg(feature = "s3")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(not(feature = "s3"))]
fn write_s3(address: S3Address, _: &Options) -> Result<Box<dyn Write>, StoreError> {
    Err(StoreError::BadUrl {
        url: address.to_string(),
        reason: "this program is built without S3".into(),
    })
}

//! HTTP requests, and how their answers become bytes or errors. Shared by the backends behind a network.
//!
//! One call is one try; [`crate::Retry`] does the rest. Nothing here trusts the server: lengths are bounded by the
//! caller, every wait by [`Timeouts`], and messages carry no URL, because signed URLs are secrets for a while.

use crate::{Options, Read, StoreError, parallel, range};
use std::fmt;
use std::io::{self, Read as _};
use std::ops::Range;
use std::time::Duration;
#[cfg(feature = "s3")]
use ureq::RequestBuilder;
use ureq::http::{Response, StatusCode, header};
#[cfg(feature = "s3")]
use ureq::typestate::WithBody;
use ureq::{Agent, Body};

/// Bytes of memory that an answer gets before it comes: a request of several frames.
const AT_FIRST: u64 = 4 << 20;

/// When to give up on one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the server's first answer, and for each further piece of it.
    pub read: Duration,
    /// For the whole request; an upload gets a second more for every 64 KiB.
    pub total: Duration,
}

impl Default for Timeouts {
    /// 10 s, 30 s, 10 min: a blob of a few MiB over a slow line, and a dead server noticed while somebody watches.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(30),
            total: Duration::from_secs(600),
        }
    }
}

/// Slowest upload that is waited for, in bytes per second, on top of [`Timeouts::total`].
#[cfg(feature = "s3")]
const SLOWEST_UPLOAD: u64 = 64 * 1024;
/// Redirects followed; more are a loop.
const MAX_REDIRECTS: u32 = 5;
/// The user agent header.
const USER_AGENT: &str = concat!("mos/", env!("CARGO_PKG_VERSION"));

pub(crate) type Answer = Response<Body>;

/// Sends requests on behalf of one store.
#[derive(Clone)]
pub(crate) struct Transport {
    agent: Agent,
    #[cfg(feature = "tls")]
    authorities: crate::Authorities,
    #[cfg(feature = "s3")]
    total: Duration,
}

impl Transport {
    /// Requests to this server, or to where it redirects: from `https` to `https` only.
    pub(crate) fn new(base: &str, options: &Options, follow_redirects: bool) -> Result<Self, StoreError> {
        let timeouts = options.timeouts;
        let secure = base.starts_with("https:");
        let config = Agent::config_builder()
            .https_only(secure)
            .user_agent(USER_AGENT)
            // Ranges and lengths count the bytes of the object, not of a compressed copy.
            .accept_encoding("identity")
            .http_status_as_error(false)
            .max_redirects(if follow_redirects { MAX_REDIRECTS } else { 0 })
            .max_redirects_will_error(follow_redirects)
            .max_idle_connections_per_host(parallel::WIDTH)
            .max_idle_connections(4 * parallel::WIDTH)
            .timeout_connect(Some(timeouts.connect))
            .timeout_recv_response(Some(timeouts.read))
            .timeout_per_read(Some(timeouts.read))
            .timeout_per_write(Some(timeouts.read))
            .timeout_global(Some(timeouts.total));
        #[cfg(feature = "tls")]
        let config = config.tls_config(crate::tls::config(base, &options.authorities, secure)?);
        Ok(Self {
            agent: config.build().into(),
            #[cfg(feature = "tls")]
            authorities: options.authorities.clone(),
            #[cfg(feature = "s3")]
            total: timeouts.total,
        })
    }

    pub(crate) fn get(&self, store: &dyn Read, url: &str, range: Option<&Range<u64>>) -> Result<Answer, StoreError> {
        let request = self.agent.get(url);
        let request = match range {
            // The last byte of an HTTP range is part of it (RFC 9110, 14.1.2). Callers pass no empty ranges.
            Some(range) => request.header(header::RANGE, format!("bytes={}-{}", range.start, range.end - 1)),
            None => request,
        };
        self.answer(store, request.call())
    }

    pub(crate) fn head(&self, store: &dyn Read, url: &str) -> Result<Answer, StoreError> {
        self.answer(store, self.agent.head(url).call())
    }

    #[cfg(feature = "s3")]
    pub(crate) fn put(&self, store: &dyn Read, url: &str, bytes: &[u8]) -> Result<Answer, StoreError> {
        self.send(store, self.agent.put(url), bytes)
    }

    #[cfg(feature = "s3")]
    pub(crate) fn post(&self, store: &dyn Read, url: &str, bytes: &[u8]) -> Result<Answer, StoreError> {
        self.send(store, self.agent.post(url), bytes)
    }

    #[cfg(feature = "s3")]
    fn send(&self, store: &dyn Read, request: RequestBuilder<WithBody>, bytes: &[u8]) -> Result<Answer, StoreError> {
        let total = self.total + Duration::from_secs(bytes.len() as u64 / SLOWEST_UPLOAD);
        let request = request.config().timeout_global(Some(total)).build();
        self.answer(store, request.send(bytes))
    }

    #[cfg(feature = "s3")]
    pub(crate) fn delete(&self, store: &dyn Read, url: &str) -> Result<Answer, StoreError> {
        self.answer(store, self.agent.delete(url).call())
    }

    /// An answer that is worth looking at; one of a server in trouble is worth another try.
    fn answer(&self, store: &dyn Read, result: Result<Answer, ureq::Error>) -> Result<Answer, StoreError> {
        let answer = result.map_err(|error| self.send_error(store, error))?;
        let status = answer.status();
        // 408 and 429 ask for another try (RFC 9110, 15.5.9; RFC 6585, 4).
        // What a server does not have (501) it will not have then either.
        let again =
            (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED) || matches!(status.as_u16(), 408 | 429);
        if again {
            Err(StoreError::unreachable(store, format!("the server answers {status}")))
        } else {
            Ok(answer)
        }
    }

    fn send_error(&self, store: &dyn Read, error: ureq::Error) -> StoreError {
        #[cfg(feature = "tls")]
        if let Some(refusal) = crate::tls::refusal(store, &self.authorities, &error) {
            return refusal;
        }
        let refused = |reason| StoreError::refused(store, "request", reason);
        match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => refused("the URL is not valid"),
            ureq::Error::TooManyRedirects => refused("too many redirects"),
            ureq::Error::RequireHttpsOnly(_) => refused("the server redirects from https to http"),
            other => StoreError::unreachable(store, other.to_string()),
        }
    }
}

/// The agent is left out: it may know the password of a proxy.
impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// What a status other than the expected ones means.
pub(crate) fn status_error(store: &dyn Read, name: &str, status: StatusCode, detail: Option<String>) -> StoreError {
    let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
    StoreError::refused(store, name, format!("the server answers {status}{detail}"))
}

/// The length that the answer announces.
pub(crate) fn announced_length(answer: &Answer) -> Option<u64> {
    answer
        .headers()
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Room for what is to come; no more than [`AT_FIRST`], because it may not come.
fn buffer(length: u64) -> Vec<u8> {
    Vec::with_capacity(length.min(AT_FIRST) as usize)
}

/// The whole body of a `200`, at most `limit` bytes.
pub(crate) fn whole(store: &dyn Read, name: &str, mut answer: Answer, limit: u64) -> Result<Vec<u8>, StoreError> {
    let announced = announced_length(&answer);
    if announced.is_some_and(|length| length > limit) {
        return Err(StoreError::too_large(store, name, limit));
    }
    let mut bytes = buffer(announced.unwrap_or(0));
    let mut body = answer.body_mut().as_reader().take(limit.saturating_add(1));
    body.read_to_end(&mut bytes)
        .map_err(|error| cut_off(store, name, bytes.len(), announced, &error))?;
    if bytes.len() as u64 > limit {
        return Err(StoreError::too_large(store, name, limit));
    }
    Ok(bytes)
}

/// A part of an object, from a `206`, or from a `200` of a server that ignores ranges.
pub(crate) fn part(
    store: &dyn Read,
    name: &str,
    mut answer: Answer,
    wanted: &Range<u64>,
) -> Result<Vec<u8>, StoreError> {
    let skip = match answer.status() {
        StatusCode::PARTIAL_CONTENT => check_content_range(store, name, &answer, wanted).map(|()| 0)?,
        _ => wanted.start,
    };
    let announced = announced_length(&answer);
    let mut body = answer.body_mut().as_reader();
    let mut bytes = buffer(wanted.end - wanted.start);
    let read = io::copy(&mut (&mut body).take(skip), &mut io::sink())
        .and_then(|_| (&mut body).take(wanted.end - wanted.start).read_to_end(&mut bytes));
    read.map_err(|error| cut_off(store, name, bytes.len(), announced, &error))?;
    if (bytes.len() as u64) < wanted.end - wanted.start {
        return Err(range::short(store, name, wanted, bytes.len() as u64));
    }
    if announced == Some(wanted.end - wanted.start) {
        // Nothing more comes; but only a connection whose reader saw the end is used again.
        let _ = body.read(&mut [0]);
    }
    Ok(bytes)
}

/// Refuses a `206` that begins elsewhere (`Content-Range: bytes 5-9/20`).
fn check_content_range(store: &dyn Read, name: &str, answer: &Answer, wanted: &Range<u64>) -> Result<(), StoreError> {
    let value = answer
        .headers()
        .get(header::CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let start = value
        .strip_prefix("bytes ")
        .and_then(|rest| rest.split_once('-'))
        .map(|(start, _)| start.parse());
    if start == Some(Ok(wanted.start)) {
        return Ok(());
    }
    let reason = format!(
        "bytes from {} were asked for, and `{}` came",
        wanted.start,
        value.escape_debug()
    );
    Err(StoreError::refused(store, name, reason))
}

fn cut_off(store: &dyn Read, name: &str, got: usize, announced: Option<u64>, error: &io::Error) -> StoreError {
    let of = announced.map(|length| format!(" of {length}")).unwrap_or_default();
    StoreError::unreachable(store, format!("{name} was cut off after {got}{of} bytes: {error}"))
}

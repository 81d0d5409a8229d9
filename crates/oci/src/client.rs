//! One repository of one registry over HTTP (OCI distribution specification 1.1).
//!
//! Nothing here trusts the registry: answers are bounded, blobs and manifests are compared with the digest that was
//! asked for, and our credentials go only to the registry's own address and to the token server that it names.

use std::fmt;
use std::io::Read as _;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use mos_store::Timeouts;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderName, Method, Request, Response, StatusCode, header};
use ureq::{Agent, Body};

use crate::auth::{self, Challenge};
use crate::credentials::Secret;
use crate::{Credentials, OciError, Reference, Sha256, Target};

/// Longest answer that is neither a blob nor a manifest: errors, tokens.
const MAX_ANSWER: u64 = 256 << 10;
/// Most bytes of an error that are shown.
const MAX_DETAIL: usize = 300;
/// Redirects followed; more are a loop.
const MAX_REDIRECTS: u32 = 5;
/// Slowest upload that is waited for, in bytes per second, on top of the whole time allowed.
const SLOWEST_UPLOAD: u64 = 64 << 10;
/// The user agent header.
const USER_AGENT: &str = concat!("mos/", env!("CARGO_PKG_VERSION"));
/// The address of Docker's registry, whose name is another.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// How a registry is used.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// When to give up on one request.
    pub timeouts: Timeouts,
    /// Tries in all, for what may work later.
    pub tries: u32,
    /// Wait after the first failure; doubles.
    pub wait: Duration,
    /// Layers in transfer at the same time.
    pub parallel: usize,
    /// Content larger than this is uploaded in pieces of this size; smaller content too, when the registry finds it too
    /// large for one request.
    pub piece: usize,
}

impl Default for Options {
    /// Five tries within four seconds of waiting, four layers at once, pieces of 32 MiB: larger than any blob, so that
    /// pieces, which not every registry takes, are the exception.
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            tries: 5,
            wait: Duration::from_millis(250),
            parallel: 4,
            piece: 32 << 20,
        }
    }
}

/// What a piece is when the registry found the whole too large: under every limit of a proxy that was met.
const SMALL_PIECE: usize = 1 << 20;

/// A repository of a registry.
pub struct Registry {
    agent: Agent,
    /// `https://host:port`
    origin: String,
    pub(crate) reference: Reference,
    credentials: Credentials,
    pub(crate) options: Options,
    /// The value of the authorization header that worked last.
    authorization: Mutex<Option<String>>,
    actions: &'static str,
}

/// The agent may know the password of a proxy, the header is a secret.
impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry({})", self.reference)
    }
}

/// One request.
struct Ask<'a> {
    method: Method,
    url: String,
    headers: Vec<(HeaderName, String)>,
    body: Option<&'a [u8]>,
}

/// Why one try failed.
enum Trouble {
    /// May work later.
    Again(String),
    /// Will not.
    Final(OciError),
}

impl From<OciError> for Trouble {
    fn from(error: OciError) -> Self {
        Self::Final(error)
    }
}

type Try<T> = Result<T, Trouble>;

impl Registry {
    /// The registry and repository of an address, for reading. Nothing is sent yet.
    ///
    /// # Errors
    /// [`OciError::Store`] when `https` is needed and this host has no list of authorities.
    pub fn reader(reference: &Reference, credentials: Credentials, options: Options) -> Result<Self, OciError> {
        Self::new(reference, credentials, options, "pull")
    }

    /// The same for reading and writing.
    ///
    /// # Errors
    /// As [`Registry::reader`].
    pub fn writer(reference: &Reference, credentials: Credentials, options: Options) -> Result<Self, OciError> {
        Self::new(reference, credentials, options, "pull,push")
    }

    fn new(
        reference: &Reference,
        credentials: Credentials,
        options: Options,
        actions: &'static str,
    ) -> Result<Self, OciError> {
        let scheme = if reference.is_loopback() { "http" } else { "https" };
        let host = match reference.registry.as_str() {
            name if name == DOCKER_HUB.0 => DOCKER_HUB.1,
            other => other,
        };
        let origin = format!("{scheme}://{host}");
        Ok(Self {
            agent: agent(&origin, &options)?,
            origin,
            reference: reference.clone(),
            credentials,
            options,
            authorization: Mutex::default(),
            actions,
        })
    }

    /// The length of a blob in bytes, or `None` when the repository does not have it.
    pub(crate) fn blob_length(&self, digest: &Sha256) -> Result<Option<u64>, OciError> {
        let what = format!("blob {digest}");
        self.tries(|| {
            let answer = self.send(&self.get(Method::HEAD, &format!("blobs/{digest}")), &what)?;
            match answer.status() {
                StatusCode::NOT_FOUND => Ok(None),
                StatusCode::OK => Ok(announced(&answer)),
                _ => Err(self.refused(&what, answer)),
            }
        })
    }

    /// A whole blob of exactly `length` bytes, compared with its digest.
    pub(crate) fn blob(&self, digest: &Sha256, length: u64) -> Result<Vec<u8>, OciError> {
        let what = format!("blob {digest}");
        self.tries(|| {
            let answer = self.send(&self.get(Method::GET, &format!("blobs/{digest}")), &what)?;
            let bytes = match answer.status() {
                StatusCode::OK => read(answer, length.saturating_add(1))?,
                _ => return Err(self.refused(&what, answer)),
            };
            match bytes.len() as u64 == length && digest.matches(&bytes) {
                true => Ok(bytes),
                false => Err(self.tampered(&what).into()),
            }
        })
    }

    /// A part of a blob, which nothing here can check.
    pub(crate) fn blob_range(&self, digest: &Sha256, wanted: &Range<u64>) -> Result<Vec<u8>, OciError> {
        let what = format!("blob {digest}");
        let length = wanted.end.saturating_sub(wanted.start);
        if length == 0 {
            return Ok(Vec::new());
        }
        self.tries(|| {
            let mut ask = self.get(Method::GET, &format!("blobs/{digest}"));
            ask.headers
                .push((header::RANGE, format!("bytes={}-{}", wanted.start, wanted.end - 1)));
            let answer = self.send(&ask, &what)?;
            match answer.status() {
                StatusCode::PARTIAL_CONTENT => read(answer, length),
                // A registry may ignore ranges.
                StatusCode::OK => {
                    let mut bytes = read(answer, wanted.end)?;
                    Ok(bytes.split_off(bytes.len().min(wanted.start as usize)))
                }
                _ => Err(self.refused(&what, answer)),
            }
        })
    }

    /// The manifest that the address names, and nothing of a type that was not asked for.
    pub(crate) fn manifest(&self, media_type: &str, limit: u64) -> Result<Vec<u8>, OciError> {
        self.manifest_at(&self.reference.target, media_type, limit)
    }

    /// The same for another manifest of the repository.
    pub(crate) fn manifest_at(&self, target: &Target, media_type: &str, limit: u64) -> Result<Vec<u8>, OciError> {
        let what = format!("manifest {target}");
        let bytes = self.tries(|| {
            let mut ask = self.get(Method::GET, &format!("manifests/{target}"));
            ask.headers.push((header::ACCEPT, media_type.to_owned()));
            let answer = self.send(&ask, &what)?;
            match answer.status() {
                StatusCode::OK => read(answer, limit.saturating_add(1)),
                _ => Err(self.refused(&what, answer)),
            }
        })?;
        match target {
            _ if bytes.len() as u64 > limit => Err(self.refusal(&what, format!("it has more than {limit} bytes"))),
            Target::Digest(digest) if !digest.matches(&bytes) => Err(self.tampered(&what)),
            _ => Ok(bytes),
        }
    }

    /// Stores a manifest under the address's name.
    pub(crate) fn put_manifest(&self, media_type: &str, bytes: &[u8]) -> Result<(), OciError> {
        let target = &self.reference.target;
        let what = format!("manifest {target}");
        self.tries(|| {
            let ask = Ask {
                method: Method::PUT,
                url: self.url(&format!("manifests/{target}")),
                headers: vec![(header::CONTENT_TYPE, media_type.to_owned())],
                body: Some(bytes),
            };
            self.expect(&ask, &what, StatusCode::CREATED).map(|_| ())
        })
    }

    /// Stores a blob.
    pub(crate) fn put_blob(&self, digest: &Sha256, bytes: &[u8]) -> Result<(), OciError> {
        let what = format!("blob {digest}");
        self.tries(|| {
            if bytes.len() > self.options.piece {
                return self.upload(digest, bytes, self.options.piece, &what);
            }
            let place = self.begin_upload(&what)?;
            let answer = self.send(&self.finish(&place, digest, bytes), &what)?;
            match answer.status() {
                StatusCode::CREATED => Ok(()),
                StatusCode::PAYLOAD_TOO_LARGE => self.upload(digest, bytes, SMALL_PIECE, &what),
                _ => Err(self.refused(&what, answer)),
            }
        })
    }

    /// Uploads in pieces: each answer says where the next one goes.
    fn upload(&self, digest: &Sha256, bytes: &[u8], piece: usize, what: &str) -> Try<()> {
        let mut place = self.begin_upload(what)?;
        let mut start = 0;
        for piece in bytes.chunks(piece) {
            let end = start + piece.len();
            let ask = Ask {
                method: Method::PATCH,
                url: place,
                headers: vec![
                    (header::CONTENT_TYPE, OCTETS.to_owned()),
                    // The last byte is part of it, and there is no unit before it, unlike elsewhere in HTTP.
                    (header::CONTENT_RANGE, format!("{start}-{}", end - 1)),
                ],
                body: Some(piece),
            };
            place = self.location(&self.expect(&ask, what, StatusCode::ACCEPTED)?, what)?;
            start = end;
        }
        self.expect(&self.finish(&place, digest, &[]), what, StatusCode::CREATED)
            .map(|_| ())
    }

    fn begin_upload(&self, what: &str) -> Try<String> {
        let ask = Ask {
            method: Method::POST,
            url: self.url("blobs/uploads/"),
            headers: Vec::new(),
            body: Some(&[]),
        };
        self.location(&self.expect(&ask, what, StatusCode::ACCEPTED)?, what)
    }

    fn finish<'b>(&self, place: &str, digest: &Sha256, bytes: &'b [u8]) -> Ask<'b> {
        let separator = if place.contains('?') { '&' } else { '?' };
        Ask {
            method: Method::PUT,
            url: format!("{place}{separator}digest={digest}"),
            headers: vec![(header::CONTENT_TYPE, OCTETS.to_owned())],
            body: Some(bytes),
        }
    }

    /// Where to go on with an upload.
    fn location(&self, answer: &Response<Body>, what: &str) -> Try<String> {
        let place = answer
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok());
        match place {
            Some(path) if path.starts_with('/') && !path.starts_with("//") => Ok(format!("{}{path}", self.origin)),
            Some(url) if url.starts_with("https://") || self.is_own(url) => Ok(url.to_owned()),
            _ => Err(self.refusal(what, "it does not say where to upload").into()),
        }
    }

    fn get(&self, method: Method, path: &str) -> Ask<'static> {
        Ask {
            method,
            url: self.url(path),
            headers: Vec::new(),
            body: None,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v2/{}/{path}", self.origin, self.reference.repository)
    }

    fn is_own(&self, url: &str) -> bool {
        url.strip_prefix(&self.origin).is_some_and(|rest| rest.starts_with('/'))
    }
}

fn agent(origin: &str, options: &Options) -> Result<Agent, OciError> {
    let config = Agent::config_builder()
        .user_agent(USER_AGENT)
        .accept_encoding("identity")
        .http_status_as_error(false)
        .max_redirects(MAX_REDIRECTS)
        // Registries send readers to buckets, which must not see our credentials.
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .timeout_connect(Some(options.timeouts.connect))
        .timeout_recv_response(Some(options.timeouts.read))
        .timeout_per_read(Some(options.timeouts.read))
        .timeout_global(Some(options.timeouts.total));
    #[cfg(feature = "tls")]
    let config = {
        let needed = origin.starts_with("https:");
        config.tls_config(mos_store::tls_config(
            origin,
            &mos_store::Authorities::default(),
            needed,
        )?)
    };
    #[cfg(not(feature = "tls"))]
    if origin.starts_with("https:") {
        return Err(OciError::Store(mos_store::StoreError::BadUrl {
            url: origin.to_owned(),
            reason: "this program is built without https".to_owned(),
        }));
    }
    Ok(config.build().into())
}

const OCTETS: &str = "application/octet-stream";

/// Sending, and being let in.
impl Registry {
    /// Tries again, with growing waits, what may work later.
    fn tries<T>(&self, mut one: impl FnMut() -> Try<T>) -> Result<T, OciError> {
        let mut wait = self.options.wait;
        for tries in 1.. {
            match one() {
                Ok(done) => return Ok(done),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Again(reason)) if tries >= self.options.tries => {
                    return Err(OciError::Unreachable {
                        registry: self.reference.registry.clone(),
                        tries,
                        reason,
                    });
                }
                Err(Trouble::Again(_)) => thread::sleep(wait),
            }
            wait *= 2;
        }
        unreachable!("the last try returns")
    }

    fn expect(&self, ask: &Ask<'_>, what: &str, wanted: StatusCode) -> Try<Response<Body>> {
        let answer = self.send(ask, what)?;
        match answer.status() {
            status if status == wanted => Ok(answer),
            _ => Err(self.refused(what, answer)),
        }
    }

    /// Sends a request, and once more with fresh authorization when the registry wants some.
    fn send(&self, ask: &Ask<'_>, what: &str) -> Try<Response<Body>> {
        let own = self.is_own(&ask.url);
        let known = self.authorization().clone().filter(|_| own);
        let answer = self.send_once(ask, known.as_deref())?;
        if answer.status() != StatusCode::UNAUTHORIZED || !own {
            return Ok(answer);
        }
        let fresh = self.authorize(&answer, what)?;
        let answer = self.send_once(ask, Some(&fresh))?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            *self.authorization() = Some(fresh);
        }
        Ok(answer)
    }

    fn authorization(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        // A string is whole or not there, whoever panicked.
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send_once(&self, ask: &Ask<'_>, authorization: Option<&str>) -> Try<Response<Body>> {
        let mut request = Request::builder().method(ask.method.clone()).uri(&ask.url);
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let invalid = |_| Trouble::Final(self.refusal("a request", "its address or credentials are not valid in HTTP"));
        let sent = match ask.body {
            None => self.agent.run(request.body(()).map_err(invalid)?),
            Some(bytes) => {
                let request = request.body(bytes).map_err(invalid)?;
                let total = self.options.timeouts.total + Duration::from_secs(bytes.len() as u64 / SLOWEST_UPLOAD);
                let request = self.agent.configure_request(request);
                // An upload that is sent elsewhere half-way is begun anew by its Location, never by a redirect.
                self.agent
                    .run(request.timeout_global(Some(total)).max_redirects(0).build())
            }
        };
        let answer = sent.map_err(|error| Trouble::Again(error.to_string()))?;
        let status = answer.status();
        // 408 and 429 ask for another try (RFC 9110, 15.5.9; RFC 6585, 4).
        if status.is_server_error() || matches!(status.as_u16(), 408 | 429) {
            return Err(Trouble::Again(format!("the server answers {status}")));
        }
        Ok(answer)
    }

    /// The authorization header that the registry asks for.
    fn authorize(&self, answer: &Response<Body>, what: &str) -> Try<String> {
        let headers = answer.headers().get_all(header::WWW_AUTHENTICATE);
        let challenge = headers
            .iter()
            .filter_map(|value| auth::parse_challenge(value.to_str().ok()?))
            .next();
        match (challenge, &self.credentials.0) {
            (Some(Challenge::Basic), Secret::Basic(user, password)) => Ok(auth::basic(user, password)),
            (Some(Challenge::Basic), _) => Err(self.denied(what, "it wants a user name and a password").into()),
            (Some(Challenge::Bearer { realm, service }), _) => self.token(&realm, service.as_deref(), what),
            (None, _) => Err(self
                .denied(what, "it wants an authentication that is not supported")
                .into()),
        }
    }

    /// Asks the token server.
    fn token(&self, realm: &str, service: Option<&str>, what: &str) -> Try<String> {
        let safe = realm.starts_with("https://") || (self.reference.is_loopback() && realm.starts_with("http://"));
        if !safe {
            return Err(self.denied(what, "its token server is not reached by https").into());
        }
        let scope = format!("repository:{}:{}", self.reference.repository, self.actions);
        let separator = if realm.contains('?') { '&' } else { '?' };
        let query = format!("{realm}{separator}{}", auth::token_query(service, &scope));
        let ask = |method, url, headers| Ask {
            method,
            url,
            headers,
            body: None,
        };
        let answer = match &self.credentials.0 {
            Secret::Anonymous => self.send_once(&ask(Method::GET, query, Vec::new()), None)?,
            Secret::Basic(user, password) => {
                self.send_once(&ask(Method::GET, query, Vec::new()), Some(&auth::basic(user, password)))?
            }
            Secret::Identity(token) => {
                let form = auth::exchange_form(service, &scope, token);
                let headers = vec![(header::CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned())];
                let mut ask = ask(Method::POST, realm.to_owned(), headers);
                ask.body = Some(form.as_bytes());
                self.send_once(&ask, None)?
            }
        };
        let status = answer.status();
        let bytes = read(answer, MAX_ANSWER)?;
        match auth::bearer(&bytes) {
            Some(value) if status == StatusCode::OK => Ok(value),
            _ => Err(self.denied(what, format!("its token server answers {status}")).into()),
        }
    }

    fn denied(&self, what: &str, reason: impl Into<String>) -> OciError {
        OciError::Denied {
            registry: self.reference.registry.clone(),
            what: format!("{}, {what}", self.reference.repository),
            reason: reason.into(),
        }
    }

    fn tampered(&self, what: &str) -> OciError {
        OciError::Tampered {
            registry: self.reference.registry.clone(),
            what: what.to_owned(),
        }
    }

    pub(crate) fn refusal(&self, what: &str, reason: impl Into<String>) -> OciError {
        OciError::Refused {
            registry: self.reference.registry.clone(),
            what: what.to_owned(),
            reason: reason.into(),
        }
    }

    /// What a status other than the expected ones means.
    fn refused(&self, what: &str, answer: Response<Body>) -> Trouble {
        let status = answer.status();
        let detail = read(answer, MAX_ANSWER).map(|bytes| detail(&bytes)).unwrap_or_default();
        let reason = format!("the server answers {status}{detail}");
        Trouble::Final(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.denied(what, reason),
            StatusCode::NOT_FOUND => OciError::NotFound {
                registry: self.reference.registry.clone(),
                what: format!("{what} in {}", self.reference.repository),
            },
            _ => self.refusal(what, reason),
        })
    }
}

/// The message of an error (`{"errors":[{"code":…,"message":…}]}`), one line.
fn detail(bytes: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let first = &value["errors"][0];
    let parts = [&first["code"], &first["message"]].map(|part| part.as_str().unwrap_or_default());
    let text: String = parts.join(" ").trim().escape_debug().take(MAX_DETAIL).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

fn announced(answer: &Response<Body>) -> Option<u64> {
    answer
        .headers()
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// At most `limit` bytes of an answer.
fn read(mut answer: Response<Body>, limit: u64) -> Try<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = answer.body_mut().as_reader().take(limit).read_to_end(&mut bytes);
    read.map_err(|error| Trouble::Again(format!("the answer was cut off after {} bytes: {error}", bytes.len())))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_registries_become_one_line() {
        let text = br#"{"errors":[{"code":"DENIED","message":"not\nallowed","detail":{}}]}"#;
        assert_eq!(detail(text), ": DENIED not\\nallowed");
        assert_eq!(detail(b"<html>"), "");
        assert_eq!(detail(br#"{"errors":[]}"#), "");
    }

    #[test]
    fn credentials_stay_with_the_registry() {
        let reference = Reference::parse("oci://localhost:5000/a").unwrap();
        let registry = Registry::reader(&reference, Credentials::basic("me", "secret"), Options::default()).unwrap();
        assert!(registry.is_own("http://localhost:5000/v2/a/blobs/uploads/1"));
        for url in [
            "http://localhost:50000/x",
            "http://localhost:5000.example.org/x",
            "https://localhost:5000/x",
        ] {
            assert!(!registry.is_own(url), "{url}");
        }
        assert!(!format!("{registry:?}").contains("secret"));
    }
}

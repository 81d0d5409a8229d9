//! The URLs of stores. Pure: nothing is opened, and the environment is not read.

use crate::{StoreError, name};
use std::fmt;
use std::path::PathBuf;

/// Region of a bucket whose URL names none: the one that S3 itself defaults to, and that MinIO expects.
const DEFAULT_REGION: &str = "us-east-1";

/// A parsed store URL. Shown without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `dir:///path`
    Dir(PathBuf),
    /// `http://host/path` or `https://host/path`, without a slash at the end.
    Http(String),
    /// `s3://…` or `s3s://…`
    S3(S3Address),
}

/// The address of a bucket, and what opens it.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Address {
    /// Speak TLS.
    pub tls: bool,
    /// `host` or `host:port`.
    pub host: String,
    /// The bucket.
    pub bucket: String,
    /// What comes before every name, without slashes at its ends; may be empty.
    pub prefix: String,
    /// The region that requests are signed for.
    pub region: String,
    /// How requests name the bucket.
    pub style: Style,
    /// Access key and secret, when the URL has them.
    pub credentials: Option<(String, String)>,
    /// What goes with temporary credentials (`AWS_SESSION_TOKEN`); never in a URL.
    pub session_token: Option<String>,
}

/// How requests name a bucket ("Virtual hosting of buckets").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// `https://host/bucket/name`: every server of one's own.
    #[default]
    Path,
    /// `https://bucket.host/name`: what some providers want (`?style=virtual`).
    VirtualHost,
}

impl Address {
    /// Parses a store URL.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`], with secrets removed.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        parse(url).map_err(|reason| StoreError::BadUrl {
            url: redact(url),
            reason,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(path) => write!(f, "dir://{}", path.display()),
            Self::Http(base) => f.write_str(base),
            Self::S3(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for S3Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "s3s" } else { "s3" };
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "{scheme}://{}/{}{slash}{}", self.host, self.bucket, self.prefix)
    }
}

impl fmt::Debug for S3Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Address({self}?region={}, {:?})", self.region, self.style)
    }
}

fn parse(url: &str) -> Result<Address, String> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or("write dir:///path, http(s)://host/path or s3(s)://host/bucket")?;
    match scheme {
        "dir" => parse_dir(rest),
        "http" | "https" => parse_http(scheme, rest),
        "s3" => parse_s3(false, rest).map(Address::S3),
        // The long spellings are those of rfs.
        "s3s" | "s3s+tls" | "s3+tls" => parse_s3(true, rest).map(Address::S3),
        _ => Err("a store is dir://, http://, https://, s3:// or s3s://".into()),
    }
}

fn parse_dir(path: &str) -> Result<Address, String> {
    match path.starts_with('/') {
        true => Ok(Address::Dir(path.into())),
        false => Err("the directory must be absolute: dir:///path".into()),
    }
}

fn parse_http(scheme: &str, rest: &str) -> Result<Address, String> {
    if rest.contains(['?', '#']) {
        return Err("objects are named by path: leave out `?` and `#`".into());
    }
    if rest.contains('@') {
        return Err("names and passwords in http addresses are not supported".into());
    }
    let base = format!("{scheme}://{}", rest.trim_end_matches('/'));
    let uri: ureq::http::Uri = base.parse().map_err(|error| format!("{error}"))?;
    match uri.host() {
        Some(host) if !host.is_empty() => Ok(Address::Http(base)),
        _ => Err("the host is missing".into()),
    }
}

fn parse_s3(tls: bool, rest: &str) -> Result<S3Address, String> {
    // Secrets of AWS contain slashes, so the credentials end at the last `@`, wherever the first slash is.
    let (credentials, place) = match rest.rsplit_once('@') {
        Some((credentials, place)) => (Some(parse_credentials(credentials)?), place),
        None => (None, rest),
    };
    let (place, query) = place.split_once('?').unwrap_or((place, ""));
    let (host, path) = place.split_once('/').ok_or("the bucket is missing: s3://host/bucket")?;
    let (bucket, prefix) = path
        .trim_end_matches('/')
        .split_once('/')
        .unwrap_or((path.trim_end_matches('/'), ""));
    if host.is_empty() || bucket.is_empty() {
        return Err("host or bucket is missing: s3://host/bucket".into());
    }
    if !has_numeric_port(host) {
        return Err("the port is not a number; credentials are written KEY:SECRET@ before the host".into());
    }
    if !prefix.is_empty() {
        name::check(prefix).map_err(|_| format!("`{prefix}` cannot begin names"))?;
    }
    let mut address = S3Address {
        tls,
        host: host.into(),
        bucket: bucket.into(),
        prefix: prefix.into(),
        region: DEFAULT_REGION.into(),
        style: Style::Path,
        credentials,
        session_token: None,
    };
    query
        .split('&')
        .filter(|setting| !setting.is_empty())
        .try_for_each(|setting| address.set(setting))?;
    Ok(address)
}

impl S3Address {
    /// Applies one setting of the query; the message does not repeat it, since it may be a misplaced secret.
    fn set(&mut self, setting: &str) -> Result<(), String> {
        match setting.split_once('=') {
            Some(("region", region)) if is_region(region) => self.region = region.into(),
            Some(("style", "path")) => self.style = Style::Path,
            Some(("style", "virtual")) => self.style = Style::VirtualHost,
            _ => return Err("only `region=NAME` and `style=path` or `style=virtual` may follow the `?`".into()),
        }
        Ok(())
    }
}

fn is_region(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn parse_credentials(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((key, secret)) if !key.is_empty() && !secret.is_empty() => Ok((decode(key)?, decode(secret)?)),
        _ => Err("write KEY:SECRET@ before the host".into()),
    }
}

/// Decodes percent-encoding. The message does not repeat the text, which may be a secret.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => (decode_pair(*high, *low)?, tail),
            (b'%', _) => return Err(BAD_PERCENT.into()),
            (byte, tail) => (*byte, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| "the credentials are not UTF-8".into())
}

const BAD_PERCENT: &str = "in the credentials, `%` must be followed by two hexadecimal digits (`%` itself is `%25`)";

fn decode_pair(high: u8, low: u8) -> Result<u8, String> {
    let mut byte = [0];
    hex::decode_to_slice([high, low], &mut byte).map_err(|_| BAD_PERCENT)?;
    Ok(byte[0])
}

/// False for `a:b` where `b` is no port: a secret without its `@`, perhaps.
fn has_numeric_port(host: &str) -> bool {
    let port = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map_or("?", |(_, port)| port).strip_prefix(':'),
        None => host.split_once(':').map(|(_, port)| port),
    };
    port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The URL with everything removed that could be a secret: what stands before the last `@`, a host that has no proper
/// port, and the query.
pub(crate) fn redact(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let rest = rest
        .rsplit_once('@')
        .map_or_else(|| rest.to_owned(), |(_, place)| format!("***@{place}"));
    let rest = rest
        .split_once('?')
        .map_or_else(|| rest.clone(), |(place, _)| format!("{place}?…"));
    let host = rest.split('/').next().unwrap_or_default();
    let rest = match scheme.starts_with("s3") && !has_numeric_port(host) {
        true => format!("***{}", &rest[host.len()..]),
        false => rest,
    };
    if scheme.is_empty() {
        rest
    } else {
        format!("{scheme}://{rest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn s3(url: &str) -> S3Address {
        match Address::parse(url).unwrap() {
            Address::S3(address) => address,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_form_of_the_grammar() {
        assert_eq!(
            Address::parse("dir:///srv/a@b").unwrap(),
            Address::Dir("/srv/a@b".into())
        );
        assert_eq!(
            Address::parse("http://h:8080/c/").unwrap(),
            Address::Http("http://h:8080/c".into())
        );
        let address = s3("s3s://KEY:se/cr%40et@h:9000/bucket/a/b/?region=garage");
        assert_eq!(address.credentials, Some(("KEY".into(), "se/cr@et".into())));
        assert_eq!((address.host.as_str(), address.bucket.as_str()), ("h:9000", "bucket"));
        assert_eq!(
            (address.prefix.as_str(), address.region.as_str(), address.tls),
            ("a/b", "garage", true)
        );
        assert_eq!(address.style, Style::Path);
        let address = s3("s3s://s3.eu-west-1.amazonaws.com/b?style=virtual&region=eu-west-1");
        assert_eq!(
            (address.style, address.region.as_str()),
            (Style::VirtualHost, "eu-west-1")
        );
        for scheme in ["s3s+tls", "s3+tls"] {
            assert_eq!(s3(&format!("{scheme}://K:S@h/b")), s3("s3s://K:S@h/b"));
        }
        let plain = s3("s3://h/bucket");
        assert_eq!(
            (plain.credentials, plain.prefix, plain.region),
            (None, "".into(), DEFAULT_REGION.into())
        );
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said() {
        for (url, reason) in [
            ("/srv/channel", "write dir:///path"),
            ("ftp://h/x", "a store is"),
            ("dir://srv", "must be absolute"),
            ("http:///x", "invalid"),
            ("https://u:p@h/x", "not supported"),
            ("http://h/x?y", "leave out"),
            ("s3://h", "bucket is missing"),
            ("s3:///bucket", "host or bucket"),
            ("s3://KEY@h/bucket", "KEY:SECRET"),
            ("s3://h/bucket?acl=public", "region"),
            ("s3://h/bucket?region=", "region"),
            ("s3://h/bucket?region=r&style=odd", "style"),
            ("s3://h/bucket/../other", "cannot begin names"),
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        let address = Address::parse("s3://KEY:hush@h/b/p").unwrap();
        for shown in [address.to_string(), format!("{address:?}")] {
            assert!(
                shown.contains("s3://h/b/p") && !shown.contains("hush") && !shown.contains("KEY"),
                "{shown}"
            );
        }
        for bad in [
            "s3://KEY:hush@h",
            "s3:KEY:hush@h/b",
            "s3://KEY:hu%zzsh@h/b",
            "gs://KEY:hush@h/b",
            "s3://h/b?hush",
            "s3://KEY:hush/h/b",
            "s3://KEY:hush h/b",
        ] {
            let error = Address::parse(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("sh@"), "{error}");
            assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
        }
    }

    /// Everything percent-encoded: the spelling that any secret has.
    fn encode(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02x}")).collect()
    }

    proptest! {
        #[test]
        fn what_is_written_is_parsed(
            tls: bool, host in "[a-z]{1,9}(:[1-9][0-9]{0,3})?", bucket in "[a-z0-9.-]{3,20}",
            prefix in "([a-z0-9]{1,5}(/[a-z0-9]{1,5}){0,2})?", region in "[a-z0-9-]{1,12}", hosted: bool,
            key in "\\PC{1,12}", secret in "\\PC{1,20}",
        ) {
            let scheme = if tls { "s3s" } else { "s3" };
            let (style, style_name) = if hosted { (Style::VirtualHost, "virtual") } else { (Style::Path, "path") };
            let url = format!(
                "{scheme}://{}:{}@{host}/{bucket}/{prefix}?region={region}&style={style_name}",
                encode(&key), encode(&secret)
            );
            let expected = S3Address {
                tls, host, bucket, prefix, region, style, credentials: Some((key, secret)), session_token: None,
            };
            prop_assert_eq!(Address::parse(&url).unwrap(), Address::S3(expected));
        }

        #[test]
        fn what_is_shown_of_an_open_store_is_its_url(path in "(/[a-z0-9@ ]{1,8}){1,3}", host in "[a-z]{1,9}") {
            for url in [format!("dir://{path}"), format!("https://{host}/x"), format!("s3://{host}/b/p")] {
                prop_assert_eq!(Address::parse(&url).unwrap().to_string(), url);
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(url in ".*", secret in "[a-z]{12}") {
            let _ = Address::parse(&url);
            if let Err(error) = Address::parse(&format!("s3://K:{secret}{url}@h/b")) {
                prop_assert!(!error.to_string().contains(&secret));
            }
        }
    }
}

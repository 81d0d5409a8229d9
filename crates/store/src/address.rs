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
    /// Access key and secret, when the URL has them.
    pub credentials: Option<(String, String)>,
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
        write!(f, "S3Address({self}?region={})", self.region)
    }
}

fn parse(url: &str) -> Result<Address, String> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or("write dir:///path, http(s)://host/path or s3(s)://host/bucket")?;
    match scheme {
        "dir" => parse_dir(rest),
        "http" | "https" => parse_http(scheme, rest),
        "s3" | "s3s" => parse_s3(scheme == "s3s", rest).map(Address::S3),
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
    if !prefix.is_empty() {
        name::check(prefix).map_err(|_| format!("`{prefix}` cannot begin names"))?;
    }
    let (host, bucket, prefix) = (host.into(), bucket.into(), prefix.into());
    Ok(S3Address {
        tls,
        host,
        bucket,
        prefix,
        region: parse_region(query)?,
        credentials,
    })
}

fn parse_region(query: &str) -> Result<String, String> {
    match query.split_once('=') {
        None if query.is_empty() => Ok(DEFAULT_REGION.into()),
        Some(("region", region)) if !region.is_empty() && !region.contains(['&', '=']) => Ok(region.into()),
        _ => Err("only `?region=NAME` may follow the path".into()),
    }
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

/// The URL with everything removed that could be a secret: what stands before the last `@`, and the query.
fn redact(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let rest = rest
        .rsplit_once('@')
        .map_or_else(|| rest.to_owned(), |(_, place)| format!("***@{place}"));
    let rest = rest
        .split_once('?')
        .map_or_else(|| rest.clone(), |(place, _)| format!("{place}?…"));
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
        ] {
            let error = Address::parse(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("sh@"), "{error}");
            assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(url in ".*", secret in "[a-z]{12}") {
            let _ = Address::parse(&url);
            if let Err(error) = Address::parse(&format!("s3://K:{secret}{url}@h/b")) {
                prop_assert!(!error.to_string().contains(&secret));
            }
        }
    }
}

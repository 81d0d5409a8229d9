//! The `config/rfs.conf` and `myfs.conf` of older builders: where blocks go, and where nodes read them.
//!
//! They are shell files that assign variables: `S3_BUCKET="mos"`, with `#` comments, an optional `export`, and single,
//! double or no quotes. Nothing is run here, so a value that a shell would compute is refused.

use std::collections::BTreeMap;
use std::fmt;

use crate::route::Route;

/// Bucket of the route, as a path, when `ROUTE_PATH` is not given.
pub const ROUTE_PATH: &str = "/blobs";
/// Region of the route when `ROUTE_REGION` is not given: the one that Garage answers to.
pub const ROUTE_REGION: &str = "garage";
/// Region of the store when `S3_REGION` is not given.
const DEFAULT_REGION: &str = "us-east-1";
/// Folder of flists below the prefix when `MANIFESTS_SUBPATH` is not given.
const DEFAULT_MANIFESTS: &str = "manifests";
/// Folder of boot images below the prefix when `KERNEL_SUBPATH` is not given.
pub const KERNELS: &str = "kernel";

/// Every variable that such a file may assign.
const KNOWN: [&str; 16] = [
    "S3_ENDPOINT",
    "S3_REGION",
    "S3_BUCKET",
    "S3_PREFIX",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
    "READ_ACCESS_KEY",
    "READ_SECRET_KEY",
    "ROUTE_ENDPOINT",
    "ROUTE_PATH",
    "ROUTE_REGION",
    "MANIFESTS_SUBPATH",
    "UPLOAD_MANIFESTS",
    "KERNEL_SUBPATH",
    "UPLOAD_KERNEL",
    "WEB_ENDPOINT",
];

/// A key and its secret. Not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// Access key.
    pub access: String,
    /// Secret key.
    pub secret: String,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(***)")
    }
}

/// What such a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conf {
    /// Where blocks are put.
    pub endpoint: Endpoint,
    /// Bucket of the blocks.
    pub bucket: String,
    /// Folder in the bucket, without slashes at its ends; may be empty.
    pub prefix: String,
    /// Region of the bucket.
    pub region: String,
    /// The pair that may write.
    pub write: Option<KeyPair>,
    /// The pair that may only read.
    pub read: Option<KeyPair>,
    /// Where nodes read blocks.
    pub route_endpoint: Endpoint,
    /// What stands behind the host in a route; the whole of it is the bucket for rfs.
    pub route_path: String,
    /// Region in a route.
    pub route_region: String,
    /// Folder of the flists below the prefix.
    pub manifests: String,
    /// Whether flists are put into the bucket too.
    pub upload_manifests: bool,
    /// Folder of the boot images below the prefix.
    pub kernels: String,
    /// Whether a boot image that was built is put into the bucket too.
    pub upload_kernel: bool,
}

/// `http(s)://host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether to speak TLS.
    pub tls: bool,
    /// Host name or address.
    pub host: String,
    /// Port; that of the protocol when the file names none, because rfs takes no route without one.
    pub port: u16,
}

/// What is wrong with such a file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{file}:{line}: {why}")]
pub struct ConfError {
    /// The file, as the caller calls it.
    pub file: String,
    /// The line, from 1; for a variable that is missing, the last one.
    pub line: usize,
    /// What is wrong, without any value, which may be a secret.
    pub why: String,
}

impl Conf {
    /// Parses the text of a file; `file` is its name, for messages.
    ///
    /// # Errors
    /// [`ConfError`].
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfError> {
        let mut variables = Variables::parse(file, text)?;
        let endpoint = variables
            .endpoint("S3_ENDPOINT")?
            .ok_or_else(|| variables.missing("S3_ENDPOINT"))?;
        let conf = Self {
            bucket: variables
                .take("S3_BUCKET")
                .ok_or_else(|| variables.missing("S3_BUCKET"))?,
            prefix: trimmed(variables.take("S3_PREFIX").unwrap_or_default()),
            region: variables.take("S3_REGION").unwrap_or_else(|| DEFAULT_REGION.to_owned()),
            write: variables.pair("S3_ACCESS_KEY", "S3_SECRET_KEY")?,
            read: variables.pair("READ_ACCESS_KEY", "READ_SECRET_KEY")?,
            route_endpoint: variables
                .endpoint("ROUTE_ENDPOINT")?
                .unwrap_or_else(|| endpoint.clone()),
            route_path: variables.take("ROUTE_PATH").unwrap_or_else(|| ROUTE_PATH.to_owned()),
            route_region: variables
                .take("ROUTE_REGION")
                .unwrap_or_else(|| ROUTE_REGION.to_owned()),
            manifests: variables.folder("MANIFESTS_SUBPATH", DEFAULT_MANIFESTS),
            upload_manifests: variables.flag("UPLOAD_MANIFESTS")?,
            kernels: variables.folder("KERNEL_SUBPATH", KERNELS),
            upload_kernel: variables.flag("UPLOAD_KERNEL")?,
            endpoint,
        };
        match trimmed(conf.route_path.clone()).is_empty() {
            true => Err(variables.wrong("ROUTE_PATH", "ROUTE_PATH names no bucket; the usual one is /blobs")),
            false => Ok(conf),
        }
    }

    /// The store that blocks are put to, with the pair that may write; `None` when the file has none.
    pub fn store(&self) -> Option<Route> {
        let path = match self.prefix.as_str() {
            "" => self.bucket.clone(),
            prefix => format!("{}/{prefix}", self.bucket),
        };
        let keys = self.write.as_ref()?;
        Some(self.endpoint.route(keys, &path, &self.region))
    }

    /// The route that goes into flists, with the pair that may only read; `None` when the file has none. See
    /// [`warning`](crate::warning).
    pub fn route(&self) -> Option<Route> {
        let keys = self.read.as_ref()?;
        Some(self.route_endpoint.route(keys, &self.route_path, &self.route_region))
    }
}

impl Endpoint {
    /// Parses `http(s)://host[:port]`; `None` when it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let (tls, rest) = match text.split_once("://")? {
            ("http", rest) => (false, rest),
            ("https", rest) => (true, rest),
            _ => return None,
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            // The colons of a bare IPv6 address are inside brackets.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (rest, if tls { 443 } else { 80 }),
        };
        let odd = |c: char| c.is_whitespace() || "/?#@".contains(c);
        let host = (!host.is_empty() && !host.contains(odd)).then(|| host.to_owned())?;
        Some(Self { tls, host, port })
    }

    /// `s3(s)://KEY:SECRET@host:port/path?region=R`: the route of all blocks in a bucket here.
    pub fn route(&self, keys: &KeyPair, path: &str, region: &str) -> Route {
        let path = path.trim_matches('/');
        let scheme = if self.tls { "s3s" } else { "s3" };
        let (access, secret) = (encode(&keys.access), encode(&keys.secret));
        let (host, port) = (&self.host, self.port);
        Route::everywhere(format!(
            "{scheme}://{access}:{secret}@{host}:{port}/{path}?region={region}"
        ))
    }
}

/// Assignments by name, with their lines.
struct Variables<'t> {
    file: &'t str,
    lines: usize,
    values: BTreeMap<&'t str, (usize, String)>,
    taken: BTreeMap<&'static str, usize>,
}

impl<'t> Variables<'t> {
    fn parse(file: &'t str, text: &'t str) -> Result<Self, ConfError> {
        let mut variables = Self {
            file,
            lines: text.lines().count().max(1),
            values: BTreeMap::new(),
            taken: BTreeMap::new(),
        };
        for (number, line) in (1..).zip(text.lines()) {
            let error = |why| ConfError {
                file: file.to_owned(),
                line: number,
                why,
            };
            if let Some((name, value)) = assignment(line).map_err(error)? {
                // As in a shell, the last assignment counts.
                variables.values.insert(name, (number, value));
            }
        }
        Ok(variables)
    }

    /// The value of a variable, unless it is empty.
    fn take(&mut self, name: &'static str) -> Option<String> {
        let (line, value) = self.values.remove(name)?;
        self.taken.insert(name, line);
        (!value.is_empty()).then_some(value)
    }

    fn endpoint(&mut self, name: &'static str) -> Result<Option<Endpoint>, ConfError> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let why = || self.wrong(name, &format!("{name} must be http://host:port or https://host:port"));
        Endpoint::parse(&text).map(Some).ok_or_else(why)
    }

    fn pair(&mut self, access: &'static str, secret: &'static str) -> Result<Option<KeyPair>, ConfError> {
        match (self.take(access), self.take(secret)) {
            (Some(access), Some(secret)) => Ok(Some(KeyPair { access, secret })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(self.wrong(access, &format!("{access} is given without {secret}"))),
            (None, Some(_)) => Err(self.wrong(secret, &format!("{secret} is given without {access}"))),
        }
    }

    /// A folder below the prefix.
    fn folder(&mut self, name: &'static str, default: &str) -> String {
        trimmed(self.take(name).unwrap_or_else(|| default.to_owned()))
    }

    fn flag(&mut self, name: &'static str) -> Result<bool, ConfError> {
        match self.take(name) {
            None => Ok(false),
            Some(text) => flag(&text).ok_or_else(|| self.wrong(name, &format!("{name} must be true or false"))),
        }
    }

    fn wrong(&self, name: &str, why: &str) -> ConfError {
        ConfError {
            file: self.file.to_owned(),
            line: self.taken.get(name).copied().unwrap_or(self.lines),
            why: why.to_owned(),
        }
    }

    fn missing(&self, name: &str) -> ConfError {
        self.wrong(name, &format!("{name} is missing"))
    }
}

/// The name and value of a line; `None` for an empty one or a comment.
fn assignment(line: &str) -> Result<Option<(&str, String)>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let (name, value) = line.split_once('=').ok_or("write NAME=VALUE or a # comment")?;
    if !KNOWN.contains(&name) {
        // A line that is wrong may be the rest of a secret, so only what looks like a name is repeated.
        let shown = name
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        let shown = if shown { name } else { "this" };
        return Err(format!(
            "{shown} is no variable of this file; known are {}",
            KNOWN.join(", ")
        ));
    }
    value_of(value)
        .map(|value| Some((name, value)))
        .map_err(|why| format!("{name}: {why}"))
}

/// A value as a shell would read it.
fn value_of(text: &str) -> Result<String, &'static str> {
    let (value, rest) = match text.chars().next() {
        Some(quote @ ('"' | '\'')) => text[1..].split_once(quote).ok_or("the closing quote is missing")?,
        _ => text.split_at(text.find(char::is_whitespace).unwrap_or(text.len())),
    };
    let rest = rest.trim_start();
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err("something stands behind the value; put it into quotes");
    }
    if !text.starts_with('\'') && value.contains(['$', '`', '\\']) {
        return Err(
            "`$`, backquotes and `\\` are not worked out here: write the value itself, in single quotes if it has these",
        );
    }
    match value.contains(char::is_control) {
        true => Err("it holds a control character"),
        false => Ok(value.to_owned()),
    }
}

/// Yes or no, as the scripts of older builders take it.
pub fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "1" | "yes" => Some(true),
        "" | "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

fn trimmed(path: String) -> String {
    path.trim_matches('/').to_owned()
}

/// Percent-encodes what cannot stand before the `@` of a URL. rfs does not decode, so keys that need it work only here.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' | b'=' => {
                encoded.push(byte.into())
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHOLE: &str = r#"
# where blocks go
S3_ENDPOINT="https://s3.example.com:9000"
S3_REGION=us-west-1   # a comment
export S3_BUCKET='zos'
S3_PREFIX="/flists/zosbuilder/"
S3_ACCESS_KEY="AKIA"
S3_SECRET_KEY='hu$h/+='
READ_ACCESS_KEY=GKread
READ_SECRET_KEY=readsecret
ROUTE_ENDPOINT=http://10.0.0.1:3900/
UPLOAD_MANIFESTS=true
WEB_ENDPOINT=""
"#;

    #[test]
    fn a_whole_file() {
        let conf = Conf::parse("config/rfs.conf", WHOLE).unwrap();
        assert_eq!(
            conf.store().unwrap().url,
            "s3s://AKIA:hu%24h%2F+=@s3.example.com:9000/zos/flists/zosbuilder?region=us-west-1"
        );
        assert_eq!(
            conf.route().unwrap().url,
            "s3://GKread:readsecret@10.0.0.1:3900/blobs?region=garage"
        );
        assert!(conf.upload_manifests);
        assert_eq!(conf.manifests, "manifests");
        assert!(conf.kernels == "kernel" && !conf.upload_kernel);
        let asked = format!("{WHOLE}UPLOAD_KERNEL=yes\nKERNEL_SUBPATH=/kernels/\n");
        let asked = Conf::parse("config/rfs.conf", &asked).unwrap();
        assert!(asked.kernels == "kernels" && asked.upload_kernel);
        for route in [conf.store().unwrap(), conf.route().unwrap()] {
            assert!(Route::parse(&route.url).is_ok());
        }
        let shown = format!("{conf:?}");
        assert!(!shown.contains("hu$h") && !shown.contains("readsecret") && !shown.contains("AKIA"));
    }

    #[test]
    fn what_the_example_of_mos_builder_gives() {
        let conf = Conf::parse(
            "rfs.conf",
            "S3_ENDPOINT=\"https://s3.example.com\"\nS3_BUCKET=\"mos\"\nS3_PREFIX=\"flists/mos_builder\"\n\
             S3_ACCESS_KEY=\"A\"\nS3_SECRET_KEY=\"S\"\n",
        )
        .unwrap();
        assert_eq!(
            conf.store().unwrap().url,
            "s3s://A:S@s3.example.com:443/mos/flists/mos_builder?region=us-east-1"
        );
        assert_eq!(conf.route(), None, "there is no pair that may only read");
        assert!(!conf.upload_manifests);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_without_the_value() {
        let base = "S3_ENDPOINT=http://h:1\nS3_BUCKET=b\n";
        for (text, line, why) in [
            ("S3_BUCKET=b".to_owned(), 1, "S3_ENDPOINT is missing"),
            ("S3_ENDPOINT=http://h:1\n".to_owned(), 1, "S3_BUCKET is missing"),
            (format!("{base}hush"), 3, "NAME=VALUE"),
            (format!("{base}S3_BUCKT=hush"), 3, "S3_BUCKT is no variable"),
            (format!("{base}hush=x"), 3, "this is no variable"),
            (format!("{base}\nS3_SECRET_KEY=\"hush"), 4, "closing quote"),
            (format!("{base}S3_SECRET_KEY=$(hush)"), 3, "not worked out"),
            (format!("{base}S3_SECRET_KEY=a hush"), 3, "stands behind"),
            (format!("{base}S3_SECRET_KEY=hush\n#\n"), 3, "without S3_ACCESS_KEY"),
            (format!("{base}READ_ACCESS_KEY=hush"), 3, "without READ_SECRET_KEY"),
            (format!("{base}ROUTE_ENDPOINT=hush:9"), 3, "http://host:port"),
            (format!("{base}ROUTE_PATH=/"), 3, "no bucket"),
            (format!("{base}UPLOAD_MANIFESTS=hush"), 3, "true or false"),
        ] {
            let error = Conf::parse("rfs.conf", &text).unwrap_err();
            assert_eq!(error.line, line, "{error}");
            let shown = error.to_string();
            assert!(shown.starts_with("rfs.conf:") && shown.contains(why), "{shown}");
            assert!(!shown.contains("hush"), "{shown}");
        }
    }

    #[test]
    fn endpoints() {
        let endpoint = |text| Endpoint::parse(text).map(|it| (it.tls, it.host, it.port));
        assert_eq!(endpoint("http://[::1]:3900"), Some((false, "[::1]".into(), 3900)));
        assert_eq!(endpoint("http://[::1]"), Some((false, "[::1]".into(), 80)));
        assert_eq!(endpoint("https://h/"), Some((true, "h".into(), 443)));
        for bad in [
            "h:9000",
            "ftp://h",
            "http://",
            "http://h:99999",
            "http://u@h",
            "http://h/x",
        ] {
            assert_eq!(endpoint(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_and_any_keys_come_back(text in ".{0,200}", key in "[!-~]{1,20}", secret in "[!-&(-~]{1,20}") {
            let _ = Conf::parse("f", &text);
            let _ = Conf::parse("f", &format!("S3_BUCKET={text}"));
            let key = key.replace('\'', "x");
            let text = format!("S3_ENDPOINT=http://h:1\nS3_BUCKET=b\nS3_ACCESS_KEY='{key}'\nS3_SECRET_KEY='{secret}'");
            let store = Conf::parse("f", &text).unwrap().store().unwrap();
            let mos_store::Address::S3(address) = store.address().unwrap() else { panic!() };
            prop_assert_eq!(address.credentials, Some((key, secret)));
        }
    }
}

//! A registry of its own for each test: Debian's `docker-registry` on a free port of the loopback interface.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use mos_oci::Sha256;
use tempfile::TempDir;

/// The program of the package `docker-registry`.
const PROGRAM: &str = "docker-registry";
/// bcrypt of `secret`, the only kind of password that the registry takes.
const PASSWORD: &str = "me:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
/// The only repository that the token server gives access to.
const CLAIMS: &str = r#"{"iss":"test","sub":"me","aud":"registry","exp":4000000000,"nbf":0,"iat":0,"jti":"1",
    "access":[{"type":"repository","name":"team/web","actions":["pull","push"]}]}"#;

/// A running registry; it ends with the test.
pub struct Server {
    child: Child,
    host: String,
    folder: TempDir,
}

/// Bytes without any pattern, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(next).collect()
}

impl Server {
    /// `None`, with a word why, where the package is not installed. `settings` is YAML at the top level.
    pub fn start(settings: &str) -> Option<Self> {
        Self::start_in(tempfile::tempdir().unwrap(), settings)
    }

    pub fn start_with_password() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("htpasswd");
        fs::write(&file, PASSWORD).unwrap();
        let settings = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", file.display());
        Self::start_in(folder, &settings)
    }

    /// A registry that sends its clients to a token server.
    pub fn start_with_tokens() -> Option<(Self, TokenServer)> {
        let folder = tempfile::tempdir().unwrap();
        let Some(token) = token(folder.path()) else {
            eprintln!("SKIPPED: openssl is not installed");
            return None;
        };
        let tokens = TokenServer::start(token);
        let settings = format!(
            "auth: {{token: {{realm: \"http://{}/token\", service: registry, issuer: test, rootcertbundle: {}}}}}\n",
            tokens.host,
            folder.path().join("certificate.pem").display()
        );
        Some((Self::start_in(folder, &settings)?, tokens))
    }

    fn start_in(folder: TempDir, settings: &str) -> Option<Self> {
        let data = folder.path().join("data");
        let file = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: \"127.0.0.1:0\", secret: test}}\n{settings}",
            data.display()
        );
        fs::write(&file, text).unwrap();
        let started = Command::new(PROGRAM)
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = started else {
            eprintln!("SKIPPED: {PROGRAM} is not installed");
            return None;
        };
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let host = lines.by_ref().find_map(|line| {
            let line = line.unwrap();
            let (_, rest) = line.split_once("listening on ")?;
            Some(rest.split(['"', ',', ' ']).next().unwrap().to_owned())
        });
        // Nobody else reads its log, and a full pipe would stop it.
        thread::spawn(move || lines.for_each(drop));
        Some(Self {
            child,
            host: host.expect("the registry says where it listens"),
            folder,
        })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn address(&self, name: &str) -> String {
        format!("oci://{}/{name}", self.host)
    }

    /// Changes a blob on the registry's disk.
    pub fn replace_blob(&self, digest: &Sha256, bytes: &[u8]) {
        let digits = digest.to_string().replace("sha256:", "");
        let path = format!("data/docker/registry/v2/blobs/sha256/{}/{digits}/data", &digits[..2]);
        let path = self.folder.path().join(path);
        assert!(path.exists(), "{}", path.display());
        fs::write(path, bytes).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A key, its certificate, and a token that is signed with it: RS256, certificate in the header (RFC 7515, 4.1.6).
fn token(folder: &Path) -> Option<String> {
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(folder)
            .output()
            .ok()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(output.stdout)
    };
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=test",
        "-days",
        "2",
        "-keyout",
        "key.pem",
        "-out",
        "certificate.pem",
    ])?;
    let der = openssl(&["x509", "-in", "certificate.pem", "-outform", "DER"])?;
    let header = format!(r#"{{"typ":"JWT","alg":"RS256","x5c":["{}"]}}"#, STANDARD.encode(der));
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(CLAIMS));
    fs::write(folder.join("signed"), &signed).unwrap();
    let signature = openssl(&["dgst", "-sha256", "-sign", "key.pem", "signed"])?;
    Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Gives its one token to `me` with the password `secret`.
pub struct TokenServer {
    host: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl TokenServer {
    fn start(token: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            host: listener.local_addr().unwrap().to_string(),
            requests: Arc::default(),
        };
        let requests = Arc::clone(&server.requests);
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                requests.lock().unwrap().push(answer(stream.unwrap(), &token));
            }
        });
        server
    }

    /// The heads of all requests until now.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, token: &str) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let known = head.contains(&STANDARD.encode("me:secret"));
    let (status, body) = match known {
        true => ("200 OK", format!(r#"{{"token":"{token}","expires_in":300}}"#)),
        false => ("401 Unauthorized", "{}".to_owned()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
    head
}

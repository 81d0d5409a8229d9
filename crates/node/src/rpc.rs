//! Asking my_init: JSON-RPC 2.0 over its socket, one object per line.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::exit::Exit;

/// How long an answer may take; my_init answers at once.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer in bytes: all services in full, or a whole log ring.
const LONGEST_ANSWER: u64 = 16 << 20;
/// The error code for a name that is not there.
pub const NOT_FOUND: i64 = -32000;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// Nobody listens.
    #[error("{0}: nobody listens: my_init does not run here")]
    Absent(PathBuf),
    /// The connection broke, or took too long.
    #[error("{path}: my_init does not answer: {source}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// my_init refuses.
    #[error("{message} ({code})")]
    Refused {
        /// JSON-RPC error code.
        code: i64,
        /// Its reason.
        message: String,
    },
}

impl RpcError {
    /// How the program ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Absent(_) | Self::Broken { .. } | Self::Refused { code: NOT_FOUND, .. } => Exit::Offline,
            Self::Refused { .. } => Exit::Problem,
        }
    }
}

/// Calls a method and gives its result.
///
/// # Errors
/// [`RpcError`].
pub fn call(socket: &Path, method: &str, params: Value) -> Result<Value, RpcError> {
    let stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => RpcError::Absent(socket.to_owned()),
        _ => broken(socket, error),
    })?;
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let line = exchange(stream, &request).map_err(|error| broken(socket, error))?;
    let mut answer: Value = serde_json::from_slice(&line).map_err(|error| broken(socket, error.into()))?;
    match answer.get("error") {
        Some(error) => Err(RpcError::Refused {
            code: error["code"].as_i64().unwrap_or_default(),
            message: error["message"].as_str().unwrap_or("no reason given").to_owned(),
        }),
        None => Ok(answer["result"].take()),
    }
}

fn exchange(mut stream: UnixStream, request: &Value) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut line = Vec::new();
    BufReader::new(stream.take(LONGEST_ANSWER)).read_until(b'\n', &mut line)?;
    Ok(line)
}

fn broken(socket: &Path, source: io::Error) -> RpcError {
    let path = socket.to_owned();
    RpcError::Broken { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn answering(answer: &'static str) -> Result<Value, RpcError> {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap())
                .read_line(&mut line)
                .unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            line
        });
        let result = call(&socket, "service.why", json!({"name": "web"}));
        let request: Value = serde_json::from_str(&server.join().unwrap()).unwrap();
        assert_eq!(
            (request["method"].as_str(), request["params"]["name"].as_str()),
            (Some("service.why"), Some("web"))
        );
        result
    }

    #[test]
    fn results_refusals_and_nonsense() {
        assert_eq!(answering("{\"id\":1,\"result\":{\"a\":1}}\n").unwrap()["a"], 1);
        let refused = answering("{\"id\":1,\"error\":{\"code\":-32000,\"message\":\"no service web\"}}\n").unwrap_err();
        assert_eq!(
            (refused.to_string().as_str(), refused.exit()),
            ("no service web (-32000)", Exit::Offline)
        );
        assert!(matches!(answering("nonsense\n"), Err(RpcError::Broken { .. })));
        assert!(matches!(answering(""), Err(RpcError::Broken { .. })));
        assert!(matches!(
            call(Path::new("/nowhere/s"), "x", Value::Null),
            Err(RpcError::Absent(_))
        ));
    }
}

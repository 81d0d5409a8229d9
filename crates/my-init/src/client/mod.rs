//! The client verbs: thin calls over the control socket.
//!
//! | file | concern |
//! |---|---|
//! | `verbs` | what each verb asks |
//! | `render` | answers as people read them |
//! | `events` | what happens, while it happens |
//! | `top` | what services use |
//! | `blame` | where the time of a boot went |
//! | `console` | the node at a glance |
//! | `xinet` | proxies, in the words of zinit |

mod blame;
mod console;
mod events;
mod render;
mod top;
mod verbs;
pub(crate) mod xinet;

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

pub use verbs::run;

/// How long an answer may take: the server answers at once, unless it is not there in spirit.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer, in bytes.
const ANSWER_MAX: u64 = 64 * 1024 * 1024;

/// Why there is no result.
#[derive(Debug)]
pub enum AskError {
    /// Nobody answers.
    Offline(io::Error),
    /// A file of ours, by name.
    File(String, io::Error),
    /// The server refused: code and message.
    Refused(i64, String),
}

/// Calls one method.
///
/// # Errors
/// When nobody answers in time, or the server refuses.
pub fn call(socket: &Path, method: &str, parameters: &Value) -> Result<Value, AskError> {
    let answer = exchange(socket, method, parameters).map_err(AskError::Offline)?;
    let mut value: Value = serde_json::from_str(&answer).map_err(|error| AskError::Offline(io::Error::other(error)))?;
    match value.get("error") {
        None => Ok(value["result"].take()),
        Some(error) => Err(refused(error)),
    }
}

fn exchange(socket: &Path, method: &str, parameters: &Value) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
    writeln!(stream, "{request}")?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_MAX)).read_line(&mut answer)?;
    match answer.ends_with('\n') {
        true => Ok(answer),
        false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is cut off")),
    }
}

fn refused(error: &Value) -> AskError {
    let message = error["message"].as_str().unwrap_or("no reason given");
    AskError::Refused(error["code"].as_i64().unwrap_or(0), message.to_owned())
}

fn offline(what: &str) -> AskError {
    AskError::Offline(io::Error::new(io::ErrorKind::UnexpectedEof, what))
}

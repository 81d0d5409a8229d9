//! A client for Cloud Hypervisor's API: HTTP over a Unix socket, one request per connection.

use crate::cloud::NAME;
use crate::error::VmError;
use serde_json::Value;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Creating and booting a machine takes tens of milliseconds; longer than this means never.
const LIMIT: Duration = Duration::from_secs(30);
/// Bytes in the longest head or message that is read.
const LONGEST: u64 = 64 << 10;

/// Has the hypervisor at this socket do something.
///
/// # Errors
/// When it cannot be reached, does not answer, or says no.
pub fn put(socket: &Path, endpoint: &'static str, body: Option<&Value>) -> Result<(), VmError> {
    let failed = |reason: String| VmError::Monitor {
        hypervisor: NAME,
        what: endpoint,
        reason,
    };
    let talk = || -> io::Result<Result<(), String>> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        stream.write_all(request(endpoint, body).as_bytes())?;
        answer(&mut BufReader::new(stream))
    };
    talk().map_err(|error| failed(error.to_string()))?.map_err(failed)
}

fn request(endpoint: &str, body: Option<&Value>) -> String {
    let head = format!("PUT /api/v1/{endpoint} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n");
    match body {
        Some(body) => {
            let body = body.to_string();
            let length = body.len();
            format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        }
        None => format!("{head}\r\n"),
    }
}

/// Reads an answer: fine, or what the hypervisor says against it.
fn answer(stream: &mut BufReader<UnixStream>) -> io::Result<Result<(), String>> {
    let status = line(stream)?;
    let code = status.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
    let Some(code) = code.filter(|_| status.starts_with("HTTP/1.")) else {
        return Err(io::Error::other(format!("`{}` is no HTTP", status.escape_debug())));
    };
    let mut length = 0;
    loop {
        let header = line(stream)?;
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    if (200..300).contains(&code) {
        return Ok(Ok(()));
    }
    let mut body = Vec::new();
    stream.take(LONGEST.min(length)).read_to_end(&mut body)?;
    Ok(Err(format!("{code}: {}", reason(&body))))
}

fn line(stream: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.take(LONGEST).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The messages from the outermost to the cause, as newer versions list them; other bodies as they are.
fn reason(body: &[u8]) -> String {
    match serde_json::from_slice::<Vec<String>>(body) {
        Ok(messages) => messages.join(": "),
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::net::UnixListener;

    /// A server that reads a request of this many bytes and gives this answer.
    fn asked(answer: &'static str, body: Option<&Value>) -> (String, Result<(), VmError>) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api");
        let listener = UnixListener::bind(&socket).unwrap();
        let expected = request("vm.create", body).len();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; expected];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        let result = put(&socket, "vm.create", body);
        (served.join().unwrap(), result)
    }

    #[test]
    fn requests_are_what_the_api_takes() {
        let body = json!({"payload": {}});
        let (request, result) = asked("HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n", Some(&body));
        result.unwrap();
        assert_eq!(
            request,
            "PUT /api/v1/vm.create HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Type: application/json\r\n\
             Content-Length: 14\r\n\r\n{\"payload\":{}}"
        );
    }

    #[test]
    fn refusals_are_told_in_its_words() {
        for (answer, said) in [
            (
                "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 27\r\n\r\n[\"Error from API\",\"No KVM\"]",
                "500: Error from API: No KVM",
            ),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone", "404: gone"),
            ("HTTP/1.1 400 Bad Request\r\n\r\n", "400: "),
            ("SMTP\r\n", "`SMTP` is no HTTP"),
        ] {
            let (_, result) = asked(answer, None);
            let error = result.unwrap_err().to_string();
            assert_eq!(error, format!("cloud-hypervisor did not vm.create: {said}"));
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_is_no_answer() {
        for cut in [
            "",
            "HTTP/1.1 204 No Content\r\n",
            "HTTP/1.1 204 No Content\r\nContent-Length: x\r\n\r\n",
        ] {
            assert!(asked(cut, None).1.is_err(), "{cut:?}");
        }
    }
}

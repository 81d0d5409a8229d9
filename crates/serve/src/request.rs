//! Requests: pure parsing.

use std::ops::Range;

/// Largest request head in bytes.
pub(crate) const MAX_HEAD: usize = 16 << 10;
/// Most headers in a request.
const MAX_HEADERS: usize = 64;

/// A request that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Send the head only.
    pub(crate) head_only: bool,
    /// The path below the directory, decoded, without slashes at its ends; empty for the directory itself.
    pub(crate) path: String,
    pub(crate) range: Option<RangeWanted>,
    /// The range holds only for the file with this entity tag.
    pub(crate) if_range: Option<String>,
    pub(crate) if_none_match: Option<String>,
    pub(crate) keep_alive: bool,
}

/// A range as the client wants it, before the length of the file is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RangeWanted {
    /// From here, to this last byte or the end.
    From(u64, Option<u64>),
    /// The last bytes.
    Last(u64),
}

/// A request that cannot be answered: the status to send before the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) u16);

/// Parses the head of a request; `None` when more bytes are needed. Also returns the length of the head.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => Ok(Some((request(&parsed)?, length))),
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => Err(Refusal(431)),
        Err(_) => Err(Refusal(400)),
    }
}

fn request(parsed: &httparse::Request<'_, '_>) -> Result<Request, Refusal> {
    let head_only = match parsed.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(Refusal(405)),
    };
    // A body of a GET has no meaning (RFC 9110, 9.3.1), and skipping one is not worth the code.
    if header(parsed, "transfer-encoding").is_some() || header(parsed, "content-length").is_some_and(|n| n != "0") {
        return Err(Refusal(400));
    }
    Ok(Request {
        head_only,
        path: decode_path(parsed.path.unwrap_or_default()).ok_or(Refusal(400))?,
        range: header(parsed, "range").and_then(parse_range),
        if_range: header(parsed, "if-range").map(str::to_owned),
        if_none_match: header(parsed, "if-none-match").map(str::to_owned),
        keep_alive: keep_alive(parsed),
    })
}

fn header<'a>(parsed: &httparse::Request<'_, 'a>, name: &str) -> Option<&'a str> {
    let header = parsed
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(header.value).ok().map(str::trim)
}

/// HTTP/1.1 keeps a connection unless told otherwise, HTTP/1.0 closes it (RFC 9112, 9.3).
fn keep_alive(parsed: &httparse::Request<'_, '_>) -> bool {
    let connection = header(parsed, "connection").unwrap_or_default();
    let says = |option: &str| {
        connection
            .split(',')
            .any(|token| token.trim().eq_ignore_ascii_case(option))
    };
    if parsed.version == Some(1) {
        !says("close")
    } else {
        says("keep-alive")
    }
}

/// The path of a request target; the query does not matter to files.
fn decode_path(target: &str) -> Option<String> {
    let path = target.split(['?', '#']).next()?.strip_prefix('/')?;
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?,
            other => other,
        });
    }
    let path = String::from_utf8(bytes).ok().filter(|path| !path.contains('\0'))?;
    Some(path.trim_matches('/').to_owned())
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| value.try_into().ok())
}

/// One range of bytes. Several, or other units, are ignored, as RFC 9110, 14.2 allows: the answer is the whole file.
fn parse_range(value: &str) -> Option<RangeWanted> {
    let (start, end) = value.strip_prefix("bytes=")?.split_once('-')?;
    match (start.trim(), end.trim()) {
        ("", last) => last.parse().ok().map(RangeWanted::Last),
        (start, "") => Some(RangeWanted::From(start.parse().ok()?, None)),
        (start, end) => {
            let (start, end) = (start.parse().ok()?, end.parse().ok()?);
            (start <= end).then_some(RangeWanted::From(start, Some(end)))
        }
    }
}

impl RangeWanted {
    /// The bytes of a file of this length, or `None` when the range has none of them.
    pub(crate) fn within(self, length: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(start, end) => start..end.map_or(length, |end| end.saturating_add(1).min(length)),
            Self::Last(count) => length.saturating_sub(count)..length,
        };
        (!range.is_empty()).then_some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(head: &str) -> Result<Request, Refusal> {
        parse(head.as_bytes()).map(|parsed| parsed.unwrap().0)
    }

    #[test]
    fn a_request_of_a_browser() {
        let head = "GET /a%20b/c?x=1 HTTP/1.1\r\nHost: h\r\nRange: bytes=5-\r\nIf-None-Match: \"1\"\r\n\r\nrest";
        let (request, length) = parse(head.as_bytes()).unwrap().unwrap();
        assert_eq!(&head[length..], "rest");
        assert_eq!(
            (request.path.as_str(), request.head_only, request.keep_alive),
            ("a b/c", false, true)
        );
        assert_eq!(request.range, Some(RangeWanted::From(5, None)));
        assert_eq!(request.if_none_match.as_deref(), Some("\"1\""));
    }

    #[test]
    fn what_is_refused() {
        for (head, status) in [
            ("POST / HTTP/1.1\r\n\r\n", 405),
            ("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("GET http://h/ HTTP/1.1\r\n\r\n", 400),
            ("GET /%zz HTTP/1.1\r\n\r\n", 400),
            ("GET /%00 HTTP/1.1\r\n\r\n", 400),
            ("\x01\x02 nonsense\r\n\r\n", 400),
            (&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65)), 431),
            (&format!("GET /{}", "a".repeat(MAX_HEAD)), 431),
        ] {
            assert_eq!(parsed(head), Err(Refusal(status)), "{head}");
        }
    }

    #[test]
    fn connections_are_kept_as_the_version_says() {
        for (head, kept) in [
            ("GET / HTTP/1.1\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nConnection: TE, Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        ] {
            assert_eq!(parsed(head).unwrap().keep_alive, kept, "{head}");
        }
    }

    #[test]
    fn ranges_of_a_file_of_ten_bytes() {
        for (value, range) in [
            ("bytes=0-0", Some(Some(0..1))),
            ("bytes=5-99", Some(Some(5..10))),
            ("bytes=9-", Some(Some(9..10))),
            ("bytes=-3", Some(Some(7..10))),
            ("bytes=-99", Some(Some(0..10))),
            ("bytes=10-", Some(None)),
            ("bytes=-0", Some(None)),
            ("bytes=5-4", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
        ] {
            assert_eq!(parse_range(value).map(|wanted| wanted.within(10)), range, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), path in "\\PC*") {
            let _ = parse(&bytes);
            let _ = parse(format!("GET /{path} HTTP/1.1\r\nRange: bytes={path}\r\n\r\n").as_bytes());
        }
    }
}

//! From a request and a file to the head of an answer. Pure.

use crate::file::Found;
use crate::request::Request;
use std::fmt::Write as _;
use std::ops::Range;

/// What will be sent.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Status line and headers, ending in an empty line.
    pub(crate) head: String,
    pub(crate) body: Body,
}

/// What follows the head.
#[derive(Debug)]
pub(crate) enum Body {
    Empty,
    Text(String),
    Part(Found, Range<u64>),
}

/// The answer to a request for this file.
pub(crate) fn to_file(request: &Request, found: Found) -> Response {
    if request
        .if_none_match
        .as_deref()
        .is_some_and(|tags| names(tags, &found.etag))
    {
        let head = Head::new(304).field("ETag", &found.etag).end(request.keep_alive);
        return Response {
            status: 304,
            head,
            body: Body::Empty,
        };
    }
    // A range of another version of the file would be mixed with this one (RFC 9110, 13.1.5).
    let same = request.if_range.as_ref().is_none_or(|tag| *tag == found.etag);
    match request.range.filter(|_| same).map(|range| range.within(found.length)) {
        None => file_part(request, 200, 0..found.length, found),
        Some(Some(range)) => file_part(request, 206, range, found),
        Some(None) => {
            let head = Head::new(416).field("Content-Range", &format!("bytes */{}", found.length));
            let head = head.field("Content-Length", "0").end(request.keep_alive);
            Response {
                status: 416,
                head,
                body: Body::Empty,
            }
        }
    }
}

fn file_part(request: &Request, status: u16, range: Range<u64>, found: Found) -> Response {
    let mut head = Head::new(status)
        .field("Content-Length", &(range.end - range.start).to_string())
        .field("Content-Type", found.content_type)
        .field("ETag", &found.etag);
    if status == 206 {
        head = head.field(
            "Content-Range",
            &format!("bytes {}-{}/{}", range.start, range.end - 1, found.length),
        );
    }
    let head = head.end(request.keep_alive);
    let body = if request.head_only {
        Body::Empty
    } else {
        Body::Part(found, range)
    };
    Response { status, head, body }
}

/// An answer without a file. `head_only`: the client asked for no body.
pub(crate) fn to_nothing(status: u16, head_only: bool, keep_alive: bool) -> Response {
    let text = format!("{status} {}\n", reason(status));
    let mut head = Head::new(status)
        .field("Content-Length", &text.len().to_string())
        .field("Content-Type", "text/plain; charset=utf-8");
    if status == 405 {
        head = head.field("Allow", "GET, HEAD");
    }
    if status == 503 {
        head = head.field("Retry-After", "1");
    }
    let body = if head_only { Body::Empty } else { Body::Text(text) };
    Response {
        status,
        head: head.end(keep_alive),
        body,
    }
}

/// True when a list of entity tags has this one; the comparison is the weak one (RFC 9110, 13.1.2).
fn names(tags: &str, etag: &str) -> bool {
    tags.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

struct Head(String);

impl Head {
    fn new(status: u16) -> Self {
        // Whatever is served can be replaced at any time, so caches ask first; an entity tag makes that cheap.
        Self(format!("HTTP/1.1 {status} {}\r\nServer: mos\r\n", reason(status)))
            .field("Accept-Ranges", "bytes")
            .field("Cache-Control", "no-cache")
            .field("X-Content-Type-Options", "nosniff")
    }

    fn field(mut self, name: &str, value: &str) -> Self {
        // Writing to a string does not fail.
        let _ = write!(self.0, "{name}: {value}\r\n");
        self
    }

    fn end(self, keep_alive: bool) -> String {
        self.field("Connection", if keep_alive { "keep-alive" } else { "close" })
            .0
            + "\r\n"
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        416 => "Range Not Satisfiable",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

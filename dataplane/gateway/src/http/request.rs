//! Requests from bytes, and answers to bytes (RFC 9110, RFC 9112).

use super::{Answer, Status};

/// Most bytes of a request line with its headers. Prometheus sends some 300.
pub(super) const HEAD_LEN_MAX: usize = 8 << 10;

/// Most headers.
const HEADERS_MAX: usize = 64;

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// Not yet a request.
    Partial,
    /// One for a path, without its query.
    Get {
        /// The path, as it was written.
        path: String,
        /// Whether only the head of the answer is wanted.
        head_only: bool,
    },
    /// Nothing that is answered otherwise than by this.
    Refused(Status),
}

/// Looks at what a client has sent from its first byte on. Never panics, whatever the bytes.
pub(super) fn parse(input: &[u8]) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(input) {
        Err(httparse::Error::TooManyHeaders) => return Head::Refused(Status::HeadTooLong),
        Err(_) => return Head::Refused(Status::BadRequest),
        Ok(httparse::Status::Partial) if input.len() >= HEAD_LEN_MAX => {
            return Head::Refused(Status::HeadTooLong);
        }
        Ok(httparse::Status::Partial) => return Head::Partial,
        Ok(httparse::Status::Complete(_)) => {}
    }
    let head_only = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Head::Refused(Status::MethodNotAllowed),
    };
    let target = request.path.unwrap_or_default();
    let path = target.split(['?', '#']).next().unwrap_or_default().to_owned();
    Head::Get { path, head_only }
}

/// An answer as it is sent. The connection ends behind it.
pub(super) fn emit(answer: &Answer, head_only: bool) -> Vec<u8> {
    let allow = if answer.status == Status::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
    let mut text = format!(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{allow}Connection: close\r\n\r\n",
        answer.status.line(),
        answer.content_type,
        answer.body.len(),
    );
    if !head_only {
        text.push_str(&answer.body);
    }
    text.into_bytes()
}

//! Answers small questions over HTTP/1.1: one request for each connection, on a thread of its own.
//!
//! Enters: bytes of anybody who reaches the address. Leaves: what a handler says about a path. Never: a request with a body, a
//! client that waits for another, memory beyond [`CLIENTS_MAX`] times a head and an answer.

mod request;
mod server;
#[cfg(test)]
mod tests;

pub use server::{CLIENTS_MAX, HttpError, REQUEST_TIME_MAX, Server};

/// Whether an answer is good, bad, or about a path that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 200.
    Ok,
    /// 400.
    BadRequest,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 431.
    HeadTooLong,
    /// 503.
    Unavailable,
}

impl Status {
    /// The number and the words of the status line.
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::HeadTooLong => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// What a handler answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it went.
    pub status: Status,
    /// The type of the body, as the header names it.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Answer {
    /// Lines of plain text.
    pub fn text(status: Status, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }
}

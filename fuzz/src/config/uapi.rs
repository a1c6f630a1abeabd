//! Requests and answers of the management socket.

use dataplane_gateway::uapi::{
    GetReply, LINE_LEN_MAX, ParseError, Parser, Request, SetRequest, parse_get_reply, zone_number,
};

use super::applied;
use crate::input::Input;

/// A stream of requests, cut into pieces as the first byte says: pieces make no difference, and whatever is understood says
/// the same when it is written again.
pub fn uapi(data: &[u8]) {
    let mut input = Input::new(data);
    let (cut, again) = (1 + usize::from(input.byte()), input.byte());
    let stream = input.take(usize::MAX);
    let whole = read(stream, stream.len().max(1));
    assert_eq!(whole, read(stream, cut), "in pieces of {cut} bytes");
    let mut sets = Vec::new();
    for outcome in whole {
        match outcome {
            Ok(Request::Set(request)) => {
                round_trip(&request);
                sets.push(request);
            }
            Ok(_) => {}
            Err(error) => {
                assert!(error.line > 0 && error.errno() > 0);
                assert!(
                    error.to_string().len() < 4 * LINE_LEN_MAX,
                    "an error tells no more than a line: {error}"
                );
            }
        }
    }
    if let [first, .., last] = &sets[..] {
        applied::reload(&applied::of_request(first), &applied::of_request(last));
    }
    // The same request again changes nothing more.
    if let (Some(only), true) = (sets.first(), again & 1 == 1) {
        applied::reload(&applied::of_request(only), &applied::of_request(only));
    }
    answer(stream);
}

/// All requests and errors of a stream, and what its end says.
fn read(stream: &[u8], piece_len: usize) -> Vec<Result<Request, ParseError>> {
    let mut parser = Parser::new(zone_number);
    let mut outcomes = Vec::new();
    for piece in stream.chunks(piece_len) {
        let mut rest = piece;
        while !rest.is_empty() {
            let (used, outcome) = parser.feed(rest);
            assert!(used > 0 && (outcome.is_some() || used == rest.len()), "what is fed is used");
            outcomes.extend(outcome);
            rest = &rest[used..];
        }
    }
    outcomes.extend(parser.finish().map(Err));
    outcomes
}

fn round_trip(request: &SetRequest) {
    let mut text = String::new();
    request.emit(&mut text).expect("a string takes everything");
    assert_eq!(read(text.as_bytes(), 64), [Ok(Request::Set(request.clone()))], "{text}");
}

/// The stream as an answer to `get=1`.
fn answer(stream: &[u8]) {
    let Ok(text) = std::str::from_utf8(stream) else { return };
    let Ok(snapshot) = parse_get_reply(text) else { return };
    let mut reply = GetReply::new(snapshot.clone());
    let mut written = String::new();
    loop {
        let room = written.len() + 100;
        if !reply.fill(&mut written, room) {
            break;
        }
    }
    assert_eq!(parse_get_reply(&written), Ok(snapshot), "{written}");
    assert!(written.ends_with("errno=0\n\n"));
}

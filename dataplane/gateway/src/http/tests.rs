use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::request::{HEAD_LEN_MAX, Head, parse};
use super::*;

fn echo() -> Server {
    let handler = |path: &str| match path {
        "/long" => Answer::text(Status::Ok, "x".repeat(8 << 20)),
        path => Answer::text(Status::Ok, format!("at {path}\n")),
    };
    Server::start((Ipv4Addr::LOCALHOST, 0).into(), handler).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_path_is_answered_without_its_query_and_the_connection_ends() {
    let server = echo();
    let answer = ask(server.address(), b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain"), "{answer}");
    assert!(answer.contains("Content-Length: 6\r\n") && answer.ends_with("\r\n\r\nat /a\n"), "{answer}");
    let head = ask(server.address(), b"HEAD /a HTTP/1.1\r\n\r\n");
    assert!(head.contains("Content-Length: 6\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn what_is_no_request_of_ours_is_refused_with_the_reason() {
    let server = echo();
    let refused = |request: &[u8], expected: &str| {
        let answer = ask(server.address(), request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer}");
        answer
    };
    let answer = refused(b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405 ");
    assert!(answer.contains("Allow: GET, HEAD\r\n"), "{answer}");
    refused(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "400 ");
    refused(b"GET /a HTTP/3.0\r\n\r\n", "400 ");
    refused(&[b"GET /a HTTP/1.1\r\n".as_slice(), &b"a: b\r\n".repeat(100)].concat(), "431 ");
    refused(&[b"GET /".as_slice(), &[b'a'; 60_000]].concat(), "431 ");
}

#[test]
fn a_request_in_single_bytes_is_a_request() {
    let server = echo();
    let mut stream = connect(server.address());
    stream.set_nodelay(true).unwrap();
    for byte in b"GET /slow HTTP/1.1\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("at /slow\n"), "{answer}");
}

#[test]
fn clients_that_hold_on_keep_nobody_out() {
    let server = echo();
    // Who comes is answered by letting go of the oldest. If the newest of those who hold on is let go too, this machine stood still
    // for so long that they were late, which says nothing.
    let told = (0..5).any(|_| {
        let mut held = hold_on(&server);
        for _ in 0..CLIENTS_MAX / 2 {
            assert!(ask(server.address(), b"GET /a HTTP/1.1\r\n\r\n").ends_with("at /a\n"));
        }
        assert!(is_let_go(&mut held[0]), "the oldest made room");
        !is_let_go(held.last_mut().unwrap())
    });
    assert!(told, "nobody waits until another is late");
}

/// As many clients as a server takes at once: half of them send nothing, half ask for much and read nothing.
fn hold_on(server: &Server) -> Vec<TcpStream> {
    let hold = |number| {
        let mut stream = connect(server.address());
        if number % 2 == 0 {
            stream.write_all(b"GET /long HTTP/1.1\r\n\r\n").unwrap();
        }
        stream
    };
    (0..CLIENTS_MAX).map(hold).collect()
}

/// Whether the server has ended a connection; what it has sent before is read and left.
fn is_let_go(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut piece = [0; 1 << 16];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn a_client_that_says_nothing_is_let_go_in_time() {
    let server = echo();
    let mut stream = connect(server.address());
    stream.write_all(b"GET / HT").unwrap();
    let since = Instant::now();
    // An end or a reset, and nothing else.
    let read = stream.read(&mut [0; 1]);
    assert!(matches!(read, Ok(0) | Err(_)));
    assert!(since.elapsed() + Duration::from_millis(500) >= REQUEST_TIME_MAX, "it had its time");
    assert!(since.elapsed() < Duration::from_secs(15), "and not its read timeout");
}

#[test]
fn an_address_that_cannot_be_had_is_named_with_what_to_do() {
    let server = echo();
    let error = Server::start(server.address(), |_| Answer::text(Status::Ok, "")).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("{} is in use: choose another address or port, or stop what listens there", server.address())
    );
    let foreign = (Ipv4Addr::new(192, 0, 2, 1), 9586).into();
    let error = Server::start(foreign, |_| Answer::text(Status::Ok, "")).unwrap_err().to_string();
    assert!(error.contains("192.0.2.1 is no address of this machine"), "{error}");
}

#[test]
fn a_dropped_server_frees_its_address_at_once() {
    let server = echo();
    let address = server.address();
    let _open = connect(address);
    drop(server);
    drop(Server::start(address, |_| Answer::text(Status::Ok, "")).unwrap());
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_refused_or_wanting(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        parse(&bytes);
        let framed = [b"GET /".as_slice(), &bytes, b" HTTP/1.1\r\n\r\n"].concat();
        if let Head::Get { path, .. } = parse(&framed) {
            prop_assert!(!path.contains(['?', '#', '\r', '\n', ' ']));
        }
    }

    #[test]
    fn a_head_that_is_full_never_waits_for_more(byte in b'a'..=b'z') {
        let head = [b"GET /".as_slice(), &vec![byte; HEAD_LEN_MAX - 5]].concat();
        prop_assert_eq!(parse(&head), Head::Refused(Status::HeadTooLong));
    }
}

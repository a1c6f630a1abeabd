use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::model::Model;
use super::*;
use crate::keys::{KEY_LEN, PublicKey};

/// A folder of its own for a test, removed with what is in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("dataplane-uapi-{}-{count}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server in a thread of its own; stopped when dropped.
struct Running {
    folder: Folder,
    waker: UnixStream,
    thread: Option<JoinHandle<(Stopped, Model)>>,
}

impl Running {
    fn start(mut model: Model) -> Self {
        let folder = Folder::new();
        let socket = Socket::bind(&folder.0, "wg0").unwrap();
        let (waker, woken) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            let stopped = Server::new(socket, zone_number).run(&mut model, &[woken.as_fd()]).unwrap();
            (stopped, model)
        });
        Self { folder, waker, thread: Some(thread) }
    }

    fn path(&self) -> PathBuf {
        self.folder.0.join("wg0.sock")
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.path()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn stop(mut self) -> (Stopped, Model) {
        self.waker.write_all(b"x").unwrap();
        self.thread.take().unwrap().join().unwrap()
    }

    fn wait(mut self) -> (Stopped, Model) {
        self.thread.take().unwrap().join().unwrap()
    }
}

/// One answer, to the empty line that ends it.
fn read_answer(stream: &mut UnixStream) -> String {
    let (mut text, mut byte) = (Vec::new(), [0; 4096]);
    while !text.ends_with(b"\n\n") {
        let count = stream.read(&mut byte).unwrap();
        assert!(count > 0, "the connection ended after {:?}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&byte[..count]);
    }
    String::from_utf8(text).unwrap()
}

fn ask(stream: &mut UnixStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    read_answer(stream)
}

fn peer_line(n: u8) -> String {
    format!("public_key={}\n", crate::keys::Hex(&[n; KEY_LEN]))
}

/// A model whose answer to `get=1` is several times what a socket holds.
fn large() -> Model {
    let mut model = Model::default();
    for n in 0..10_000_u32 {
        let mut key = [0; KEY_LEN];
        key[..4].copy_from_slice(&n.to_be_bytes());
        model.state.peers.push(PeerSnapshot::new(PublicKey(key)));
    }
    model
}

#[test]
fn wg_58_requests_on_one_connection_are_answered_in_order() {
    let server = Running::start(Model { port_in_use: Some(7), ..Model::default() });
    let mut client = server.connect();
    assert_eq!(ask(&mut client, "get=1\n\n"), "errno=0\n\n");
    assert_eq!(ask(&mut client, "set=1\nlisten_port=5\n\n"), "errno=0\n\n");
    assert_eq!(ask(&mut client, "set=1\nfwmark=9\nlisten_port=7\n\n"), "errno=-98\n\n");
    assert_eq!(ask(&mut client, "get=1\n\n"), "listen_port=5\nerrno=0\n\n");
    assert_eq!(ask(&mut client, "set=1\nfwmark=9\nlisten_port=-7\n\n"), "errno=-22\n\n");
    client.write_all(b"get=1\n\nset=1\nfwmark=1\n\nget=1\n\n").unwrap();
    let mut all = String::new();
    while all.matches("errno").count() < 3 {
        all.push_str(&read_answer(&mut client));
    }
    assert_eq!(all, "listen_port=5\nerrno=0\n\nerrno=0\n\nlisten_port=5\nfwmark=1\nerrno=0\n\n");
    let (stopped, model) = server.stop();
    assert_eq!((stopped, model.state.fwmark, model.state.listen_port), (Stopped::Woken(0), 1, 5));
}

#[test]
fn a_request_that_breaks_off_changes_nothing_and_is_answered() {
    let server = Running::start(Model::default());
    let mut client = server.connect();
    client.write_all(b"set=1\nlisten_port=5\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_answer(&mut client), "errno=-71\n\n");
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "then the connection ends");
    assert_eq!(server.stop().1.state, DeviceSnapshot::default());
}

#[test]
fn a_client_that_neither_reads_nor_ends_its_request_blocks_nobody() {
    let server = Running::start(large());
    let mut unread = server.connect();
    unread.write_all(b"get=1\n\n").unwrap();
    let mut unfinished = server.connect();
    unfinished.write_all(b"set=1\nlisten_p").unwrap();
    let silent = server.connect();
    let mut client = server.connect();
    let start = Instant::now();
    assert_eq!(ask(&mut client, "set=1\nfwmark=1\n\n"), "errno=0\n\n");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(ask(&mut unfinished, "ort=3\n\n"), "errno=0\n\n");
    let answer = read_answer(&mut unread);
    assert_eq!(parse_get_reply(&answer).unwrap().peers.len(), 10_000);
    drop(silent);
    assert_eq!(server.stop().1.state.listen_port, 3);
}

#[test]
fn when_the_house_is_full_the_longest_idle_client_goes_and_busy_ones_stay() {
    let server = Running::start(Model::default());
    let mut busy = server.connect();
    busy.write_all(b"set=1\nfwmark=2\n").unwrap();
    let mut idle: Vec<UnixStream> = Vec::new();
    for _ in 0..CLIENTS_MAX + 4 {
        let mut client = server.connect();
        assert_eq!(ask(&mut client, "get=1\n\n"), "errno=0\n\n");
        idle.push(client);
    }
    assert_eq!(idle[0].read(&mut [0; 8]).unwrap(), 0, "the first was let go");
    let last = idle.last_mut().unwrap();
    assert_eq!(ask(last, "get=1\n\n"), "errno=0\n\n");
    assert_eq!(ask(&mut busy, "\n"), "errno=0\n\n");
    server.stop();
}

// Bad input of the management socket: rubbish, endless lines and endless requests, beside a client that is served.
#[test]
fn rubbish_on_one_connection_leaves_the_others_served() {
    let server = Running::start(Model::default());
    for rubbish in [&b"\0\xff\xfe\n"[..], b"GET / HTTP/1.1\r\n\r\n", &[b'a'; 100_000], b"set=1\nset=1\n"] {
        let mut client = server.connect();
        client.write_all(rubbish).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(read_answer(&mut client).starts_with("errno=-"), "{rubbish:?}");
    }
    assert_eq!(ask(&mut server.connect(), "get=1\n\n"), "errno=0\n\n");
    server.stop();
}

#[test]
fn a_client_of_our_own_sets_and_asks_and_hears_why_not() {
    let server = Running::start(Model { port_in_use: Some(7), ..Model::default() });
    let mut client = Client::connect(&server.path()).unwrap();
    let request = |port| SetRequest { listen_port: Some(port), ..SetRequest::default() };
    client.set(&request(5)).unwrap();
    assert!(matches!(client.set(&request(7)), Err(ClientError::Reply(ReplyError::Refused(98)))));
    assert_eq!(client.snapshot().unwrap().listen_port, 5);
    assert_eq!(client.status().unwrap().version, "model");
    let path = server.path();
    server.stop();
    assert!(matches!(
        client.snapshot(),
        Err(ClientError::System(_) | ClientError::Reply(ReplyError::Truncated))
    ));
    assert!(matches!(Client::connect(&path), Err(ClientError::System(_))));
}

#[test]
fn what_one_set_has_changed_for_two_peers_the_next_get_shows() {
    let server = Running::start(Model::default());
    let mut client = server.connect();
    let text =
        format!("set=1\n{}allowed_ip=10.0.0.0/8\n{}allowed_ip=10.0.0.0/8\n\n", peer_line(1), peer_line(2));
    assert_eq!(ask(&mut client, &text), "errno=0\n\n");
    let peers = parse_get_reply(&ask(&mut client, "get=1\n\n")).unwrap().peers;
    let owned: Vec<usize> = peers.iter().map(|peer| peer.allowed_ips.len()).collect();
    assert_eq!(owned, [0, 1]);
    server.stop();
}

#[test]
fn the_socket_is_for_its_owner_alone_and_goes_with_the_server() {
    let server = Running::start(Model::default());
    let path = server.path();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let folder = std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
    assert_eq!(folder & 0o022, 0, "nobody else may put a socket there");
    server.waker.try_clone().unwrap().write_all(b"x").unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while path.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!path.exists());
}

#[test]
fn a_server_whose_socket_file_is_removed_or_replaced_stops_and_leaves_the_new_one_alone() {
    let server = Running::start(Model::default());
    std::fs::remove_file(server.path()).unwrap();
    assert_eq!(server.wait().0, Stopped::SocketGone);

    let server = Running::start(Model::default());
    let path = server.path();
    std::fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    let mut server = server;
    let thread = server.thread.take().unwrap();
    assert_eq!(thread.join().unwrap().0, Stopped::SocketGone);
    assert!(path.exists(), "that file is another's");
}

#[test]
fn a_dead_socket_is_replaced_and_a_served_one_is_refused() {
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.0).unwrap();
    let path = folder.0.join("wg0.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a process that was killed leaves its socket");
    let socket = Socket::bind(&folder.0, "wg0").unwrap();
    let error = Socket::bind(&folder.0, "wg0").unwrap_err();
    assert!(matches!(error, SocketError::Served { .. }), "{error}");
    assert!(socket.is_in_place(), "the refusal changes nothing");
    drop(socket);
    assert!(!path.exists());
}

#[test]
fn what_is_no_socket_is_refused_and_left_alone() {
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.0).unwrap();
    std::fs::write(folder.0.join("wg0.sock"), "precious").unwrap();
    let error = Socket::bind(&folder.0, "wg0").unwrap_err();
    assert!(matches!(error, SocketError::Foreign { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(folder.0.join("wg0.sock")).unwrap(), "precious");
    std::os::unix::fs::symlink("elsewhere", folder.0.join("wg1.sock")).unwrap();
    assert!(matches!(Socket::bind(&folder.0, "wg1").unwrap_err(), SocketError::Foreign { .. }));
    let long = folder.0.join("d".repeat(120));
    assert!(Socket::bind(&long, "wg0").unwrap_err().to_string().contains("too long"));
    assert!(
        Socket::bind(Path::new("/proc/nowhere"), "wg0").unwrap_err().to_string().contains("/proc/nowhere")
    );
}

#[test]
fn a_listening_socket_that_was_handed_over_is_served_and_anything_else_refused() {
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.0).unwrap();
    let listener = UnixListener::bind(folder.0.join("wg0.sock")).unwrap();
    let socket = Socket::adopt(listener.into(), &folder.0, "wg0").unwrap();
    assert!(socket.is_in_place());
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(Socket::adopt(file.into(), &folder.0, "wg0").unwrap_err().to_string().contains("no socket"));
    let (one, _other) = UnixStream::pair().unwrap();
    assert!(Socket::adopt(one.into(), &folder.0, "wg0").unwrap_err().to_string().contains("no listening"));
    drop(socket);
    let unnamed = UnixListener::bind(folder.0.join("other")).unwrap();
    assert!(Socket::adopt(unnamed.into(), &folder.0, "wg0").unwrap_err().to_string().contains("is not at"));
}

//! Every example, run as a program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Examples are built beside the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples").join(name)
}

fn output_of(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{}: {out}{err}", output.status);
    out.into_owned()
}

fn run(name: &str, arguments: &[&str]) -> String {
    output_of(&Command::new(example(name)).args(arguments).output().unwrap())
}

#[test]
fn the_firewall_lets_in_what_it_should_and_counts_the_rest() {
    assert_eq!(run("firewall", &[]), "3 let in, 6 dropped for their port\n");
}

#[test]
fn the_controller_finds_the_endpoint_that_answers() {
    let said = run("controller", &[]);
    assert!(said.contains("Handshake"), "{said}");
}

#[test]
fn smoltcp_speaks_tcp_through_the_tunnel() {
    assert_eq!(run("smoltcp", &[]), "200000 bytes came back over TCP in WireGuard\n");
}

#[test]
fn the_benchmark_measures_one_worker_and_two() {
    let said = run("bench", &["50"]);
    assert!(said.contains("1 worker:") && said.contains("2 workers:"), "{said}");
}

#[test]
fn a_tun_interface_comes_up_and_goes() {
    let inside = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "test", "-w", "/dev/net/tun"])
        .status();
    if !inside.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no network namespace with /dev/net/tun here");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net"]).arg(example("tun")).args(["wg-example", "0"]);
    let said = output_of(&command.stdin(Stdio::null()).output().unwrap());
    assert!(said.starts_with("wg-example: public key "), "{said}");
}

/// Sends a request, and returns the answer with its head.
fn ask(address: &str, request: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_control_plane_adds_lists_and_removes_a_peer() {
    let mut server =
        Command::new(example("control_plane")).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("http://").unwrap().to_owned();
    let key = "5a".repeat(32);
    let answers = [
        ask(&address, &format!("PUT /peers/{key}"), "10.0.0.2/32 192.0.2.1:51820"),
        ask(&address, "GET /peers", ""),
        ask(&address, &format!("PUT /peers/{key}"), "10.0.0.2/33"),
        ask(&address, &format!("DELETE /peers/{key}"), ""),
        ask(&address, &format!("DELETE /peers/{key}"), ""),
        ask(&address, "GET /stats", ""),
    ];
    server.kill().unwrap();
    server.wait().unwrap();
    for (answer, wanted) in answers.iter().zip(["200 OK", "200 OK", "422", "200 OK", "404", "200 OK"]) {
        assert!(answer.starts_with(&format!("HTTP/1.1 {wanted}")), "{wanted}: {answer}");
    }
    assert!(answers[1].contains(&key) && answers[1].contains("192.0.2.1:51820"), "{}", answers[1]);
    assert!(answers[5].contains("worker 0: busy"), "{}", answers[5]);
}

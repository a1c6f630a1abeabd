//! Many WireGuard peers in one process, for one gateway that is measured.
//!
//! All peers are behind one socket, each with a key, an inner address and an outer address of its own: the namespace in which
//! this runs takes a whole net as its own (`ip route add local NET dev lo`), and each datagram names its source. So the
//! gateway sees as many endpoints as peers. Keys follow from a seed, so that a gateway is configured once and this program
//! may be started for each measurement anew; its handshakes are over when it says `ready`.
//!
//! The handshake is snow's, and none of ours is used but the cipher and the socket: what is measured is not what measures.
#![forbid(unsafe_code)]

mod carry;
mod connect;
mod handshake;

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use dataplane_benches::Numbers;
use dataplane_perf::end::host;
use dataplane_perf::pattern::Sizes;
use dataplane_proto::keys::Secret;

#[derive(Parser)]
#[command(about = "Plays many WireGuard peers against one gateway")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the peers as a gateway's control socket is told of them (`set=1`).
    Uapi {
        /// How many.
        #[arg(long)]
        count: usize,
        /// Net of their inner addresses; its first is not used.
        #[arg(long)]
        inner: Ipv4Addr,
    },
    /// Connects all peers, then carries traffic.
    Run(Run),
}

/// Which way packets go.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// From the peers to the gateway, which opens.
    In,
    /// From the gateway, which seals, to the peers; until the input ends.
    Out,
    /// Handshakes over and over.
    Handshakes,
}

#[derive(Args)]
struct Run {
    /// How many.
    #[arg(long)]
    count: usize,
    /// Which way.
    #[arg(long)]
    way: Way,
    /// Public key of the gateway, in hexadecimal.
    #[arg(long, value_parser = parse_key)]
    key: [u8; 32],
    /// Address and port of the gateway.
    #[arg(long)]
    gateway: SocketAddrV4,
    /// Port of all peers.
    #[arg(long)]
    port: u16,
    /// Net of their outer addresses; its first is not used.
    #[arg(long)]
    outer: Ipv4Addr,
    /// Net of their inner addresses.
    #[arg(long)]
    inner: Ipv4Addr,
    /// Where packets to the gateway go, inside.
    #[arg(long)]
    to: Option<SocketAddrV4>,
    /// Bytes of payload, or `imix`.
    #[arg(long, default_value = "64")]
    size: Sizes,
    /// Packets of a peer before the next is drawn; from 2 on they leave as trains.
    #[arg(long, default_value_t = 1)]
    burst: usize,
    /// Packets per second; 0 for full speed.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// For so long.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Without handshakes, under keys that nobody has: what this program sends at most.
    #[arg(long)]
    unconnected: bool,
    /// How long all peers have to connect.
    #[arg(long, default_value_t = 30.0)]
    patience: f64,
}

fn parse_key(text: &str) -> Result<[u8; 32], String> {
    let digits = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok());
    let bytes: Option<Vec<u8>> = digits.collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| "a key is 64 hexadecimal digits".to_owned())
}

/// The private key of a peer.
fn secret(number: usize) -> Secret {
    let mut numbers = Numbers::new(0x0070_6565_7273 ^ (number as u64) << 32);
    let mut bytes = [0; 32];
    bytes.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&numbers.next_u64().to_le_bytes()));
    Secret::new(bytes)
}

fn print_uapi(count: usize, inner: Ipv4Addr) {
    let mut text = String::new();
    for number in 0..count {
        let _ = writeln!(text, "public_key={:?}", secret(number).public());
        let _ = writeln!(text, "allowed_ip={}/32", host(inner, number));
    }
    print!("{text}");
}

fn run(run: &Run) -> io::Result<()> {
    let mut peers = connect::Peers::new(run)?;
    if !run.unconnected {
        peers.connect_all(run.patience)?;
    }
    match run.way {
        Way::In => carry::send(&mut peers, run),
        Way::Out => carry::receive(&mut peers),
        Way::Handshakes => peers.over_and_over(run.seconds),
    }
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Uapi { count, inner } => {
            print_uapi(count, inner);
            Ok(())
        }
        Command::Run(arguments) => run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

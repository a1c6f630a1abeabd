//! A flood of datagrams at a given rate, in batches: what a stranger may send to a gateway.
//!
//! Messages are made before the first one leaves, so that what it costs is to send them: one `sendmmsg` for what is due, with
//! GSO trains where lengths and addresses are equal, unless `--single` sends each datagram on its own. What is late by more than
//! 10 ms is left out and not caught up with. The last line on standard output says what left, as JSON.
//!
//! | kind | each datagram | what a gateway does with it at most |
//! |---|---|---|
//! | `initiations` | an initiation with the right mac1, of one source | a MAC; a cookie reply |
//! | `spoofed` | the same, each from another source (`--sources`) | the same |
//! | `junk` | random bytes of random length, half of them with a type of WireGuard | looks at the header |
//! | `unknown` | data under an index that nobody has | a look-up |
//! | `replays` | one of `--samples`, which were delivered before | a look-up, and a look at the window |
#![forbid(unsafe_code)]

mod messages;

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use dataplane_io::memory::{Class, Plan, Region};
use dataplane_io::packet_io::{PacketIo, SendReport};
use dataplane_io::socket::{BindRequest, OffloadConfig, bind_group};
use dataplane_io::tx::TxBatch;
use dataplane_io::udp::UdpIo;
use dataplane_wire::{FourTuple, SocketId, TrafficClass, TxMeta, TxSink};

use messages::{Numbers, messages};

/// Most datagrams of one batch; one train each.
const BATCH_MAX: u64 = 256;
/// How long is slept when less is due than falls in that time: as datagrams come off a wire, in bursts. A sender that sent what is
/// due at once would never sleep at high rates, and make trains of two.
const PAUSE: Duration = Duration::from_micros(100);
/// What is late by more than this is left out.
const LATE: Duration = Duration::from_millis(10);

#[derive(Parser)]
#[command(about = "Sends a flood of datagrams at a given rate")]
struct Arguments {
    /// Address and port of the receiver.
    #[arg(long)]
    to: SocketAddr,
    /// What is sent.
    #[arg(long, value_enum)]
    kind: Kind,
    /// Datagrams in a second.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: u32,
    /// How long.
    #[arg(long)]
    seconds: f64,
    /// Public key of the receiver, 64 hexadecimal digits: for `initiations` and `spoofed`.
    #[arg(long, default_value = "")]
    key: String,
    /// First of 65,536 source addresses, all of which this host must have: for `spoofed`.
    #[arg(long)]
    sources: Option<Ipv4Addr>,
    /// A file with a datagram in hexadecimal on each line: for `replays`.
    #[arg(long, default_value = "")]
    samples: String,
    /// No GSO.
    #[arg(long)]
    single: bool,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Initiations,
    Spoofed,
    Junk,
    Unknown,
    Replays,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok((report, left_out, took)) => {
            let (sent, dropped) = (report.datagrams, report.dropped());
            let seconds = took.as_secs_f64();
            println!(
                r#"{{"sent": {sent}, "bytes": {}, "dropped": {dropped}, "left_out": {left_out}, "seconds": {seconds:.4}}}"#,
                report.bytes
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("flood: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends until the time is over. What was sent, how many were left out, how long it took.
fn run(arguments: &Arguments) -> Result<(SendReport, u64, Duration), Box<dyn Error>> {
    let pool = messages(arguments)?;
    let region = Region::new(&Plan::new().with("send arena", Class::Slab, 16))?;
    let mut tx = TxBatch::new(&region, 16, BATCH_MAX as usize)?;
    let mut io = UdpIo::new(OffloadConfig { gso: !arguments.single, gro: false });
    for socket in bind_group(&BindRequest { v6: None, ..BindRequest::default() })?.v4 {
        io.add_socket(SocketId(0), socket)?;
    }
    let mut numbers = Numbers(1);
    let (mut total, mut next, mut left_out) = (SendReport::default(), 0, 0);
    let burst = ((f64::from(arguments.rate) * PAUSE.as_secs_f64()) as u64).clamp(1, BATCH_MAX);
    let late = (f64::from(arguments.rate) * LATE.as_secs_f64()) as u64;
    let began = Instant::now();
    loop {
        let elapsed = began.elapsed();
        if elapsed.as_secs_f64() >= arguments.seconds {
            return Ok((total, left_out, elapsed));
        }
        let due = (elapsed.as_secs_f64() * f64::from(arguments.rate)) as u64;
        if due - next < burst {
            sleep(PAUSE);
            continue;
        }
        if due - next > late.max(BATCH_MAX) {
            left_out += due - next - BATCH_MAX;
            next = due - BATCH_MAX;
        }
        for _ in 0..(due - next).min(BATCH_MAX) {
            let message = &pool[next as usize % pool.len()];
            let local_ip = arguments.sources.map(|first| {
                let number = numbers.next() as u32 & 0xffff;
                IpAddr::V4(Ipv4Addr::from_bits(first.to_bits().wrapping_add(number)))
            });
            let tuple = FourTuple { socket: SocketId(0), remote: arguments.to, local_ip };
            let meta = TxMeta { tuple, class: TrafficClass(0) };
            let Ok(mut train) = tx.reserve_train(&meta, message.len(), 1, message.len()) else { break };
            train.bytes().copy_from_slice(message);
            train.commit();
            next += 1;
        }
        total.merge(&io.send(&mut tx));
    }
}

//! The ceiling: a tunnel with the kernel's offloads on both sides, and nothing between them.
//!
//! A super-packet that the TUN yields is sent as it is, vnet header first, as one train of datagrams; a train that arrives is
//! written back as one super-packet. Nothing is parsed but lengths. With `--cipher`, every byte is sealed before it leaves and
//! opened when it arrives, one WireGuard-sized datagram at a time.
//!
//! Datagrams of a train have the size that WireGuard's have at this MTU: MTU + 32 bytes, of which the last may be shorter.
//! Both ends need the same MTU and the same choice of cipher. It is made for a path that loses no part of a train (a veth): what
//! does not add up is dropped and counted. It protects nothing: the key is known to all.
#![forbid(unsafe_code)]

mod coding;

use std::error::Error;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;

use clap::Parser;
use coding::{Coding, SEGMENT_OVERHEAD};
use dataplane_aead::Cipher;
use dataplane_io::inner::{Inner, RECV_MIN, RecvError, SendError};
use dataplane_io::poll::{Interest, Poller, Token};
use dataplane_io::trains;
use dataplane_io::tun::{self, Existing, Offloads, Options, Queue, SuperPackets};
use socket2::{Domain, Protocol, Socket, Type};

/// Most packets or trains from one side before the other has its turn.
const TURN: usize = 16;
/// Kernel buffers of the socket, as in the gateway.
const SOCKET_BYTES: usize = 7 << 20;

#[derive(Parser)]
#[command(about = "A tunnel without protocol: what TUN and UDP offloads carry at best")]
struct Arguments {
    /// Stay in the foreground. It always does; accepted so that it starts as wireguard-go does.
    #[arg(short = 'f', long)]
    foreground: bool,
    /// Interface to create.
    interface: String,
    /// Own address and port.
    #[arg(long)]
    local: SocketAddr,
    /// Address and port of the other end.
    #[arg(long)]
    remote: SocketAddr,
    /// MTU of the interface.
    #[arg(long, default_value_t = 1420, value_parser = clap::value_parser!(u32).range(576..=65_000))]
    mtu: u32,
    /// Seal and open every byte with this provider of ChaCha20-Poly1305, for example `ring` or `auto`.
    #[arg(long)]
    cipher: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(totals) => {
            eprintln!("null-tunnel: {} is gone; {totals:?}", arguments.interface);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("null-tunnel: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What passed, and what did not.
#[derive(Debug, Default)]
struct Totals {
    sent: u64,
    received: u64,
    /// Super-packets larger than a train.
    too_large: u64,
    /// Refused by the socket.
    socket_refused: u64,
    /// Refused by the TUN.
    tun_refused: u64,
    /// Trains that do not add up, or with a wrong tag.
    garbled: u64,
}

fn run(arguments: &Arguments) -> Result<Totals, Box<dyn Error>> {
    let cipher = arguments.cipher.as_deref().map(choose_cipher).transpose()?;
    let options = Options {
        name: &arguments.interface,
        queues: 1,
        existing: Existing::Refuse,
        offloads: Offloads::ALL,
    };
    let (mut device, mut queues) = tun::open(&options)?;
    // A super-packet must fit one train, also in a namespace that forwards.
    device.set_super_packets(SuperPackets::Train);
    device.set_mtu(arguments.mtu)?;
    let socket = connect(arguments)?;
    let queue = queues.remove(0);
    let coding = Coding::new(arguments.mtu as usize, cipher);
    Ok(Tunnel { queue, socket, coding, buffer: vec![0; RECV_MIN], totals: Totals::default() }.run()?)
}

fn choose_cipher(name: &str) -> Result<Cipher, String> {
    if name == "auto" {
        return Ok(Cipher::auto());
    }
    Cipher::named(name).ok_or_else(|| {
        let known: Vec<_> = Cipher::available().map(|cipher| dataplane_aead::Aead::name(&cipher)).collect();
        format!("no cipher {name} on this processor: there are {}, or auto", known.join(", "))
    })
}

fn connect(arguments: &Arguments) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(arguments.local), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(SOCKET_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BYTES)?;
    socket.bind(&arguments.local.into())?;
    socket.connect(&arguments.remote.into())?;
    trains::fix(&socket, (arguments.mtu as usize + SEGMENT_OVERHEAD) as u16)?;
    Ok(socket.into())
}

struct Tunnel {
    queue: Queue,
    socket: UdpSocket,
    coding: Coding,
    buffer: Vec<u8>,
    totals: Totals,
}

impl Tunnel {
    /// Until the interface is gone.
    fn run(mut self) -> io::Result<Totals> {
        let mut poller = Poller::new(2)?;
        poller.add(self.queue.fd(), Token(0), Interest::Read)?;
        poller.add(&self.socket, Token(1), Interest::Read)?;
        loop {
            let mut idle = true;
            for _ in 0..TURN {
                match self.outbound() {
                    Ok(true) => idle = false,
                    Ok(false) => break,
                    Err(RecvError::Gone) => return Ok(self.totals),
                    Err(RecvError::Io(error)) => return Err(error),
                }
            }
            for _ in 0..TURN {
                if !self.inbound() {
                    break;
                }
                idle = false;
            }
            if idle {
                poller.wait(None)?;
            }
        }
    }

    /// One super-packet from the TUN to the socket; false when none waits.
    fn outbound(&mut self) -> Result<bool, RecvError> {
        let Some(len) = self.queue.recv(&mut self.buffer)? else { return Ok(false) };
        match self.coding.encode(&self.buffer[..len]) {
            Some(train) if self.socket.send(train).is_ok() => self.totals.sent += 1,
            Some(_) => self.totals.socket_refused += 1,
            None => self.totals.too_large += 1,
        }
        Ok(true)
    }

    /// One train from the socket to the TUN; false when none waits.
    fn inbound(&mut self) -> bool {
        // An error is one that an earlier datagram caused (nobody listens yet): it is gone when it was told.
        let len = match self.socket.recv(&mut self.buffer) {
            Ok(len) => len,
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        };
        let (queue, totals) = (&mut self.queue, &mut self.totals);
        let whole = self.coding.decode(&mut self.buffer[..len], |head, arena, parts| {
            match queue.send_gather(head, arena, parts) {
                Ok(()) => totals.received += 1,
                // The next read ends the program.
                Err(SendError::Gone) => {}
                Err(_) => totals.tun_refused += 1,
            }
        });
        self.totals.garbled += u64::from(!whole);
        true
    }
}

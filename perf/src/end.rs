//! One socket with its arenas: sends and receives in batches, with the kernel's offloads.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use dataplane_io::poll::{Interest, Poller, Token};
use dataplane_io::socket::{BindRequest, OffloadConfig, bind_group, kernel_drops};
use dataplane_io::udp::UdpIo;
use dataplane_io::{Class, PacketIo, Plan, Region, RxRing, TxBatch};
use dataplane_wire::{FourTuple, SocketId, TrafficClass, TxMeta};

/// Slabs of the send arena, and slots of the receive ring.
const SLABS: usize = 64;
/// Trains of a send batch.
const TRAINS: usize = 1024;
/// How long a sink naps where there is nothing: what comes meanwhile fits its buffer many times over.
pub const NAP: Duration = Duration::from_millis(2);
/// Bytes of receive buffer: what comes in 0.1 s at 10 Gbit/s, so that a sink that waits for a processor loses nothing.
const BUFFER: usize = 128 << 20;

/// A socket, where its datagrams are written, and where they land.
pub struct End {
    io: UdpIo,
    /// What will be sent.
    pub tx: TxBatch,
    /// What came.
    pub rx: RxRing,
    poller: Poller,
    socket: UdpSocket,
    /// Datagrams that the kernel did not take.
    pub refused: u64,
}

impl End {
    /// Binds an IPv4 socket. With `trains`, equal datagrams to one address leave as one train.
    ///
    /// # Errors
    /// The address is in use, or no memory.
    pub fn bind(address: SocketAddrV4, trains: bool) -> io::Result<Self> {
        let request = BindRequest {
            port: address.port(),
            v4: Some(*address.ip()),
            v6: None,
            recv_buffer: BUFFER,
            send_buffer: BUFFER,
            ..BindRequest::default()
        };
        let socket = bind_group(&request).map_err(io::Error::other)?.v4.remove(0);
        let plan =
            Plan::new().with("send arena", Class::Slab, SLABS).with("receive ring", Class::Slab, SLABS);
        let region = Region::new(&plan).map_err(io::Error::other)?;
        let mut io = UdpIo::new(OffloadConfig { gso: trains, gro: true });
        io.add_socket(SocketId(0), socket.try_clone()?)?;
        let poller = Poller::new(1)?;
        poller.add(&socket, Token(0), Interest::Read)?;
        Ok(Self {
            io,
            tx: TxBatch::new(&region, SLABS, TRAINS).map_err(io::Error::other)?,
            rx: RxRing::new(&region, Class::Slab, SLABS).map_err(io::Error::other)?,
            poller,
            socket,
            refused: 0,
        })
    }

    /// Sends what was written. Returns how many datagrams the kernel took.
    pub fn send(&mut self) -> u64 {
        let report = self.io.send(&mut self.tx);
        self.refused += report.dropped();
        report.datagrams
    }

    /// Receives what has come. Where nothing has, it waits for it so long.
    ///
    /// # Errors
    /// Those of the poller.
    pub fn recv(&mut self, wait: Duration) -> io::Result<bool> {
        if !self.take() {
            self.poller.wait(Some(wait))?;
            self.take();
        }
        Ok(!self.rx.metas().is_empty())
    }

    /// Receives what has come; whether there was anything. A sink that naps where there is nothing, instead of waiting for
    /// it, lets nobody pay for waking it: the kernel charges that to whoever sends, which is what is measured.
    pub fn take(&mut self) -> bool {
        self.io.set_all_ready();
        self.io.recv(&mut self.rx);
        !self.rx.metas().is_empty()
    }

    /// Datagrams and bytes in the receive ring.
    pub fn received(&self) -> (u64, u64) {
        let count = |(packets, bytes): (u64, u64), meta: &dataplane_wire::RxMeta| {
            (packets + u64::from(meta.len.div_ceil(meta.stride.max(1)).max(1)), bytes + u64::from(meta.len))
        };
        self.rx.metas().iter().fold((0, 0), count)
    }

    /// What the kernel dropped because the receive buffer was full: trains count once.
    pub fn overflowed(&self) -> u64 {
        kernel_drops(&self.socket).unwrap_or(0)
    }
}

/// Where a datagram goes, and from which of our addresses.
pub fn way(to: SocketAddr, from: Option<Ipv4Addr>) -> TxMeta {
    let tuple = FourTuple { socket: SocketId(0), remote: to, local_ip: from.map(Into::into) };
    TxMeta { tuple, class: TrafficClass::default() }
}

/// Host `number` of a net: its first address is left out.
pub fn host(net: Ipv4Addr, number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(net.to_bits().wrapping_add(number as u32 + 1))
}

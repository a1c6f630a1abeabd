//! Two ends joined by each backend, in the same shape.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dataplane_io::faulty::{Faulty, Schedule, SendFault};
use dataplane_io::mem::{Behaviour, MemIo, Network};
use dataplane_io::socket::{BindRequest, OffloadConfig, bind_group, kernel_drops};
use dataplane_io::udp::UdpIo;
use dataplane_io::{Class, PacketIo, Plan, Region, RxRing, TxBatch};
use dataplane_wire::SocketId;

/// Slabs of each send arena.
pub(crate) const TX_SLABS: usize = 16;
/// Slots of each receive ring.
pub(crate) const RX_SLOTS: usize = 32;

/// What a test wants of its ends.
#[derive(Clone, Copy)]
pub(crate) struct Wish {
    /// Sockets of the receiving end, with the ids 0, 1, …
    pub(crate) receivers: u16,
    /// GSO and GRO.
    pub(crate) offloads: bool,
}

impl Default for Wish {
    fn default() -> Self {
        Self { receivers: 1, offloads: true }
    }
}

/// A sender with the socket 0, and a receiver.
pub(crate) struct Ends<P> {
    pub(crate) a: P,
    pub(crate) b: P,
    /// Where the sender's socket is.
    pub(crate) from: SocketAddr,
    /// Another address of the sender's, where it has one.
    pub(crate) second_source: Option<IpAddr>,
    /// The receiver's sockets, by id.
    pub(crate) to: Vec<SocketAddr>,
    /// An address that no datagram reaches, and says so.
    pub(crate) nowhere: SocketAddr,
    /// An address of the other family, for which the sender has no socket.
    pub(crate) other_family: SocketAddr,
    pub(crate) rx: RxRing,
    pub(crate) tx: TxBatch,
    pub(crate) region: Region,
}

/// How to make ends of a backend.
pub(crate) trait Lab {
    type Io: PacketIo;

    fn ends(wish: Wish) -> Ends<Self::Io>;

    /// A socket like the receiver's.
    fn spare_socket() -> <Self::Io as PacketIo>::Socket;

    /// Datagrams that the network itself has dropped at the receiver.
    fn lost_at_receiver(end: &mut Self::Io) -> u64;
}

fn region() -> Region {
    let plan = Plan::new()
        .with("send arenas", Class::Slab, 2 * TX_SLABS)
        .with("arenas of faulty ends", Class::Slab, 2 * TX_SLABS)
        .with("receive ring", Class::Slab, 2 * RX_SLOTS)
        .with("small receive ring", Class::Frame, RX_SLOTS);
    Region::new(&plan).unwrap()
}

fn ends<P>(a: P, b: P, from: SocketAddr, to: Vec<SocketAddr>, nowhere: &str) -> Ends<P> {
    let region = region();
    let other: IpAddr = if from.is_ipv4() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    Ends {
        a,
        b,
        from,
        second_source: None,
        to,
        nowhere: nowhere.parse().unwrap(),
        other_family: SocketAddr::new(other, 9),
        rx: RxRing::new(&region, Class::Slab, RX_SLOTS).unwrap(),
        tx: TxBatch::new(&region, TX_SLABS, 1024).unwrap(),
        region,
    }
}

/// UDP over loopback.
pub(crate) struct Udp<const V6: bool>;

impl<const V6: bool> Udp<V6> {
    fn host() -> IpAddr {
        if V6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
    }

    fn bind() -> (std::net::UdpSocket, u16) {
        let v4 = (!V6).then_some(Ipv4Addr::UNSPECIFIED);
        let v6 = V6.then_some(Ipv6Addr::UNSPECIFIED);
        let group = bind_group(&BindRequest { v4, v6, ..BindRequest::default() }).unwrap();
        (group.v4.into_iter().chain(group.v6).next().unwrap(), group.port)
    }
}

impl<const V6: bool> Lab for Udp<V6> {
    type Io = UdpIo;

    fn ends(wish: Wish) -> Ends<UdpIo> {
        let config = OffloadConfig { gso: wish.offloads, gro: wish.offloads };
        let mut a = UdpIo::new(config);
        let (socket, port) = Self::bind();
        a.add_socket(SocketId(0), socket).unwrap();
        let from = SocketAddr::new(Self::host(), port);
        let mut b = UdpIo::new(config);
        let to = (0..wish.receivers).map(|id| {
            let (socket, port) = Self::bind();
            b.add_socket(SocketId(id), socket).unwrap();
            SocketAddr::new(Self::host(), port)
        });
        let to = to.collect();
        // A broadcast that the socket is not allowed to send; a link that does not exist.
        let mut ends = ends(a, b, from, to, if V6 { "[fe80::1%99999]:9" } else { "255.255.255.255:9" });
        if !V6 {
            // All of 127/8 is ours; of IPv6 loopback has but one address.
            ends.second_source = Some(Ipv4Addr::new(127, 0, 0, 2).into());
        }
        ends
    }

    fn spare_socket() -> std::net::UdpSocket {
        Self::bind().0
    }

    fn lost_at_receiver(end: &mut UdpIo) -> u64 {
        let mut lost = 0;
        end.poll_fds(&mut |_, fd| lost += kernel_drops(&fd).unwrap());
        lost
    }
}

/// The network in memory.
pub(crate) struct Mem<const V6: bool>;

impl<const V6: bool> Mem<V6> {
    fn addresses(host: u8) -> [IpAddr; 2] {
        if V6 {
            [[0xfd00, 0, 0, 0, 0, 0, 0, host.into()].into(), [0xfd00, 0, 0, 0, 0, 0, 1, host.into()].into()]
        } else {
            [[10, 0, 0, host].into(), [10, 0, 1, host].into()]
        }
    }
}

impl<const V6: bool> Lab for Mem<V6> {
    type Io = MemIo;

    fn ends(wish: Wish) -> Ends<MemIo> {
        let (gso, gro) = (wish.offloads, wish.offloads);
        let network = Network::new(Behaviour { gso, gro, depth: 512, ..Behaviour::default() });
        let (mut a, mut b) = (MemIo::new(), MemIo::new());
        let [first, second] = Self::addresses(1);
        a.add_socket(SocketId(0), network.bind(&[first, second], 7).unwrap()).unwrap();
        let to = (0..wish.receivers).map(|id| {
            let [address, _] = Self::addresses(2);
            b.add_socket(SocketId(id), network.bind(&[address], 100 + id).unwrap()).unwrap();
            SocketAddr::new(address, 100 + id)
        });
        let to = to.collect();
        let nowhere = if V6 { "[fd00::99]:9" } else { "10.0.0.99:9" };
        let mut ends = ends(a, b, SocketAddr::new(first, 7), to, nowhere);
        ends.second_source = Some(second);
        ends
    }

    fn spare_socket() -> dataplane_io::mem::MemSocket {
        Network::new(Behaviour::default()).bind(&Self::addresses(9), 1).unwrap()
    }

    /// A full mailbox is counted by the sender.
    fn lost_at_receiver(_: &mut MemIo) -> u64 {
        0
    }
}

/// Any lab, with faults that change how datagrams travel but neither lose nor double one: nothing may show.
pub(crate) struct Shaken<L>(std::marker::PhantomData<L>);

impl<L: Lab> Lab for Shaken<L> {
    type Io = Faulty<L::Io>;

    fn ends(wish: Wish) -> Ends<Self::Io> {
        let ends = L::ends(wish);
        let faults = [SendFault::Split, SendFault::ShortCall];
        let schedule = (0..1000u64)
            .filter(|train| train % 3 != 1)
            .fold(Schedule::new(), |schedule, train| schedule.send(train, faults[train as usize % 2]));
        ends.wrap(schedule, Schedule::new())
    }

    fn spare_socket() -> <L::Io as PacketIo>::Socket {
        L::spare_socket()
    }

    fn lost_at_receiver(end: &mut Self::Io) -> u64 {
        L::lost_at_receiver(end.inner())
    }
}

impl<P: PacketIo> Ends<P> {
    /// The same ends, with faults at the sender and at the receiver.
    pub(crate) fn wrap(self, a: Schedule, b: Schedule) -> Ends<Faulty<P>> {
        Ends {
            a: Faulty::new(self.a, a, &self.region, TX_SLABS).unwrap(),
            b: Faulty::new(self.b, b, &self.region, TX_SLABS).unwrap(),
            from: self.from,
            second_source: self.second_source,
            to: self.to,
            nowhere: self.nowhere,
            other_family: self.other_family,
            rx: self.rx,
            tx: self.tx,
            region: self.region,
        }
    }
}

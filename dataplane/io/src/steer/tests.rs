//! The kernel's decision against the twin's, over loopback.
//!
//! Contains unsafe: a socket option that no crate here knows.

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use proptest::prelude::*;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::*;
use crate::socket::{BindRequest, bind_group};

/// A reuse-port group on loopback, steered, and a socket that sends to it.
struct Group {
    members: Vec<UdpSocket>,
    sender: UdpSocket,
    steering: Steering,
    /// Where the kernel's hash sends what this sender sends.
    by_hash: usize,
}

impl Group {
    /// Steered before the first member is bound.
    fn new(steering: Steering, members: usize) -> Self {
        let first = socket();
        steering.attach(&first).unwrap();
        first.bind(&SockAddr::from(std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).unwrap();
        let address = first.local_addr().unwrap();
        let rest = (1..members).map(|_| {
            let socket = socket();
            socket.bind(&address).unwrap();
            socket
        });
        let members = std::iter::once(first).chain(rest.collect::<Vec<_>>()).map(UdpSocket::from).collect();
        Self::with_members(steering, members)
    }

    /// Made and steered as an interface's sockets are: one family of a bound group.
    fn bound(steering: Steering, workers: usize, v6: bool) -> Self {
        let localhost = BindRequest {
            v4: Some(Ipv4Addr::LOCALHOST),
            v6: Some(Ipv6Addr::LOCALHOST),
            ..BindRequest::default()
        };
        let group = bind_group(&BindRequest { workers, ..localhost }).unwrap();
        let members = if v6 { group.v6 } else { group.v4 };
        steering.attach(&members[0]).unwrap();
        members.iter().for_each(|member| member.set_nonblocking(true).unwrap());
        Self::with_members(steering, members)
    }

    fn with_members(steering: Steering, members: Vec<UdpSocket>) -> Self {
        let address = members[0].local_addr().unwrap();
        let sender = UdpSocket::bind((address.ip(), 0)).unwrap();
        sender.connect(address).unwrap();
        let mut group = Self { members, sender, steering, by_hash: 0 };
        group.by_hash = group.landing(b"");
        group
    }

    /// Sends one datagram and returns the number of the member that has got it.
    fn landing(&self, datagram: &[u8]) -> usize {
        self.sender.send(datagram).unwrap();
        self.receiver_of(datagram)
    }

    /// Sends a GSO train and returns the member that has got all of it. What is sent later is cut to this length too.
    fn landing_of_train(&self, datagram: &[u8], segments: usize) -> usize {
        let train = datagram.repeat(segments);
        crate::trains::fix(&self.sender, datagram.len() as u16).expect("this kernel has no UDP GSO");
        self.sender.send(&train).unwrap();
        let members: Vec<_> = (0..segments).map(|_| self.receiver_of(datagram)).collect();
        assert!(members.iter().all(|member| *member == members[0]), "a train was torn: {members:?}");
        members[0]
    }

    /// Loopback delivers within the send, so what was sent lies in one of the sockets already.
    fn receiver_of(&self, datagram: &[u8]) -> usize {
        let mut buffer = [0; 2048];
        for (number, member) in self.members.iter().enumerate() {
            if let Ok(len) = member.recv(&mut buffer) {
                assert!(buffer[..len] == *datagram, "another datagram arrived");
                return number;
            }
        }
        panic!("a datagram of {} bytes was lost", datagram.len());
    }

    fn expected(&self, datagram: &[u8]) -> usize {
        match self.steering.decide(datagram) {
            Target::Core(core) if (core as usize) < self.members.len() => core as usize,
            Target::Core(_) | Target::Hash => self.by_hash,
        }
    }
}

fn socket() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket
}

/// A message of this type with this receiver index, in ChannelData or not.
fn message(kind: u8, index: u32, len: usize, channel: Option<u16>) -> Vec<u8> {
    let mut bytes = vec![0xA5; len];
    bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
    let at = if kind == 2 { 8 } else { 4 };
    bytes[at..at + 4].copy_from_slice(&index.to_le_bytes());
    match channel {
        Some(channel) => [&channel.to_be_bytes()[..], &(len as u16).to_be_bytes(), &bytes].concat(),
        None => bytes,
    }
}

/// Every message that carries an index, with that index.
fn messages(index: u32) -> Vec<Vec<u8>> {
    let kinds = [(4, 32), (4, 1452), (3, 64), (2, 92)];
    let channels = [None, Some(0x4000), Some(0x4FFF)];
    kinds.iter().flat_map(|&(kind, len)| channels.map(|channel| message(kind, index, len, channel))).collect()
}

// EN-2
#[test]
fn messages_land_on_the_core_that_their_index_names() {
    for (core_bits, sockets) in [(1, 2), (2, 4), (2, 3), (8, 5)] {
        let group = Group::new(Steering::by_index(core_bits), sockets);
        for core in 0..sockets {
            for noise in [0, 0x00FF_FFFF >> core_bits, 0x0012_3456 >> core_bits] {
                let index = ((core as u32) << (32 - core_bits)) | noise;
                for message in messages(index) {
                    assert_eq!(group.landing(&message), core, "core bits {core_bits}, index {index:08x}");
                }
            }
        }
    }
}

// EN-2
#[test]
fn bound_groups_of_both_families_are_steered_by_order_of_binding() {
    for v6 in [false, true] {
        let group = Group::bound(Steering::by_index(2), 4, v6);
        let of_core = |core| messages((core as u32) << 30 | 0x1234);
        for core in 0..4 {
            of_core(core).iter().for_each(|message| assert_eq!(group.landing(message), core));
        }
        for core in 0..4 {
            of_core(core).iter().for_each(|message| assert_eq!(group.landing_of_train(message, 10), core));
        }
    }
}

// EN-2
#[test]
fn trains_land_whole_on_the_core_that_their_index_names() {
    for (core_bits, sockets) in [(1, 2), (2, 4)] {
        let group = Group::new(Steering::by_index(core_bits), sockets);
        for core in 0..sockets {
            let index = ((core as u32) << (32 - core_bits)) | 0x00AB_CDEF >> 2;
            for message in messages(index) {
                assert_eq!(group.landing_of_train(&message, 20), core);
            }
        }
    }
}

// EN-2
#[test]
fn stun_goes_to_the_control_layers_core_where_one_is_named() {
    let mut stun = [0; 20];
    stun[..8].copy_from_slice(&[1, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42]);
    let in_channel = [&[0x40, 0, 0, 20][..], &stun].concat();
    for core in 0..3 {
        let group = Group::new(Steering::by_index(2).with_stun_core(core), 4);
        assert_eq!(group.landing(&stun), core as usize);
        assert_eq!(group.landing(&in_channel), core as usize);
        // An index that looks like the cookie is an index still (DX-3).
        let data = message(4, 0x42A4_1221, 32, None);
        assert_eq!(data[4..8], STUN_COOKIE.to_be_bytes());
        assert_eq!(group.landing(&data), 1);
    }
    assert_eq!(Steering::by_index(2).decide(&stun), Target::Hash);
}

// EN-2
#[test]
fn initiations_of_many_sources_are_spread_and_those_of_one_stay_together() {
    let group = Group::new(Steering::by_index(2), 4);
    let initiation = message(1, 0, 148, None);
    let address = group.members[0].local_addr().unwrap();
    let mut landed = [0; 4];
    for _ in 0..64 {
        let source = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let seen = [(); 2].map(|()| {
            source.send_to(&initiation, address).unwrap();
            group.receiver_of(&initiation)
        });
        assert_eq!(seen[0], seen[1]);
        landed[seen[0]] += 1;
    }
    assert!(landed.iter().all(|count| *count > 0), "not spread: {landed:?}");
}

#[test]
fn a_core_that_does_not_exist_and_short_datagrams_go_by_hash() {
    let group = Group::new(Steering::by_index(2), 3);
    assert_eq!(group.landing(&message(4, u32::MAX, 32, None)), group.by_hash);
    for kind in 0..=u8::MAX {
        for len in [1, 4, 8, 12, 19, 20, 23, 24, 31] {
            let mut datagram = vec![0xFF; len];
            datagram[0] = kind;
            assert_eq!(group.landing(&datagram), group.by_hash, "type {kind}, {len} bytes");
        }
    }
}

#[test]
fn a_socket_without_reuse_port_is_refused() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let error = Steering::by_index(1).attach(&socket).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
}

/// Datagrams that often look like something.
fn datagrams() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![0u8..6, 0x3Eu8..0x51, any::<u8>()];
    let second = prop_oneof![0u8..6, any::<u8>()];
    let len = prop_oneof![0usize..48, Just(92), Just(96), Just(148), 0usize..1500];
    (first, second, any::<bool>(), any::<bool>(), len, any::<u64>()).prop_map(
        |(first, second, stun, deep, len, seed)| {
            let mut state = seed | 1;
            let mut bytes: Vec<u8> = (0..len)
                .map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (state >> 56) as u8
                })
                .collect();
            let mut put = |at: usize, value: &[u8]| {
                if let Some(place) = bytes.get_mut(at..at + value.len()) {
                    place.copy_from_slice(value);
                }
            };
            put(0, &[first]);
            put(4, &[second]);
            if stun {
                put(if deep { 8 } else { 4 }, &STUN_COOKIE.to_be_bytes());
            }
            bytes
        },
    )
}

// EN-2
#[test]
fn kernel_and_twin_agree_on_any_datagram() {
    for (steering, sockets) in [
        (Steering::by_index(0), 2),
        (Steering::by_index(1), 2),
        (Steering::by_index(2).with_stun_core(3), 4),
        (Steering::by_index(8).with_stun_core(200), 3),
    ] {
        let group = Group::new(steering, sockets);
        proptest!(ProptestConfig::with_cases(2000), |(datagram in datagrams())| {
            prop_assert_eq!(group.landing(&datagram), group.expected(&datagram));
        });
    }
}

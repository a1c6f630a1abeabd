//! The kernel's decision against the twin's, over loopback.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use proptest::prelude::*;

use super::*;
use crate::socket::kernel_drops;

/// A socket that is screened, and one that sends to it.
struct Ends {
    near: UdpSocket,
    far: UdpSocket,
}

impl Ends {
    fn new(v6: bool) -> Self {
        let bind = || match v6 {
            false => UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            true => UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap(),
        };
        let (near, far) = (bind(), bind());
        near.connect(far.local_addr().unwrap()).unwrap();
        far.set_nonblocking(true).unwrap();
        Self { near, far }
    }

    /// Sends some bytes; what came of them. Loopback delivers within the send.
    fn carry(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.near.send(bytes).unwrap();
        let mut buffer = vec![0; 65_536];
        let len = self.far.recv(&mut buffer).ok()?;
        buffer.truncate(len);
        Some(buffer)
    }

    fn passes(&self, bytes: &[u8]) -> bool {
        self.carry(bytes).inspect(|came| assert_eq!(came, bytes)).is_some()
    }
}

/// A message of this type and length; `mac2` fills its last 16 bytes.
fn message(kind: u8, len: usize, mac2: u8) -> Vec<u8> {
    let mut bytes = vec![0xA5; len];
    bytes[..len.min(4)].copy_from_slice(&[kind, 0, 0, 0][..len.min(4)]);
    bytes[len.saturating_sub(16)..].fill(mac2);
    bytes
}

fn closed() -> Screen {
    Screen::thinning(0)
}

/// Keeps out all but handshakes of these.
fn shunning(sources: &[SocketAddr]) -> Screen {
    Screen { most: None, shunned: sources.iter().map(|&remote| shunned(remote, false)).collect() }
}

fn shunned(remote: SocketAddr, handshakes: bool) -> Shunned {
    Shunned { socket: SocketId(0), remote, handshakes }
}

#[test]
fn what_shows_no_cookie_is_thinned_and_nothing_else() {
    for v6 in [false, true] {
        let ends = Ends::new(v6);
        closed().attach(&ends.far).unwrap();
        assert!(!ends.passes(&message(1, 148, 0)));
        assert!(!ends.passes(&message(2, 92, 0)));
        for passes in [
            message(1, 148, 1),
            message(2, 92, 1),
            message(3, 64, 7),
            message(4, 32, 7),
            message(4, 148, 7),
            message(4, 92, 7),
            message(1, 147, 0),
            message(1, 149, 0),
            message(2, 148, 0),
            message(1, 92, 0),
            vec![0x40; 148],
            vec![1, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42],
            vec![],
        ] {
            assert!(ends.passes(&passes), "{} bytes of type {:?}", passes.len(), passes.first());
        }
        // Each word of mac2 counts by itself.
        for (kind, len) in [(1, 148), (2, 92)] {
            for byte in len - 16..len {
                let mut shown = message(kind, len, 0);
                shown[byte] = 1;
                assert!(ends.passes(&shown), "byte {byte}");
            }
        }
    }
}

#[test]
fn trains_of_data_and_of_handshakes_pass_whole() {
    let ends = Ends::new(false);
    crate::trains::fix(&ends.far, 148).unwrap();
    for (len, segment) in [
        (148, message(4, 148, 9)),
        (92, message(4, 92, 9)),
        (1452, message(4, 1452, 9)),
        (148, message(1, 148, 0)),
    ] {
        crate::trains::fix(&ends.near, len).unwrap();
        closed().attach(&ends.far).unwrap();
        let train = segment.repeat(20);
        assert_eq!(ends.carry(&train).as_ref(), Some(&train), "{len}");
    }
    // A train as long as an initiation, begun by a stranger in a peer's name, that ends in the peer's data.
    crate::trains::fix(&ends.near, 74).unwrap();
    let train = [message(1, 74, 0), message(4, 74, 9)].concat();
    assert_eq!(ends.carry(&train), Some(train));
}

#[test]
fn a_share_comes_through_and_the_rest_counts_as_lost_by_the_socket() {
    let ends = Ends::new(false);
    Screen::thinning(u32::MAX / 4).attach(&ends.far).unwrap();
    let came = (0..4000).filter(|_| ends.passes(&message(1, 148, 0))).count() as u64;
    // Six standard deviations.
    assert!(came.abs_diff(1000) < 170, "{came} of 4,000");
    assert_eq!(kernel_drops(&ends.far).unwrap(), 4000 - came);
    Screen::thinning(u32::MAX).attach(&ends.far).unwrap();
    assert!((0..100).all(|_| ends.passes(&message(1, 148, 0))));
}

#[test]
fn a_filter_that_is_taken_away_is_gone_and_one_of_somebody_else_is_seen() {
    let ends = Ends::new(false);
    assert!(!Screen::is_screened(&ends.far));
    Screen::detach(&ends.far);
    closed().attach(&ends.far).unwrap();
    assert!(Screen::is_screened(&ends.far));
    Screen::detach(&ends.far);
    assert!(!Screen::is_screened(&ends.far));
    assert!(ends.passes(&message(1, 148, 0)));
}

/// Sources that differ from one in a single word of the address, or in the port.
fn others(source: &SocketAddr) -> Vec<SocketAddr> {
    let port = source.port() ^ 0x0100;
    let mut others = vec![SocketAddr::new(source.ip(), port)];
    match source {
        SocketAddr::V4(source) => {
            others.push((Ipv4Addr::from_bits(source.ip().to_bits() ^ 1), source.port()).into())
        }
        SocketAddr::V6(source) => {
            let words = (0..4).map(|word| Ipv6Addr::from_bits(source.ip().to_bits() ^ (1 << (32 * word))));
            others.extend(words.map(|ip| SocketAddr::from((ip, source.port()))));
        }
    }
    others
}

#[test]
fn of_a_shunned_source_nothing_comes_but_handshakes() {
    for v6 in [false, true] {
        let ends = Ends::new(v6);
        let near = ends.near.local_addr().unwrap();
        shunning(&[near]).attach(&ends.far).unwrap();
        for refused in [
            vec![],
            vec![4],
            message(4, 32, 7),
            message(4, 148, 7),
            message(4, 1452, 7),
            message(1, 147, 0),
            message(1, 296, 0),
            message(2, 184, 0),
            message(3, 63, 7),
            message(3, 128, 7),
            message(0, 148, 0),
            [message(9, 300, 7), message(1, 148, 0)].concat(),
            [message(4, 40, 7), message(1, 140, 0)].concat(),
        ] {
            assert!(!ends.passes(&refused), "{} bytes of type {:?}", refused.len(), refused.first());
        }
        for passes in [message(1, 148, 0), message(2, 92, 0), message(3, 64, 7), message(1, 148, 5)] {
            assert!(ends.passes(&passes), "{} bytes of type {}", passes.len(), passes[0]);
        }
        // And those as everybody's do.
        Screen { most: Some(0), ..shunning(&[near]) }.attach(&ends.far).unwrap();
        assert!(!ends.passes(&message(1, 148, 0)));
        assert!(!ends.passes(&message(2, 92, 0)));
        assert!(ends.passes(&message(1, 148, 5)));
        assert!(ends.passes(&message(3, 64, 7)));
    }
}

#[test]
fn of_a_source_that_is_shunned_for_handshakes_only_those_with_a_cookie_come() {
    for v6 in [false, true] {
        let ends = Ends::new(v6);
        let near = ends.near.local_addr().unwrap();
        let mut screen = shunning(&others(&near));
        screen.shunned.push(shunned(near, true));
        screen.attach(&ends.far).unwrap();
        for refused in [message(1, 148, 0), message(2, 92, 0), message(4, 148, 7), message(1, 296, 5)] {
            assert!(!ends.passes(&refused), "{} bytes of type {}", refused.len(), refused[0]);
        }
        for passes in [message(1, 148, 5), message(2, 92, 5), message(3, 64, 7)] {
            assert!(ends.passes(&passes), "{} bytes of type {}", passes.len(), passes[0]);
        }
        let other = Ends { near: UdpSocket::bind((near.ip(), 0)).unwrap(), far: ends.far };
        other.near.connect(other.far.local_addr().unwrap()).unwrap();
        assert!(other.passes(&message(1, 148, 0)), "whoever is not shunned");
    }
}

#[test]
fn who_differs_from_shunned_sources_in_a_word_or_the_port_is_not_shunned() {
    for v6 in [false, true] {
        let ends = Ends::new(v6);
        let near = ends.near.local_addr().unwrap();
        let mut sources = others(&near);
        shunning(&sources).attach(&ends.far).unwrap();
        assert!(ends.passes(&message(4, 100, 7)));
        // As many as there can be, and the one in question last.
        sources =
            (1..SHUNNED_MAX as u16).map(|number| SocketAddr::new(near.ip(), near.port() ^ number)).collect();
        sources.push(near);
        shunning(&sources).attach(&ends.far).unwrap();
        assert!(!ends.passes(&message(4, 100, 7)));
        assert!(ends.passes(&message(3, 64, 7)));
    }
}

#[test]
fn trains_of_a_shunned_source_are_kept_out_whole_unless_a_handshake_ends_them() {
    let ends = Ends::new(false);
    crate::trains::fix(&ends.far, 148).unwrap();
    shunning(&[ends.near.local_addr().unwrap()]).attach(&ends.far).unwrap();
    for (len, segment) in [(148, message(1, 148, 0)), (128, message(4, 128, 9)), (1452, message(4, 1452, 9))]
    {
        crate::trains::fix(&ends.near, len).unwrap();
        assert!(!ends.passes(&segment.repeat(20)), "{len}");
    }
    for tail in [message(1, 148, 0), message(2, 92, 0)] {
        assert!(ends.passes(&[message(4, 1452, 9).repeat(5), tail].concat()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_kernel_decides_as_the_twin_does(
        kind in prop_oneof![1u8..5, any::<u8>()],
        len in prop_oneof![Just(148usize), Just(92), Just(64), 0usize..600],
        mac2 in prop_oneof![3 => Just(0u8), 1 => any::<u8>()],
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        tail in prop::option::of(prop_oneof![Just((1u8, 148usize)), Just((2, 92)), (1u8..5, 90usize..150)]),
        v6: bool,
        open: bool,
        is_shunned: bool,
        handshakes: bool,
    ) {
        thread_local! {
            static ENDS: [Ends; 2] = [Ends::new(false), Ends::new(true)];
        }
        let mut datagram = message(kind, len, mac2);
        if let Some((kind, len)) = tail {
            datagram.extend(message(kind, len, 3));
        }
        if let Some((place, byte)) = change && len > 0 {
            *place.get_mut(&mut datagram) = byte;
        }
        ENDS.with(|both| {
            let ends = &both[usize::from(v6)];
            let remote = ends.near.local_addr().unwrap();
            let mut screen = Screen::thinning(if open { u32::MAX } else { 0 });
            let others = others(&remote).into_iter().take(6);
            screen.shunned = others.map(|other| shunned(other, !handshakes)).collect();
            if is_shunned {
                screen.shunned.push(shunned(remote, handshakes));
            }
            screen.attach(&ends.far).unwrap();
            // The kernel's random number is none of 0 but once in four thousand million times.
            prop_assert_eq!(ends.passes(&datagram), screen.passes(remote, &datagram, 1));
            Ok(())
        })?;
    }
}

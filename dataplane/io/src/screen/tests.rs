//! The kernel's decision against the twin's, over loopback.

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};

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
    Screen::new(0)
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
    Screen::new(u32::MAX / 4).attach(&ends.far).unwrap();
    let came = (0..4000).filter(|_| ends.passes(&message(1, 148, 0))).count() as u64;
    // Six standard deviations.
    assert!(came.abs_diff(1000) < 170, "{came} of 4,000");
    assert_eq!(kernel_drops(&ends.far).unwrap(), 4000 - came);
    Screen::new(u32::MAX).attach(&ends.far).unwrap();
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_kernel_decides_as_the_twin_does(
        kind in prop_oneof![1u8..5, any::<u8>()],
        len in prop_oneof![Just(148usize), Just(92), 0usize..300],
        mac2 in prop_oneof![3 => Just(0u8), 1 => any::<u8>()],
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        open: bool,
    ) {
        thread_local! {
            static ENDS: Ends = Ends::new(false);
        }
        let mut datagram = message(kind, len, mac2);
        if let Some((place, byte)) = change && len > 0 {
            *place.get_mut(&mut datagram) = byte;
        }
        ENDS.with(|ends| {
            let screen = Screen::new(if open { u32::MAX } else { 0 });
            screen.attach(&ends.far).unwrap();
            // The kernel's random number is none of 0 but once in four thousand million times.
            prop_assert_eq!(ends.passes(&datagram), screen.passes(&datagram, 1));
            Ok(())
        })?;
    }
}

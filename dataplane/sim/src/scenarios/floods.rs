//! What strangers can send by the thousand, beside two ends that have a session.

use core::net::SocketAddr;

use dataplane_wire::DropReason;

use super::{Verdict, millis, pair, talk};
use crate::network::{HostId, Network};

/// A datagram of a flood, by its number.
type Flood<'a> = &'a dyn Fn(&mut Network, HostId, u32);

const STRANGER: SocketAddr =
    SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::new(100, 64, 0, 1)), 5000);

/// An address and port that nobody else of a million has.
fn anybody(number: u32) -> SocketAddr {
    let [_, a, b, c] = number.to_be_bytes();
    SocketAddr::from(([100, 65 + (a & 15), b, c], 1024 + number as u16 % 60_000))
}

/// Handshakes of one source and of many, junk, data of unknown sessions, replays: 20,000 a second each. Packets of those who have
/// a session come and go as if there were nothing; so does its rekey, in the midst of handshakes in the name of everybody.
pub(super) fn floods(net: &mut Network) -> Verdict {
    let (alice, bob) = pair(net);
    net.send(alice, bob)?;
    net.run_for(millis(500))?;
    let Some(initiation) = net.initiation_seen_by(bob) else {
        return net.expect(false, "bob has seen alice's initiation");
    };
    talk(net, alice, bob, 4)?;
    let mut data = [0; 96];
    data[0] = 4;
    let of_one = |net: &mut Network, host, _| net.inject(host, STRANGER, &initiation);
    let of_many = |net: &mut Network, host, number| net.inject(host, anybody(number), &initiation);
    let junk = |net: &mut Network, host, number| net.inject_noise(host, anybody(number));
    let unknown = |net: &mut Network, host, number: u32| {
        let mut data = data;
        data[4..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_le_bytes());
        net.inject(host, STRANGER, &data);
    };
    let replays = |net: &mut Network, host, _| {
        assert!(net.replay(host, None), "the session's own packets are remembered")
    };
    let kinds: [(Flood, DropReason); 5] = [
        (&of_one, DropReason::NeedsCookie),
        (&of_many, DropReason::NeedsCookie),
        (&junk, DropReason::Unclassified),
        (&unknown, DropReason::UnknownIndex),
        (&replays, DropReason::Replay),
    ];
    let mut number = 0;
    for (flood, reason) in kinds {
        let (sent, dropped) = (net.offered(alice, bob), net.dropped(bob, reason));
        beside(net, flood, &mut number, [alice, bob], 500, 20)?;
        net.expect(net.delivered(alice, bob) == sent + 500, "all comes that was sent beside a flood")?;
        net.expect(net.dropped(bob, reason) > dropped + 1000, "the flood was seen as what it is")?;
    }
    let begun = net.handshakes(alice, bob)[0];
    for _ in 0..125 {
        beside(net, &of_many, &mut number, [alice, bob], 100, 4)?;
        net.run_for(millis(800))?;
    }
    net.expect(net.handshakes(alice, bob)[0] > begun, "the session is renewed beside a flood")?;
    net.expect(net.delivered(alice, bob) == net.offered(alice, bob), "without a loss")?;
    net.expect(net.delivered(bob, alice) == net.offered(bob, alice), "either way")?;
    net.expect_nothing_waits()
}

/// Both send every millisecond, beside so many datagrams of a flood at the second.
fn beside(
    net: &mut Network,
    flood: Flood,
    number: &mut u32,
    ends: [HostId; 2],
    millis_long: u32,
    per_milli: u32,
) -> Verdict {
    let [one, other] = ends;
    for _ in 0..millis_long {
        net.send(one, other)?;
        net.send(other, one)?;
        for _ in 0..per_milli {
            flood(net, other, *number);
            *number += 1;
        }
        net.run_for(millis(1))?;
    }
    // What is on its way arrives.
    net.run_for(millis(100))
}

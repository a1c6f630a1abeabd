//! Many peers, and much that waits to be fetched.

use super::*;
use crate::index::{connection_of, core_of};

fn key(number: u32) -> PublicKey {
    // No point of low order is among these, and nothing is computed with them.
    let mut bytes = [9; 32];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    PublicKey(bytes)
}

fn change(number: u32) -> Change {
    let [_, a, b, c] = number.to_be_bytes();
    let prefix = crate::IpPrefix::new([10, a, b, c].into(), 32).unwrap();
    let allowed_ips = vec![AllowedIp::Give(prefix)];
    Change::Peer(PeerChange { allowed_ips, ..PeerChange::new(WG0, key(number)) })
}

// WG-57, WG-4
#[test]
fn a_hundred_thousand_peers_live_spread_over_the_cores_and_one_change_stays_small() {
    let mut host = Host::with_cores(1, 4, 2);
    host.commands();
    let all: Vec<Change> = (0..100_000).map(change).collect();
    host.node.apply(at(1.0), &all).unwrap();
    let (mut per_core, mut connections) = ([0_u32; 4], std::collections::BTreeSet::new());
    let mut routes = 0;
    while let Some((core, command)) = host.node.poll_command() {
        match command {
            Command::AddPeer { connection, .. } => {
                per_core[usize::from(core.0)] += 1;
                assert_eq!(core_of(crate::index::compose(connection, 0), 2), core);
                connections.insert(connection);
            }
            Command::SetRoute { .. } => routes += 1,
            _ => panic!("something else"),
        }
    }
    assert_eq!((per_core, connections.len(), routes), ([25_000; 4], 100_000, 400_000));
    assert_eq!(host.node.snapshot(WG0).unwrap().peers.len(), 100_000);

    // The last one can be spoken to.
    let mut last = Host::new(2);
    let peer = last.meet(at(1.0), &host);
    let last_here = host.meet(at(1.0), &last);
    last.commands();
    let commands = host.commands();
    assert_eq!(commands.len(), 2, "a peer and its path");
    last.want(at(1.0), peer);
    host.take(at(1.0), 2, &last.messages().pop().unwrap());
    let (keypair, ..) = keypairs(host.commands()).pop().unwrap();
    assert_eq!(last_here.slot, 100_000);
    assert!(!connections.contains(&connection_of(keypair.local_index)));
}

#[test]
fn for_a_controller_that_stalls_no_more_waits_than_the_latest_of_each_peer() {
    let mut host = Host::new(1);
    let peers: Vec<PeerId> =
        host.node.apply(at(0.0), &[change(1), change(2)]).unwrap().into_iter().flatten().collect();
    host.set_path(at(0.0), peers[0], 1, Some(10));
    for round in 0..10_000 {
        let from = Path::Direct(path((round % 200) as u8));
        host.node.handle_event(at(0.0), CoreId(0), Event::Roamed { peer: peers[0], path: from });
    }
    let told: Vec<_> =
        core::iter::from_fn(|| host.node.poll_controller_input()).map(|(_, input)| input).collect();
    let upserted = |peer| Input::PeerUpserted { peer, endpoint: None };
    let roamed = Input::Roamed { peer: peers[0], path: Path::Direct(path(199)) };
    assert_eq!(told, [upserted(peers[0]), roamed, upserted(peers[1])]);
}

#[test]
fn notices_that_nobody_fetches_are_bounded_and_counted() {
    let mut host = Host::new(1);
    let peer = host.node.apply(at(0.0), &[change(1)]).unwrap()[0].unwrap();
    host.commands();
    let max = Limits::default().notices;
    for _ in 0..max + 5 {
        let connection = host.node.peers.get(peer).unwrap().connection;
        let local_index = crate::index::compose(connection, 0);
        host.node.handle_event(at(0.0), CoreId(0), Event::Confirmed { peer, local_index });
    }
    let notices: Vec<_> = core::iter::from_fn(|| host.node.poll_notice()).collect();
    assert_eq!((notices.len(), notices.last()), (max + 1, Some(&Notice::Missed(5))));
}

// WG-64
#[test]
fn a_snapshot_sums_what_shard_and_node_count() {
    use core::sync::atomic::Ordering::Relaxed;
    let mut host = Host::new(1);
    host.node.apply(at(0.0), &[change(1)]).unwrap();
    let counters = host.commands().into_iter().find_map(|command| match command {
        Command::AddPeer { counters, .. } => Some(counters),
        _ => None,
    });
    let counters = counters.unwrap();
    for (number, counter) in [
        &counters.data_rx_bytes,
        &counters.handshake_rx_bytes,
        &counters.data_tx_bytes,
        &counters.handshake_tx_bytes,
        &counters.last_handshake_unix_ns,
    ]
    .into_iter()
    .enumerate()
    {
        counter.store(10_u64.pow(number as u32), Relaxed);
    }
    let peer = host.node.snapshot(WG0).unwrap().peers.remove(0);
    assert_eq!((peer.rx_bytes, peer.tx_bytes, peer.last_handshake), (11, 1100, Duration::from_nanos(10_000)));
}

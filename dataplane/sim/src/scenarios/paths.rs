//! Ways that change: other addresses, NATs that forget, networks that fall apart.

use super::{Verdict, pair, seconds, talk};
use crate::nat::Behaviour;
use crate::network::Network;

/// An end moves to another address, and the other one follows the first packet from there.
pub(super) fn roaming(net: &mut Network) -> Verdict {
    let (alice, bob) = pair(net);
    net.address(alice, None);
    talk(net, alice, bob, 5)?;
    for only in [1, 0, 1] {
        net.use_address(alice, only);
        let delivered = net.delivered(bob, alice);
        net.send(alice, bob)?;
        net.run_for(seconds(1))?;
        net.send(bob, alice)?;
        net.run_for(seconds(1))?;
        net.expect(net.delivered(bob, alice) == delivered + 1, "bob follows alice at her first packet")?;
    }
    net.expect(net.handshakes(alice, bob) == [1, 0], "one session outlives every move")
}

/// A NAT forgets its mappings, and expires them: the persistent keepalive of the end behind it opens the way again.
pub(super) fn rebinding(net: &mut Network) -> Verdict {
    let router = net.router(Behaviour { preserves_port: false, ..Behaviour::PORT_RESTRICTED });
    let (home, server) = (net.host_behind("home", router), net.host("server"));
    net.peers(home, server);
    net.keepalive(home, server, seconds(25));
    net.run_for(seconds(5))?;
    for _ in 0..5 {
        net.rebind(router);
        let delivered = net.delivered(server, home);
        net.send(server, home)?;
        net.run_for(seconds(1))?;
        net.expect(net.delivered(server, home) == delivered, "the way is closed")?;
        net.run_for(seconds(26))?;
        net.send(server, home)?;
        net.run_for(seconds(1))?;
        net.expect(net.delivered(server, home) == delivered + 1, "the keepalive opened it again")?;
    }
    Ok(())
}

/// Two ends behind NATs that let in only whom they sent to, and a third one that everybody reaches.
pub(super) fn restricted(net: &mut Network) -> Verdict {
    let routers = [Behaviour::PORT_RESTRICTED, Behaviour::SYMMETRIC].map(|behaviour| net.router(behaviour));
    let server = net.host_with("server", 2, None);
    let hosts = [net.host_behind("home", routers[0]), net.host_behind("office", routers[1])];
    for host in hosts {
        net.peers(server, host);
        net.keepalive(host, server, seconds(25));
    }
    net.run_for(seconds(10))?;
    for _ in 0..10 {
        for host in hosts {
            net.send(server, host)?;
            net.send(host, server)?;
        }
        // Longer than the NATs remember: only keepalives hold the way open.
        net.run_for(seconds(150))?;
    }
    for host in hosts {
        net.expect(net.delivered(server, host) == 10, "every packet of the server gets in")?;
        net.expect(net.delivered(host, server) == 10, "every packet gets to the server")?;
    }
    Ok(())
}

/// The network falls apart for longer than sessions live, and heals.
pub(super) fn partition(net: &mut Network) -> Verdict {
    let (alice, bob) = pair(net);
    talk(net, alice, bob, 5)?;
    net.partition(&[alice]);
    talk(net, alice, bob, 400)?;
    net.partition(&[]);
    let healed = net.now();
    talk(net, alice, bob, 30)?;
    net.expect_reached(alice, bob, healed, healed + seconds(6))?;
    net.note_reached(alice, bob, healed);
    net.expect_nothing_waits()
}

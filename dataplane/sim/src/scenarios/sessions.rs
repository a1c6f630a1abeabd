//! Sessions under strain: restarts, crossings, rekeys, clocks, strangers.

use core::net::SocketAddr;

use dataplane_wire::DropReason;

use super::{Verdict, millis, pair, seconds, talk};
use crate::link::Conditions;
use crate::network::{Network, Packet};

/// One end loses everything it knew. The other one notices that nothing comes back, and they start anew.
pub(super) fn restart(net: &mut Network) -> Verdict {
    let (alice, bob) = pair(net);
    talk(net, alice, bob, 5)?;
    net.restart(bob, seconds(3))?;
    let up = net.now();
    // Alice alone talks: bob has no reason to begin.
    for _ in 0..40 {
        net.send(alice, bob)?;
        net.run_for(seconds(1))?;
    }
    net.expect_reached(alice, bob, up, up + seconds(22))?;
    net.note_reached(alice, bob, up);
    net.expect_nothing_waits()
}

/// Both ends begin at once, and have one session in the end.
pub(super) fn crossing(net: &mut Network) -> Verdict {
    let (alice, bob) = pair(net);
    net.conditions(bob, Conditions { jitter: millis(150), ..Conditions::delay(millis(20)) });
    for _ in 0..5 {
        net.replace_peer(alice, bob);
        net.replace_peer(bob, alice);
        net.send(alice, bob)?;
        net.send(bob, alice)?;
        net.run_for(seconds(3))?;
        let begun = net.handshakes(alice, bob);
        talk(net, alice, bob, 60)?;
        net.expect(net.handshakes(alice, bob) == begun, "what both began is over after three seconds")?;
        net.run_for(seconds(10))?;
    }
    net.expect(net.delivered(alice, bob) == 305 && net.delivered(bob, alice) == 305, "nothing is lost")
}

/// A quarter of all datagrams is lost for an hour; rekeys come through, and what is delivered stays in order.
pub(super) fn rekey(net: &mut Network) -> Verdict {
    let (alice, bob) = pair(net);
    net.conditions(bob, Conditions::loss_percent(13));
    for _ in 0..1800 {
        net.send(alice, bob)?;
        net.run_for(seconds(1))?;
        net.send(bob, alice)?;
        net.run_for(seconds(1))?;
    }
    let handshakes: u64 = net.handshakes(alice, bob).iter().sum();
    net.expect((28..60).contains(&handshakes), "a session lives two minutes")?;
    net.expect(net.delivered(alice, bob) > 1800 * 80 / 100, "no more is lost than the network loses")
}

/// An end sleeps for an hour. Its boot clock has gone on: it knows that its sessions are over, and the first packet starts
/// a new one instead of being sealed with an old key.
pub(super) fn suspend(net: &mut Network) -> Verdict {
    let (alice, bob) = pair(net);
    talk(net, alice, bob, 5)?;
    for time in [100, 200, 3600] {
        net.suspend(alice, seconds(time));
        net.run_for(seconds(time))?;
        let (delivered, handshakes) = (net.delivered(alice, bob), net.handshakes(alice, bob)[0]);
        net.send(alice, bob)?;
        net.run_for(seconds(1))?;
        net.expect(net.delivered(alice, bob) == delivered + 1, "the first packet gets through at once")?;
        let begun = net.handshakes(alice, bob)[0] - handshakes;
        net.expect(begun == u64::from(time > 120), "by a new session where the old one is too old")?;
        net.expect(net.dropped(bob, DropReason::SessionExpired) == 0, "nothing was sealed with an old key")?;
    }
    Ok(())
}

/// The wall clock jumps, forth and back: timers do not move, and handshakes are taken all the same.
pub(super) fn clock(net: &mut Network) -> Verdict {
    let (alice, bob) = pair(net);
    talk(net, alice, bob, 5)?;
    for ahead in [86_400, -86_400, 3600, 0] {
        net.set_wall_clock(alice, ahead);
        let begun = net.handshakes(alice, bob)[0];
        talk(net, alice, bob, 110)?;
        net.expect(net.handshakes(alice, bob)[0] - begun <= 1, "no session ends early")?;
        talk(net, alice, bob, 15)?;
        net.expect(net.handshakes(alice, bob)[0] - begun == 1, "nor late")?;
    }
    net.expect(net.dropped(bob, DropReason::HandshakeReplay) == 0, "timestamps went on rising")?;
    net.expect(net.delivered(alice, bob) == 505, "nothing is lost")
}

/// The control thread does nothing for two minutes. Data goes on by the session that there is, keepalives too; a rekey that
/// was due is made up for.
pub(super) fn stall(net: &mut Network) -> Verdict {
    let (alice, bob) = pair(net);
    talk(net, alice, bob, 60)?;
    net.stall_control(alice, seconds(115));
    talk(net, alice, bob, 115)?;
    net.expect(net.handshakes(alice, bob) == [1, 0], "no rekey without a control thread")?;
    talk(net, alice, bob, 100)?;
    net.expect(net.handshakes(alice, bob)[0] == 2, "the rekey is made up for")?;
    net.expect(net.delivered(alice, bob) == 275 && net.delivered(bob, alice) == 275, "nothing is lost")
}

/// A stranger sends again what he has seen, from where it came and from elsewhere, and with bits changed. Nothing of that is
/// delivered, and nobody moves.
pub(super) fn replay(net: &mut Network) -> Verdict {
    let (alice, bob) = pair(net);
    let stranger = SocketAddr::from(([100, 64, 0, 1], 5000));
    talk(net, alice, bob, 5)?;
    for _ in 0..200 {
        for host in [alice, bob] {
            net.replay(host, None);
            net.replay(host, Some(stranger));
            net.replay_changed(host);
            net.inject_noise(host, stranger);
        }
        talk(net, alice, bob, 1)?;
    }
    net.expect(
        net.delivered(alice, bob) == 205 && net.delivered(bob, alice) == 205,
        "all that was sent, and no more",
    )?;
    net.expect(net.dropped(bob, DropReason::Replay) > 50, "replays were seen as such")?;
    net.conditions(bob, Conditions { corruption: 150_000, ..Conditions::default() });
    talk(net, alice, bob, 110)?;
    net.expect(net.dropped(bob, DropReason::BadTag) > 10, "so were changes on the way")
}

/// Datagrams come later than those behind them, some by more than the replay window holds: these are lost, no other.
pub(super) fn window(net: &mut Network) -> Verdict {
    let (alice, bob) = pair(net);
    talk(net, alice, bob, 2)?;
    let reordering =
        Conditions { reordering: 50_000, reordering_delay: millis(400), ..Conditions::default() };
    net.conditions(bob, reordering);
    let burst = Packet { segments: 64, len: 60, ..Packet::default() };
    for _ in 0..400 {
        net.send_packet(alice, Some(bob), burst)?;
        // 64 packets in 2 ms: the window of 8,128 is passed in a quarter of a second.
        net.run_for(millis(2))?;
    }
    net.run_for(seconds(1))?;
    let late = net.dropped(bob, DropReason::Replay);
    net.expect((50..2000).contains(&late), "some came too late")?;
    net.expect(net.delivered(alice, bob) == 2 + 400 * 64 - late, "and they alone were lost")
}

"""Ends that move, restart, or fall silent."""

import dataclasses
import os

from ..gateway import PORT
from ..host import wait_until
from ..net import OUTER4
from ..scenario import EACH, OURS, check, equal, scenario
from ..traffic import must_ping, ping


def _move(gateway, new):
    """Gives the host another outer address and takes the old one away."""
    host, old = gateway.host, OUTER4[gateway.host.name]
    host.ip(f"address del {old}/24 dev out")
    host.ip(f"address add {new}/24 dev out")
    # The routes went with the address.
    host.ip(f"route replace default via 10.{1 if host.name == 'a' else 2}.0.1")


@scenario(EACH, seconds=60)
# WG-54, WG-55: the side that stays follows the side that moves, whose old source address is forgotten.
def test_roaming_of_the_initiator(lab):
    _roam(lab, *_pair(lab), "10.1.0.77")


@scenario(EACH, seconds=60)
# WG-54: the initiator follows as well, although it was configured with another endpoint.
def test_roaming_of_the_responder(lab):
    a, b = _pair(lab)
    must_ping(a.host, b.inner4, count=1)
    _roam(lab, b, a, "10.2.0.77")


def _pair(lab):
    """Two gateways that can move. boringtun binds itself to its first address, unless told not to."""
    def movable(kind):
        return dataclasses.replace(kind, words=(*kind.words, "--disable-connected-udp")) \
            if kind.name == "boringtun" else kind

    return lab.net.pair([movable(kind) for kind in lab.kinds])


def _roam(lab, mover, stayer, new):
    must_ping(mover.host, stayer.inner4, count=3)
    before = stayer.peer(mover)
    _move(mover, new)
    # A first packet or two may go out with the old source address and be refused by the kernel. Some peers keep to
    # that address until their next handshake.
    patience = 5 if lab.is_ours(mover.host.name) else 30
    wait_until(lambda: ping(mover.host, stayer.inner4, count=1, wait=1) == 1, patience, "the mover gets through")
    equal(stayer.peer(mover).endpoint, f"{new}:{PORT}", "endpoint after the move")
    must_ping(stayer.host, mover.inner4, count=5)
    must_ping(mover.host, stayer.inner6, count=5)
    if lab.only_ours():
        equal(stayer.peer(mover).handshake, before.handshake, "roaming needs no new handshake: its time")


@scenario(EACH)
def test_restart_of_either_end(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4)
    for gateway, other in ((a, b), (b, a)):
        gateway.stop()
        gateway.start()
        gateway.configure()
        gateway.add_peer(other, endpoint=lab.net.endpoint(other.host.name))
        # A new session begins at once, since the restarted side speaks first.
        must_ping(gateway.host, other.inner4, count=3, wait=6)
        must_ping(other.host, gateway.inner6, count=3)


@scenario(EACH, smoke=OURS, seconds=60)
# WG-42: what nobody answers for 15 s starts a new handshake, by the side that was not restarted.
def test_restart_is_noticed_by_the_other_side(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4)
    b.program.stop()
    b.start()
    b.configure()
    b.add_peer(a)
    # B has lost the session and does not know where A is; only A can begin.
    got = ping(a.host, b.inner4, count=100, interval=0.25, wait=1)
    check(got > 0, "A never noticed within 25 s that its session is gone")
    return f"{100 - got} pings of 100 lost in 25 s"


@scenario()
# FT-3: the interface is taken away: the program leaves by itself, with a clean exit code.
def test_program_leaves_when_its_interface_goes(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4, count=1)
    a.host.ip(f"link del {a.interface}")
    equal(a.program.wait(5), 0, "exit code")
    check(not os.path.exists(a.socket_path()), "the control socket is left behind")


def _link_number(gateway):
    """The kernel's number of its interface."""
    return int(gateway.host.run("ip", "-o", "link", "show", gateway.interface).stdout.split(":")[0])


@scenario()
# FT-3: the interface is taken away and made anew by the program, with its key and peers; addresses are for who took it away.
def test_program_makes_its_interface_anew_where_it_is_told_to(lab):
    kind = dataclasses.replace(lab.kinds[0], words=(*lab.kinds[0].words, "--recreate"))
    a, b = lab.net.pair([kind, lab.kinds[1]])
    must_ping(a.host, b.inner4, count=1)
    for _ in range(2):
        before = _link_number(a)
        a.host.ip(f"link del {a.interface}")
        wait_until(a.has_interface, 5, "the interface is back")
        check(_link_number(a) != before, "it was never gone")
        equal(list(a.peers()), [b.public], "peers of the new interface")
        a.address()
        must_ping(a.host, b.inner4, count=3, wait=10)
        must_ping(b.host, a.inner4, count=3)


@scenario()
def test_program_leaves_when_its_control_socket_goes(lab):
    a, _ = lab.pair()
    os.unlink(a.socket_path())
    equal(a.program.wait(5), 0, "exit code")
    wait_until(lambda: not a.has_interface(), 5, "the interface is gone")


@scenario()
# FT-1: while the outer link is down nothing gets through, and the same session goes on when it is back.
def test_outer_link_down_and_up(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4)
    before = b.peer(a).handshake
    a.host.ip("link set out down")
    equal(ping(a.host, b.inner4, count=5, wait=1), 0, "answers while the link is down")
    a.host.ip("link set out up")
    a.host.ip("route replace default via 10.1.0.1")
    must_ping(a.host, b.inner4, count=5, wait=5)
    equal(b.peer(a).handshake, before, "time of the handshake")


@scenario()
# FT-1: an address elsewhere has what keeps the way open sent at once, long before its interval is over.
def test_persistent_keepalive_follows_the_outer_address(lab):
    a, b = lab.pair()
    a.set("peer", b.public, "persistent-keepalive", "600")
    must_ping(a.host, b.inner4)
    _move(a, "10.1.0.78")
    wait_until(lambda: b.peer(a).endpoint == f"10.1.0.78:{PORT}", 10, "the other end knows the new address")

"""Sessions over time: rekeys under traffic, keepalives, keys that change."""

import time

from ..gateway import generate_key
from ..host import wait_until
from ..scenario import EACH, FROM_OURS, OURS, check, equal, scenario
from ..traffic import Iperf, full_sockets, must_ping, ping


@scenario(EACH, smoke=OURS, seconds=200)
# WG-32: after 120 s under traffic there is a second session, and neither a stream nor a ping noticed.
def test_rekey_under_traffic(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4)
    ours, other = (a, b) if lab.is_ours("a") else (b, a)
    first = ours.peer(other).handshake
    full = full_sockets(a.host, b.host)
    running = Iperf(a.host, b.host, b.inner4, seconds=130, udp="2M", length=1200)
    stream = Iperf(b.host, a.host, a.inner6, seconds=130, rate="8M", port=5301)
    # Pings are the witness: one a tenth of a second, none may be lost.
    got = ping(a.host, b.inner4, count=1250, interval=0.1, wait=3)
    datagrams, tcp = running.finish(), stream.finish()
    last = ours.peer(other).handshake
    check(118 <= last - first <= 128, f"the second handshake came {last - first} s after the first")
    if lab.only_ours():
        check(abs(other.peer(ours).handshake - last) <= 1, "both sides know of the same handshake")
    few = 400 if lab.only_ours() else 50
    check(got >= 1250 - 1250 // few, f"{got} of 1250 pings were answered")
    full = full_sockets(a.host, b.host) - full
    lost = f"{datagrams.lost} of {datagrams.packets} datagrams lost, {full} to full sockets"
    check(datagrams.lost <= full + datagrams.packets // few, lost)
    check(min(tcp.slices[:-1]) > 0, "the stream stood still for a second")
    return f"{1250 - got} of 1250 pings and {lost}"


@scenario(FROM_OURS)
# WG-61: a persistent keepalive that is switched on sends at once, and so makes a session without any traffic.
def test_persistent_keepalive_begins_at_once(lab):
    a, b = lab.pair()
    equal(b.peer(a).handshake, 0, "no handshake yet")
    a.set("peer", b.public, "remove")
    a.add_peer(b, endpoint=lab.net.endpoint("b"), keepalive=25)
    wait_until(lambda: b.peer(a).handshake, 6, "the keepalive made a session")
    equal(a.peer(b).keepalive, "25", "keepalive")


@scenario()
# WG-43: an idle peer with a keepalive of 1 s sends one a second.
def test_persistent_keepalive_keeps_its_interval(lab):
    a, b = lab.pair()
    a.set("peer", b.public, "persistent-keepalive", "1")
    wait_until(lambda: b.peer(a).handshake, 6, "a session")
    before = b.peer(a).rx_bytes
    time.sleep(5.0)
    count = (b.peer(a).rx_bytes - before) / 32
    check(4 <= count <= 6, f"{count} keepalives in 5 s")


@scenario(seconds=60)
# WG-41: data without an answer is acknowledged once after 10 s; then both sides are silent.
def test_passive_keepalive_once_and_no_ping_pong(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4, count=1)
    # B must not answer by itself.
    b.host.run("nft", "add table inet quiet")
    b.host.run("nft", "add chain inet quiet in { type filter hook input priority 0 ; }")
    b.host.run("nft", f"add rule inet quiet in iifname {b.interface} drop")
    time.sleep(11)
    sent, before = b.peer(a).tx_bytes, a.peer(b).tx_bytes
    ping(a.host, b.inner4, count=1, wait=1)
    data = a.peer(b).tx_bytes - before
    check(data > 0, "the ping went out")
    time.sleep(8.5)
    equal(b.peer(a).tx_bytes, sent, "bytes of B before 10 s")
    time.sleep(3)
    equal(b.peer(a).tx_bytes - sent, 32, "bytes of B after 10 s: one keepalive")
    time.sleep(12)
    equal((b.peer(a).tx_bytes - sent, a.peer(b).tx_bytes - before), (32, data), "bytes after 24 s: nothing more")


@scenario()
# WG-15: a new pre-shared key leaves the session alone.
def test_new_preshared_key_leaves_the_session_alone(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4)
    before = a.peer(b).handshake
    psk = a._secret("psk", generate_key()[0])
    a.set("peer", b.public, "preshared-key", psk)
    must_ping(a.host, b.inner4, count=20)
    equal(a.peer(b).handshake, before, "time of the handshake")


@scenario()
# WG-15: a new private key ends the old sessions; with the new key known on both sides traffic goes on.
def test_private_key_changed_under_traffic(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4)
    old = a.public
    a.private, a.public = generate_key()
    a.set("private-key", a._secret("key", a.private))
    equal(ping(a.host, b.inner4, count=3, wait=1), 0, "answers under a key that B does not know")
    b.set("peer", old, "remove")
    b.add_peer(a)
    must_ping(a.host, b.inner4, count=3, wait=8)


@scenario()
# WG-60, WG-52: an allowed IP that is given to another peer leaves the first, and packets follow it.
def test_allowed_ip_moves_to_another_peer(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4)
    stranger = generate_key()[1]
    a.set("peer", stranger, "allowed-ips", f"{b.inner4}/32")
    peers = a.peers()
    equal(peers[stranger].allowed_ips, (f"{b.inner4}/32",), "allowed IPs of the new peer")
    equal(peers[b.public].allowed_ips, (f"{b.inner6}/128",), "allowed IPs of the old peer")
    done = a.host.run("ping", "-n", "-c", "1", "-W", "2", b.inner4, check=False)
    check("Unreachable" in done.stdout, f"a packet to a peer without an endpoint is answered by ICMP: {done.stdout}")
    a.set("peer", stranger, "remove")
    a.set("peer", b.public, "allowed-ips", f"{b.inner4}/32,{b.inner6}/128")
    must_ping(a.host, b.inner4)

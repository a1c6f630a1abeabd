"""What networks around and inside of the tunnel do: NAT, tunnels in tunnels, routes, several addresses, many prefixes."""

import os
import time

from ..gateway import Gateway, generate_key
from ..host import wait_until
from ..net import OUTER4, ROUTER4
from ..scenario import EACH, OURS, check, equal, scenario
from ..traffic import Iperf, iperf, must_ping, ping


def _masquerade(router, seconds):
    """R hides A behind its address towards B, and forgets a mapping that was silent for so long."""
    router.run("nft", "add table ip nat")
    router.run("nft", "add chain ip nat post { type nat hook postrouting priority 100 ; }")
    router.run("nft", "add rule ip nat post oifname b masquerade")
    for name in ("udp_timeout", "udp_timeout_stream"):
        router.write(f"/proc/sys/net/netfilter/nf_conntrack_{name}", seconds)


@scenario(EACH, smoke=OURS, seconds=60)
# WG-43, WG-54: through a NAT that forgets in 2 s, B reaches A as long as A keeps the mapping alive, and not without.
def test_nat_that_forgets_quickly(lab):
    _masquerade(lab.net.r, 2)
    a, b = lab.pair()
    must_ping(a.host, b.inner4)
    check(b.peer(a).endpoint.startswith(ROUTER4["b"] + ":"), f"B sees A behind the NAT: {b.peer(a).endpoint}")
    must_ping(b.host, a.inner4)
    time.sleep(4)
    equal(ping(b.host, a.inner4, count=2, interval=0.2, wait=1), 0, "answers after the mapping is forgotten")
    # Removed and added again, since not every peer lets itself be changed.
    a.set("peer", b.public, "remove")
    a.add_peer(b, endpoint=lab.net.endpoint("b"), keepalive=1)
    wait_until(lambda: ping(b.host, a.inner4, count=1, wait=1) == 1, 10, "B reaches A again")
    time.sleep(4)
    # A keepalive has just gone, or will within a second; each of these finds the mapping there.
    must_ping(b.host, a.inner4, count=5, interval=0.4)
    must_ping(b.host, a.inner6, count=3)


@scenario(EACH, smoke=OURS)
def test_wireguard_in_wireguard(lab):
    outside = lab.pair()
    must_ping(outside[0].host, outside[1].inner4)
    inside = [Gateway(gateway.host, gateway.kind, gateway.interface + "x", f"10.19.0.{last}", f"fd19::{last}")
              for gateway, last in zip(outside, (1, 2))]
    for gateway in inside:
        gateway.port, gateway.mtu = 51821, 1340
        gateway.start()
        gateway.configure()
    a, b = inside
    b.add_peer(a)
    a.add_peer(b, endpoint=f"{outside[1].inner4}:51821")
    must_ping(a.host, b.inner4)
    must_ping(b.host, a.inner6)
    must_ping(a.host, b.inner4, count=2, size=1340 - 28, fragment=False)
    check(b.peer(a).endpoint == f"{outside[0].inner4}:51821", f"the inner tunnel runs in the outer: {b.peer(a).endpoint}")
    before = outside[1].peer(outside[0]).rx_bytes
    flow = iperf(a.host, b.host, b.inner4, seconds=1)
    check(flow.received_bytes > 1_000_000, f"TCP carried {flow.received_bytes} bytes")
    carried = outside[1].peer(outside[0]).rx_bytes - before
    check(carried > flow.received_bytes, f"the outer tunnel carried {carried} bytes for {flow.received_bytes}")
    return f"{flow.gbits:.2f} Gbit/s"


@scenario(OURS)
# WG-47: where a route allows less than the interface, nothing outside is longer than the interface's MTU allows.
def test_route_mtu_and_padding(lab):
    a, b = lab.pair(mtu=1300)
    router = lab.net.r
    lab.net.one_datagram_per_frame()
    must_ping(a.host, b.inner4, count=1)
    router.run("nft", "add table inet seen")
    router.run("nft", "add chain inet seen pass { type filter hook forward priority 0 ; }")
    # 1300 inside, 32 of WireGuard, 8 of UDP, 20 of IPv4.
    router.run("nft", "add counter inet seen long")
    router.run("nft", "add rule inet seen pass meta length > 1360 counter name long drop")
    for gateway, other in ((a, b), (b, a)):
        gateway.host.ip(f"route replace {other.inner4}/32 dev {gateway.interface} mtu 1299")
    for size in (1299, 1298, 1297, 1296, 1295, 1289):
        must_ping(a.host, b.inner4, count=2, size=size - 28, fragment=False)
        must_ping(b.host, a.inner4, count=2, size=size - 28, fragment=False)
    done = a.host.run("ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", 1300 - 28, b.inner4, check=False)
    check("1 received" not in done.stdout, "a packet that the route does not allow got through")
    flow = iperf(a.host, b.host, b.inner4, seconds=1)
    check(flow.received_bytes > 1_000_000, f"TCP carried {flow.received_bytes} bytes")
    for gateway, other in ((a, b), (b, a)):
        gateway.host.ip(f"route del {other.inner4}/32 dev {gateway.interface} mtu 1299")
    must_ping(a.host, b.inner4, count=2, size=1300 - 28, fragment=False)
    words = router.run("nft", "list counter inet seen long").stdout.split()
    equal(int(words[words.index("packets") + 1]), 0, "outer packets longer than 1360 bytes")


@scenario(OURS)
# WG-52, WG-51: a more specific prefix takes packets away from a peer, both ways, and its removal gives them back.
def test_more_specific_peer_added_and_removed(lab):
    a, b = lab.pair()
    a.set("peer", b.public, "allowed-ips", "10.9.0.0/24,fd09::/64")
    must_ping(a.host, b.inner4)
    must_ping(b.host, a.inner6)
    before = a.peer(b).handshake
    stranger = generate_key()[1]
    a.set("peer", stranger, "allowed-ips", f"{b.inner4}/32")
    equal(ping(a.host, b.inner4, count=2, interval=0.2, wait=1), 0, "answers while the address is another peer's")
    equal(ping(b.host, a.inner4, count=2, interval=0.2, wait=1), 0, "answers to a source that is another peer's")
    must_ping(a.host, b.inner6)
    a.set("peer", stranger, "remove")
    must_ping(a.host, b.inner4)
    must_ping(b.host, a.inner4)
    equal(a.peer(b).handshake, before, "time of the handshake")


@scenario(OURS)
# WG-55: replies leave from the address that was spoken to, and from another one when that is gone.
def test_replies_come_from_the_address_that_was_spoken_to(lab):
    a, b = lab.pair()
    second = "10.2.0.99"
    b.host.ip(f"address add {second}/24 dev out")
    a.set("peer", b.public, "endpoint", f"{second}:{b.port}")
    must_ping(a.host, b.inner4, count=5)
    must_ping(b.host, a.inner4, count=5)
    equal(a.peer(b).endpoint, f"{second}:{b.port}", "where A hears B")
    b.host.ip(f"address del {second}/24 dev out")
    # The first packet may tell the program that its address is gone.
    wait_until(lambda: ping(b.host, a.inner4, count=1, wait=1) == 1, 5, "B gets through from its other address")
    equal(a.peer(b).endpoint, f"{OUTER4['b']}:{b.port}", "where A hears B after that")
    must_ping(a.host, b.inner4, count=5)


@scenario(OURS, seconds=60)
# WG-58, WG-52: 20,000 prefixes of one peer are shown as they were given, and the longest match still decides.
def test_many_allowed_ips_of_one_peer(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4, count=1)
    ips = {f"10.{64 + number // 4096}.{number // 16 % 256}.{number % 16 * 16}/28" for number in range(10_000)}
    ips |= {f"fd{16 + number % 64:02x}:{number + 1:x}::/{48 + number % 17}" for number in range(10_000)}
    path = a.host.folder / "many.conf"
    stranger = generate_key()[1]
    path.write_text(
        f"[Interface]\nPrivateKey = {a.private}\nListenPort = {a.port}\n\n"
        f"[Peer]\nPublicKey = {b.public}\nEndpoint = {lab.net.endpoint('b')}\n"
        f"AllowedIPs = {b.inner4}/32, {b.inner6}/128, {', '.join(sorted(ips))}\n\n"
        f"[Peer]\nPublicKey = {stranger}\nAllowedIPs = 10.9.0.0/24, fd09::/64, 10.0.0.0/8\n")
    a.wg("setconf", a.interface, str(path), seconds=30)
    shown = set(a.peer(b).allowed_ips) - {f"{b.inner4}/32", f"{b.inner6}/128"}
    check(shown == ips, f"of {len(ips)} prefixes {len(ips - shown)} are missing: {sorted(ips ^ shown)[:4]}")
    must_ping(a.host, b.inner4, count=3, wait=6)
    must_ping(a.host, b.inner6, count=3)
    # One of the many leads to B, which answers for it; its neighbour is the stranger's, who is nowhere.
    b.host.ip("address add 10.64.0.1/32 dev lo")
    a.host.ip(f"route add 10.64.0.0/10 dev {a.interface}")
    must_ping(a.host, "10.64.0.1", count=3)
    a.set("peer", b.public, "allowed-ips", f"{b.inner4}/32,{b.inner6}/128")
    equal(ping(a.host, "10.64.0.1", count=1, wait=1), 0, "answers for a prefix that was taken away")
    equal(len(a.peer(b).allowed_ips), 2, "prefixes left")


@scenario(OURS)
# EN-17, WG-37: ended in the middle of its traffic, a program leaves nothing behind and another takes its place.
def test_stopped_under_traffic_leaves_nothing(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4, count=1)
    flow = Iperf(a.host, b.host, b.inner4, seconds=20)
    time.sleep(0.5)
    equal(b.program.stop(), 0, "exit code")
    check(not b.has_interface(), "the interface is left behind")
    check(not os.path.exists(b.socket_path()), "the control socket is left behind")
    check(f":{b.port} " not in b.host.run("ss", "-Hluna").stdout, "the port is left bound")
    flow.client.stop()
    flow.server.stop()
    check(a.program.alive(), f"the other end: {a.program.log()}")
    b.start()
    b.configure()
    b.add_peer(a, endpoint=lab.net.endpoint("a"))
    must_ping(b.host, a.inner4, count=3, wait=6)

"""Packets get through: both families inside and outside, TCP and UDP, many flows, every size."""

from ..gateway import generate_key
from ..host import wait_until
from ..scenario import EACH, OURS, check, equal, scenario
from ..traffic import Iperf, full_sockets, iperf, must_ping, ping


@scenario(EACH)
# WG-6, WG-63: peers without a pre-shared key meet over either family of outer addresses, on one port.
def test_ping_over_both_families(lab):
    a, b = lab.pair(outer=4)
    for outer in (4, 6):
        # Removed and added again, since not every peer lets itself be changed.
        a.set("peer", b.public, "remove")
        a.add_peer(b, endpoint=lab.net.endpoint("b", outer))
        must_ping(a.host, b.inner4)
        must_ping(a.host, b.inner6)
        must_ping(b.host, a.inner4)
        must_ping(b.host, a.inner6)
        family = "[" if outer == 6 else "1"
        check(b.peer(a).endpoint.startswith(family), f"B sees A over family {outer}: {b.peer(a).endpoint}")
    equal((a.listen_port(), b.listen_port()), (a.port, b.port), "ports")


@scenario(EACH)
def test_preshared_key_must_be_the_same_on_both_sides(lab):
    psk = generate_key()[0]
    a, b = lab.pair(psk=psk)
    must_ping(a.host, b.inner4)
    a.set("peer", b.public, "remove")
    a.add_peer(b, endpoint=lab.net.endpoint("b"), psk=generate_key()[0])
    equal(ping(a.host, b.inner4, count=2, interval=0.2, wait=1), 0, "answers with different pre-shared keys")
    equal(a.peer(b).handshake, 0, "handshakes with different pre-shared keys")


@scenario(EACH)
def test_tcp_and_udp_both_ways(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4, count=1)
    rates = []
    for reverse in (False, True):
        flow = iperf(a.host, b.host, b.inner4, seconds=1, reverse=reverse)
        check(flow.received_bytes > 1_000_000, f"TCP carried {flow.received_bytes} bytes (reverse: {reverse})")
        rates.append(flow.gbits)
    flow = iperf(a.host, b.host, b.inner6, seconds=1)
    check(flow.received_bytes > 1_000_000, f"TCP over IPv6 carried {flow.received_bytes} bytes")
    for reverse in (False, True):
        full = full_sockets(a.host, b.host)
        flow = iperf(a.host, b.host, b.inner4, seconds=1, udp="10M", length=1200, reverse=reverse)
        check(flow.packets > 500, f"UDP: only {flow.packets} packets")
        # Some peers lose more than a few of a burst when the machine is busy.
        allowed = full_sockets(a.host, b.host) - full + flow.packets // (100 if lab.only_ours() else 5)
        check(flow.lost <= allowed, f"UDP: {flow.lost} of {flow.packets} lost (reverse: {reverse})")
    return f"TCP {rates[0]:.2f} and {rates[1]:.2f} Gbit/s"


@scenario(EACH)
def test_fifty_parallel_flows(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4, count=1)
    running = Iperf(a.host, b.host, b.inner4, seconds=2, flows=50)
    got = ping(a.host, b.inner4, count=20, interval=0.05, wait=5)
    flow = running.finish()
    # The queues of a slower peer are full, and a ping finds no better place than others.
    check(got >= (18 if lab.only_ours() else 5), f"{got} of 20 pings were answered beside 50 flows")
    check(flow.received_bytes > 2_000_000, f"50 flows carried {flow.received_bytes} bytes")
    return f"{flow.gbits:.2f} Gbit/s"


@scenario()
def test_both_directions_at_once(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4, count=1)
    there = Iperf(a.host, b.host, b.inner4, seconds=2)
    back = Iperf(b.host, a.host, a.inner6, seconds=2, port=5301)
    flows = there.finish(), back.finish()
    for flow in flows:
        check(flow.received_bytes > 2_000_000, f"one direction carried {flow.received_bytes} bytes")
    return " and ".join(f"{flow.gbits:.2f} Gbit/s" for flow in flows)


@scenario(EACH, smoke=OURS, seconds=60)
def test_every_mtu_from_1280_to_9000(lab):
    lab.net.outer_mtu(9000)
    a, b = lab.pair(mtu=1280)
    must_ping(a.host, b.inner4, count=1)
    for mtu in (1280, 1420, 4000, 8920):
        if mtu > 4000 and "gotatun" in (a.kind.name, b.kind.name):
            continue  # Its buffers end at 4096 bytes.
        for gateway in (a, b):
            gateway.host.ip(f"link set {gateway.interface} mtu {mtu}")
        # Programs hear of a new MTU in their own time.
        largest = {"count": 1, "wait": 1, "size": mtu - 28, "fragment": False}
        wait_until(lambda: ping(a.host, b.inner4, **largest) == 1, 8, f"packets of {mtu} bytes")
        # The largest packet, the one below, and a few around a multiple of 16, where padding could go past the MTU.
        for size in (mtu, mtu - 1, mtu - mtu % 16, mtu - mtu % 16 - 1):
            must_ping(a.host, b.inner4, count=2, size=size - 28, fragment=False)
        must_ping(b.host, a.inner6, count=2, size=mtu - 48, fragment=False)
        must_ping(a.host, b.inner4, count=2, size=20_000)
        flow = iperf(a.host, b.host, b.inner4, seconds=1)
        check(flow.received_bytes > 1_000_000, f"MTU {mtu}: TCP carried {flow.received_bytes} bytes")


@scenario()
def test_packets_of_every_size(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4, count=1)
    for size in [*range(0, 80), *range(1376, 1393)]:
        must_ping(a.host, b.inner4, count=1, size=size, fragment=False)
    # Fragments pass as they are.
    for size in (1393, 5000, 65_507):
        must_ping(a.host, b.inner4, count=2, size=size)
        must_ping(b.host, a.inner6, count=2, size=size)


@scenario(EACH)
def test_ping_flood_loses_nothing(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4, count=1)
    must_ping(a.host, b.inner4, count=1000, flood=True)
    must_ping(b.host, a.inner6, count=1000, flood=True, size=1352)

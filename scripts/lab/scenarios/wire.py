"""What crosses the wire between the gateways: well-formed, counted to the byte, marked as it should be."""

import time

from ..capture import Capture
from ..net import OUTER4
from ..scenario import EACH, OURS, check, equal, scenario
from ..traffic import iperf, must_ping

HEADER_AND_TAG = 32
INITIATION, RESPONSE, DATA = 1, 2, 4
SIZES = {INITIATION: 148, RESPONSE: 92}


@scenario(EACH)
# WG-1: tshark takes every datagram for well-formed WireGuard, and each has a size that it can have.
def test_tshark_sees_wellformed_wireguard(lab):
    lab.net.one_datagram_per_frame()
    a, b = lab.pair()
    capture = Capture(lab.net)
    must_ping(a.host, b.inner4, count=5)
    must_ping(b.host, a.inner6, count=5, size=700)
    iperf(a.host, b.host, b.inner4, seconds=1, udp="5M", length=1000)
    iperf(a.host, b.host, b.inner6, seconds=1, udp="5M", length=1300, reverse=True)
    time.sleep(0.2)
    capture.finish()
    equal(capture.complaints(), [], "complaints of tshark")
    seen = capture.messages()
    kinds = [kind for _, kind, _ in seen]
    check(kinds[:2] == [INITIATION, RESPONSE], f"a session begins with a handshake: {kinds[:4]}")
    check(kinds.count(DATA) > 1000, f"{kinds.count(DATA)} data messages")
    for source, kind, size in seen:
        check(size == SIZES.get(kind, size), f"type {kind} of {size} bytes")
        if kind == DATA and lab.is_ours("a" if source == OUTER4["a"] else "b"):
            check((size - HEADER_AND_TAG) % 16 == 0 or size == 1420 + HEADER_AND_TAG, f"data of {size} bytes")
    return f"{len(seen)} datagrams"


@scenario(OURS)
# WG-64: `wg show` counts what crossed the wire, handshakes, padding and tags included, on both sides.
def test_counters_equal_what_crossed_the_wire(lab):
    lab.net.one_datagram_per_frame()
    a, b = lab.pair()
    capture = Capture(lab.net)
    must_ping(a.host, b.inner4, count=50, interval=0.01, size=3)
    must_ping(b.host, a.inner6, count=50, interval=0.01, size=1000)
    iperf(a.host, b.host, b.inner4, seconds=1, udp="5M", length=777)
    # Slow enough that no queue on the way drops what the capture has seen.
    iperf(a.host, b.host, b.inner4, seconds=1, rate="10M", length="4K", reverse=True)
    time.sleep(0.3)
    capture.finish()
    of_a, of_b = a.peer(b), b.peer(a)
    sent_a = sum(size for source, _, size in capture.messages() if source == OUTER4["a"])
    sent_b = sum(size for source, _, size in capture.messages() if source == OUTER4["b"])
    equal(of_a.tx_bytes, sent_a, "A's sent bytes")
    equal(of_b.rx_bytes, sent_a, "B's received bytes")
    equal(of_b.tx_bytes, sent_b, "B's sent bytes")
    equal(of_a.rx_bytes, sent_b, "A's received bytes")


@scenario(OURS)
# WG-64, WG-47: to the byte: each packet counts padded to 16 and with 32 more, but never past the MTU.
def test_exact_byte_counters(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4, count=1)
    before = [a.peer(b), b.peer(a)]
    wanted = 0
    for size in (0, 4, 5, 100, 1000, 1391, 1392):
        must_ping(a.host, b.inner4, count=10, interval=0.01, size=size, fragment=False)
        inner = size + 28
        wanted += 10 * (min((inner + 15) // 16 * 16, 1420) + HEADER_AND_TAG)
    after = [a.peer(b), b.peer(a)]
    for name, was, now in zip("AB", before, after):
        equal(now.tx_bytes - was.tx_bytes, wanted, f"{name}'s sent bytes")
        equal(now.rx_bytes - was.rx_bytes, wanted, f"{name}'s received bytes")


@scenario(OURS)
# WG-53: handshakes carry TOS 0x88; data carries the inner ECN and not the inner DSCP.
def test_outer_traffic_class(lab):
    # On a machine that lags, packets catch up with each other, and the router would count their train as one.
    lab.net.one_datagram_per_frame()
    a, b = lab.pair()
    router = lab.net.r
    router.run("nft", "add table ip seen")
    router.run("nft", "add chain ip seen pass { type filter hook forward priority 0 ; }")
    # By the first byte above UDP, which is the type, and the TOS byte of the outer header.
    rules = {"handshake": "@th,64,8 1 @nh,8,8 0x88", "response": "@th,64,8 2 @nh,8,8 0x88",
             "ect0": "@th,64,8 4 @nh,8,8 0x02", "plain": "@th,64,8 4 @nh,8,8 0x00", "total": "meta l4proto udp"}
    for name, match in rules.items():
        router.run("nft", f"add counter ip seen {name}")
        router.run("nft", f"add rule ip seen pass udp dport {b.port} {match} counter name {name}")
    a.host.run("ping", "-n", "-q", "-c", "5", "-i", "0.02", "-Q", "0xb8", b.inner4)
    a.host.run("ping", "-n", "-q", "-c", "7", "-i", "0.02", "-Q", "0x02", b.inner4)

    def count(name):
        words = router.run("nft", f"list counter ip seen {name}").stdout.split()
        return int(words[words.index("packets") + 1])

    counts = {name: count(name) for name in rules}
    equal((counts["handshake"], counts["response"]), (1, 1), f"handshakes with TOS 0x88: {counts}")
    # Echo replies carry the class of their requests: both directions count.
    equal(counts["plain"], 10, f"data without a mark: {counts}")
    equal(counts["ect0"], 14, f"data with ECT(0): {counts}")
    equal(counts["total"], 26, f"datagrams in all: {counts}")


@scenario(OURS)
# WG-59: the firewall mark is on every outer packet, those of a handshake too.
def test_firewall_mark_on_every_outer_packet(lab):
    a, b = lab.pair()
    a.set("fwmark", "0x1234")
    equal(a.wg("show", a.interface, "fwmark").stdout.strip(), "0x1234", "mark")
    a.host.run("nft", "add table inet seen")
    a.host.run("nft", "add chain inet seen out { type filter hook output priority 0 ; }")
    for name, match in {"marked": "meta mark 0x1234", "unmarked": "meta mark 0"}.items():
        a.host.run("nft", f"add counter inet seen {name}")
        a.host.run("nft", f"add rule inet seen out oifname out udp dport {b.port} {match} counter name {name}")
    # The first waits for the handshake; none of the others may catch up with it, or they would leave as one train.
    must_ping(a.host, b.inner4, count=1)
    must_ping(a.host, b.inner4, count=10, interval=0.1)
    listing = a.host.run("nft", "list counters table inet seen").stdout.split()
    counts = [int(listing[at + 1]) for at, word in enumerate(listing) if word == "packets"]
    equal(counts, [12, 0], "marked and unmarked datagrams")

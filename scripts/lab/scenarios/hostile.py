"""Datagrams from strangers: nothing but counters move, and memory does not grow."""

import time

from ..capture import Capture
from ..host import wait_until
from ..net import OUTER4
from ..scenario import OURS, check, equal, scenario
from ..traffic import iperf, must_ping, ping

GROWTH_MAX = 1 << 20
KEEPALIVE = 32

# Sends datagrams that are random, or true ones with a few bytes changed, or true ones again, and counts the answers.
# Arguments: address, port, how many, a file of true ones in hexadecimal.
STRANGER = """
import random, socket, sys
address, port, count, path = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
source = random.Random(1)
true = [bytearray.fromhex(line) for line in open(path)]
lengths = (0, 1, 4, 31, 32, 63, 64, 91, 92, 148, 148, 500, 1452)
pool = [bytearray(source.randbytes(source.choice(lengths))) for _ in range(2048)]
for number, body in enumerate(pool):
    if len(body) >= 4 and number % 2:
        body[:4] = (source.randrange(1, 5), 0, 0, 0)
answers = 0
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.connect((address, port))
    s.setblocking(False)
    for number in range(count):
        kind = number % 4
        if kind < 2 or not true:
            body = pool[source.randrange(len(pool))]
            if len(body) > 4:
                body[source.randrange(4, len(body))] ^= 1 << number % 8
        else:
            body = true[source.randrange(len(true))]
            if kind == 2:
                body = bytearray(body)
                # Bytes behind the header, but not mac2, without which a message is as good as true.
                end = min(len(body), 132 if body[0] == 1 else 76 if body[0] == 2 else len(body))
                body[source.randrange(4, end)] ^= source.randrange(1, 256)
        try:
            s.send(body)
        except OSError:
            pass  # Full queues are theirs to have.
        if number % 1024 == 0:
            try:
                while s.recv(2000) is not None:
                    answers += 1
            except OSError:
                pass
    s.settimeout(0.5)
    try:
        while s.recv(2000) is not None:
            answers += 1
    except OSError:
        pass
print(f"answers: {answers}")
"""


def _true_datagrams(lab, a, b):
    """A file with what crossed the wire, one datagram a line."""
    lab.net.one_datagram_per_frame()
    capture = Capture(lab.net)
    must_ping(a.host, b.inner4, count=20)
    must_ping(b.host, a.inner6, count=20, size=1000)
    capture.finish()
    path = lab.net.folder / "true.hex"
    path.write_text("".join(body.hex() + "\n" for body in capture.payloads()))
    return path


def _strangers(lab, count, seconds):
    a, b = lab.pair()
    path = _true_datagrams(lab, a, b)
    before = b.peer(a)

    def send(count):
        sender = lab.net.r.start("python3", "-c", STRANGER, OUTER4["b"], b.port, count, path)
        wait_until(lambda: not sender.alive(), seconds, "everything is sent", every=0.2)
        equal(sender.log().strip(), "answers: 0", "answers to strangers")

    # Buffers that were never used before are touched once.
    send(30_000)
    resident = b.program.resident_bytes()
    send(count)
    after = b.peer(a)
    equal((after.handshake, after.endpoint), (before.handshake, before.endpoint), "handshake and endpoint")
    # The answer to the last ping is owed one passive keepalive, which may fall due meanwhile.
    check(after.tx_bytes - before.tx_bytes in (0, KEEPALIVE), f"{after.tx_bytes - before.tx_bytes} bytes more were sent")
    equal(after.rx_bytes, before.rx_bytes, "authenticated bytes")
    grown = b.program.resident_bytes() - resident
    check(grown < GROWTH_MAX, f"memory grew by {grown} bytes")
    must_ping(a.host, b.inner4, count=5)
    must_ping(b.host, a.inner4, count=5)
    return f"memory grew by {grown} bytes over {count} datagrams"


@scenario(OURS)
# WG-3, WG-11, WG-24: junk, changed and repeated datagrams are answered by nothing and change nothing.
def test_strangers_change_nothing(lab):
    return _strangers(lab, 60_000, 20)


@scenario(OURS, smoke="", seconds=900)
# WG-3, WG-11, WG-24: the same, ten million times.
def test_ten_million_datagrams_of_strangers_change_nothing(lab):
    return _strangers(lab, 10_000_000, 800)


@scenario(OURS)
def test_traffic_goes_on_under_junk(lab):
    a, b = lab.pair()
    path = _true_datagrams(lab, a, b)
    sender = lab.net.r.start("python3", "-c", STRANGER, OUTER4["b"], b.port, 400_000, path)
    flow = iperf(a.host, b.host, b.inner4, seconds=2)
    check(sender.alive() or "answers: 0" in sender.log(), sender.log())
    check(flow.received_bytes > 10_000_000, f"TCP carried {flow.received_bytes} bytes beside the junk")
    sender.stop()
    return f"{flow.gbits:.2f} Gbit/s beside the junk"


@scenario(OURS)
# WG-59: datagrams to the peer that are routed into the tunnel to the peer do not multiply, and cost no memory.
def test_routing_loop_stays_bounded(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4)
    resident = a.program.resident_bytes()
    a.set("peer", b.public, "allowed-ips", f"{b.inner4}/32,{b.inner6}/128,{OUTER4['b']}/32")
    a.host.ip(f"route add {OUTER4['b']}/32 dev {a.interface}")
    ping(a.host, b.inner4, count=10, interval=0.05, wait=1)
    before = a.peer(b).tx_bytes
    time.sleep(1)
    in_a_second = a.peer(b).tx_bytes - before
    a.host.ip(f"route del {OUTER4['b']}/32 dev {a.interface}")
    time.sleep(0.5)
    must_ping(a.host, b.inner4, count=5, wait=6)
    grown = a.program.resident_bytes() - resident
    # Buffers that were never used before are touched once.
    check(grown < 16 << 20, f"memory grew by {grown} bytes")
    check(in_a_second < 1_000_000, f"{in_a_second} bytes went round in a second")

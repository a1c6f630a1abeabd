"""A flood beside an established TCP flow: how much of the flow is left, and how much the same flood alone would leave.

One TCP stream runs through the tunnel from A to B for the whole time. A third host sends B floods of datagrams, in turns to
the gateway's port and to a socket of B that nobody reads. Sending a flood and taking it off the wire costs processor time
wherever it goes; what the gateway adds to that is the difference.
"""

import base64
import json
import os
import pathlib
import time

from lab.host import Host, LabError, wait_until
from lab.traffic import Iperf, must_ping

KINDS = ("initiations", "spoofed", "junk", "unknown", "replays")
UNREAD_PORT = 9999
# Source addresses of spoofed floods, from RFC 2544's range for measurements.
SOURCES = "198.18.0.0"
SAMPLES = 256
# Until a flood and the stream beside it have settled. The share of handshakes that the gateway's sockets let through is decided
# anew each half a second, and needs a few of those.
SETTLE_SECONDS = 0.7
SETTLE_SPOOFED_SECONDS = 2.5

UNREAD = """
import socket, sys, time
held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
held.bind((sys.argv[1], int(sys.argv[2])))
print("bound", flush=True)
time.sleep(1e6)
"""

# Writes what passes an interface of WireGuard's data, a line in hexadecimal each. Arguments: interface, file, how many.
SNIFFER = """
import socket, sys
raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
raw.bind((sys.argv[1], 0x0800))
print("bound", flush=True)
left = int(sys.argv[3])
with open(sys.argv[2], "w") as out:
    while left:
        packet = raw.recv(65536)
        message = packet[(packet[0] & 15) * 4 + 8:]
        if packet[9] == 17 and message[:4] == bytes((4, 0, 0, 0)):
            out.write(message.hex() + "\\n")
            left -= 1
"""


class Attack:
    """The host that floods, its link to B, and the socket that nobody reads."""

    def __init__(self, link, tunnel, program, single=False):
        self._tunnel, self._program, self._single = tunnel, program, single
        self._victim = tunnel.ends[1]
        self._host, folder = Host("f", link.a.folder), link.a.folder
        host, victim = self._host, self._victim.host
        host.ip("link add name out mtu 1500 type veth peer name flood mtu 1500 netns /run/netns/b")
        host.ip("address add 10.66.0.2/24 dev out")
        victim.ip("address add 10.66.0.1/24 dev flood")
        host.ip("link set dev out up")
        victim.ip("link set dev flood up")
        host.ip(f"route add local {SOURCES}/16 dev lo")
        victim.ip(f"route add {SOURCES}/16 via 10.66.0.2")
        for path in ("all", "flood"):
            victim.write(f"/proc/sys/net/ipv4/conf/{path}/rp_filter", 0)
        self._unread = victim.start("python3", "-c", UNREAD, "10.66.0.1", UNREAD_PORT)
        wait_until(lambda: "bound" in self._unread.log(), 5, "the unread socket")
        self._samples = pathlib.Path(folder, "samples.hex")
        self._sample()

    def _sample(self):
        """Keeps datagrams of the tunnel, to be repeated once their counters are behind the window."""
        a, b = self._tunnel.ends
        sniffer = b.host.start("python3", "-c", SNIFFER, "out", self._samples, SAMPLES)
        wait_until(lambda: "bound" in sniffer.log(), 5, "the sniffer")
        # More than are wanted: where the program was away for a moment, several leave as one train, which counts once.
        must_ping(a.host, b.inner4, count=2 * SAMPLES, interval=0.002, size=100)
        wait_until(lambda: not sniffer.alive(), 5, f"{SAMPLES} datagrams of the tunnel")

    def flood(self, kind, rate, seconds, unread):
        """Starts a flood at the gateway, or at the socket that nobody reads."""
        key = base64.b64decode(self._victim.public).hex()
        port = UNREAD_PORT if unread else self._victim.port
        words = ["--to", f"10.66.0.1:{port}", "--kind", kind, "--rate", rate, "--seconds", seconds, "--key", key,
                 "--samples", self._samples]
        words += ["--sources", SOURCES] if kind == "spoofed" else []
        words += ["--single"] if self._single else []
        flood = self._host.start(self._program, *words)
        try:
            # A flood comes from elsewhere: its sender does not wait for what it disturbs. Without the right to that, it does,
            # and falls behind its rate, which the record says.
            os.setpriority(os.PRIO_PROCESS, flood.pid, -15)
        except PermissionError:
            pass
        return flood

    def received(self):
        """Bytes that B has delivered to its inner side so far."""
        for line in pathlib.Path(f"/proc/{self._victim.program.pid}/net/dev").read_text().splitlines():
            name, _, counts = line.partition(":")
            if name.strip() == self._victim.interface:
                return int(counts.split()[0])
        raise LabError(f"{self._victim.interface} is gone")


def slot(attack, tunnel, number, kind, rate, seconds, target):
    """Measures one slot; `target` is `gateway`, `unread`, or `calm` for no flood."""
    flood, settle = None, SETTLE_SPOOFED_SECONDS if kind == "spoofed" else SETTLE_SECONDS
    if target != "calm":
        flood = attack.flood(kind, rate, settle + seconds + 0.1, target == "unread")
    time.sleep(settle)
    cpu, since, bytes_before = tunnel.cpu(), time.monotonic(), attack.received()
    time.sleep(seconds)
    took, carried = time.monotonic() - since, attack.received() - bytes_before
    cpu_after = tunnel.cpu()
    line = {"kind": "slot", "round": number, "flood": kind, "rate": rate, "target": target, "bytes": carried,
            "seconds": round(took, 4),
            "cpu": [{"user": round(now[0] - was[0], 3), "system": round(now[1] - was[1], 3)}
                    for was, now in zip(cpu, cpu_after)]}
    if flood:
        flood.wait(seconds + 5)
        try:
            line["sent"] = json.loads(flood.log().strip().splitlines()[-1])
        except (ValueError, IndexError):
            raise LabError(f"the flood said: {flood.log().strip()}") from None
    tunnel.still_runs()
    if carried == 0 and target == "calm":
        raise LabError("the stream carried nothing")
    return line


def stream(tunnel, seconds):
    """Starts the TCP stream."""
    a, b = tunnel.ends
    return Iperf(a.host, b.host, b.inner4, seconds=seconds)


def gbits(line):
    """What the stream carried, headers of inner packets included, in Gbit/s."""
    return line["bytes"] * 8 / line["seconds"] / 1e9


def sent_rate(line):
    """Thousand datagrams a second that really left."""
    return line["sent"]["sent"] / line["sent"]["seconds"] / 1000

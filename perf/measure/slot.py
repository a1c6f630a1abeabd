"""One slot: a tunnel carries one TCP stream for a while, and what that took is written down."""

import time

from lab.host import LabError
from lab.traffic import Iperf

from .machine import cpu_times


def tcp(tunnel, number, seconds, flows=1, reverse=False):
    """Measures a slot and returns it as a line for the record. Raises where the tunnel carries nothing."""
    a, b = tunnel.ends
    whole, ends, since = cpu_times(), tunnel.cpu(), time.monotonic()
    running = Iperf(a.host, b.host, b.inner4, seconds=seconds, flows=flows, reverse=reverse)
    flow = running.finish()
    tunnel.still_runs()
    took = time.monotonic() - since
    ends_after, whole_after = tunnel.cpu(), cpu_times()
    if flow.received_bytes == 0:
        raise LabError("the stream carried nothing")
    cpu = []
    for was, now in zip(ends, ends_after):
        cpu.append({"user": round(now[0] - was[0], 3), "system": round(now[1] - was[1], 3)})
    return {
        "kind": "slot", "round": number, "tunnel": tunnel.name,
        "bytes": flow.received_bytes, "seconds": round(flow.seconds, 4), "wall": round(took, 3),
        "retransmits": flow.retransmits, "cpu": cpu,
        "machine": {name: round(whole_after[name] - whole[name], 2) for name in whole},
    }


def gbits(slot):
    """Delivered, in Gbit/s."""
    return slot["bytes"] * 8 / slot["seconds"] / 1e9


def cpu_per_gb(slot):
    """CPU seconds of both ends per 10^9 bytes delivered: the kernel work that is done in their name is in it."""
    return sum(end["user"] + end["system"] for end in slot["cpu"]) / (slot["bytes"] / 1e9)


def part_per_gb(slot, part):
    """As `cpu_per_gb`, of `user` or `system` alone."""
    return sum(end[part] for end in slot["cpu"]) / (slot["bytes"] / 1e9)


def softirq_per_gb(slot):
    """Softirq seconds of the whole machine per 10^9 bytes delivered."""
    return slot["machine"]["softirq"] / (slot["bytes"] / 1e9)

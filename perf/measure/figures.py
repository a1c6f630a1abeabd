"""Figures of a slot, by workload: what a person compares."""

import dataclasses
from collections.abc import Callable


def gbits(slot):
    """Delivered, in Gbit/s."""
    return slot["bytes"] * 8 / slot["seconds"] / 1e9


def cpu(slot, part=None):
    """CPU seconds of the measured programs: all, or `user` or `system` alone. The kernel's work in their name is in it."""
    return sum(end[part] if part else end["user"] + end["system"] for end in slot["cpu"])


def cpu_per_gb(slot, part=None):
    """As `cpu`, per 10^9 bytes delivered."""
    return cpu(slot, part) / (slot["bytes"] / 1e9)


def softirq_per_gb(slot):
    """Softirq seconds of the whole machine per 10^9 bytes delivered."""
    return slot["machine"]["softirq"] / (slot["bytes"] / 1e9)


def kpps(slot):
    """Delivered, in thousand packets per second."""
    return slot["packets"] / slot["seconds"] / 1e3


def per_cpu_second(slot):
    """Thousand packets delivered per CPU second of the gateway; 0 where no gateway is measured."""
    spent = cpu(slot)
    return slot["packets"] / spent / 1e3 if spent else 0.0


def ns_per_packet(slot, part=None):
    """CPU nanoseconds of the gateway per packet delivered."""
    return cpu(slot, part) * 1e9 / slot["packets"]


def softirq_per_packet(slot):
    """Softirq nanoseconds of the whole machine per packet delivered."""
    return slot["machine"]["softirq"] * 1e9 / slot["packets"]


def lost(slot):
    """Per cent of what the generator sent that did not come: at full speed, what nobody had time for."""
    return 100 * (1 - slot["packets"] / slot["sent"]) if slot["sent"] else 0.0


def per_second(slot):
    """Handshakes per second."""
    return slot["handshakes"] / slot["seconds"]


def handshakes_per_cpu(slot):
    """Handshakes per CPU second of the gateway."""
    spent = cpu(slot)
    return slot["handshakes"] / spent if spent else 0.0


def time_us(key):
    """A figure that is a time in nanoseconds, in microseconds."""
    return lambda slot: slot[key] / 1e3


def unanswered(slot):
    """Per cent of requests without an answer."""
    return 100 * (1 - slot["answers"] / slot["requests"])


@dataclasses.dataclass(frozen=True)
class Column:
    """A figure with its name and digits behind the point."""

    name: str
    of: Callable
    digits: int = 2


def _part(function, part):
    return lambda slot: function(slot, part)


# The first column is what ratios are of.
COLUMNS = {
    "tcp": (Column("Gbit/s", gbits), Column("CPU s/GB", cpu_per_gb), Column("user", _part(cpu_per_gb, "user")),
            Column("system", _part(cpu_per_gb, "system")), Column("softirq", softirq_per_gb),
            Column("retr.", lambda slot: slot["retransmits"], 0)),
    "udp": (Column("k/CPU s", per_cpu_second, 1), Column("kpps", kpps, 1), Column("ns CPU", ns_per_packet, 0),
            Column("user", _part(ns_per_packet, "user"), 0), Column("system", _part(ns_per_packet, "system"), 0),
            Column("softirq", softirq_per_packet, 0), Column("lost %", lost, 1),
            Column("overfl.", lambda slot: slot["overflowed"], 0),
            Column("MiB", lambda slot: slot["resident_bytes"] / (1 << 20), 1)),
    "latency": (Column("p99 µs", time_us("p99_ns"), 0), Column("p50", time_us("p50_ns"), 0),
                Column("p99.9", time_us("p999_ns"), 0), Column("lost %", unanswered, 1),
                Column("CPU s", cpu)),
    "handshakes": (Column("per CPU s", handshakes_per_cpu, 0), Column("per s", per_second, 0),
                   Column("cookies", lambda slot: slot["cookies"], 0)),
}

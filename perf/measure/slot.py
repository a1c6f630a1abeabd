"""Slots: one tunnel or gateway does one thing for a while, and what that took is written down as a line for the record."""

import time

from lab.host import LabError
from lab.traffic import IPERF_PORT, Iperf

from .helper import Helper
from .machine import cpu_times

LATENCY_PORT = 7
# How long a load runs before and after the requests that meet it, in seconds.
MARGIN = 0.2


class Taken:
    """Reads the clocks of a tunnel and of the machine before, and again after."""

    def __init__(self, tunnel):
        self._tunnel = tunnel
        tunnel.begins()
        self._before = (cpu_times(), tunnel.cpu(), time.monotonic())

    def line(self, number, **figures):
        """The line for the record. Raises where the tunnel has ended meanwhile."""
        self._tunnel.still_runs()
        whole, ends, since = self._before
        ends_after, whole_after = self._tunnel.cpu(), cpu_times()
        cpu = [{"user": round(now[0] - was[0], 3), "system": round(now[1] - was[1], 3)}
               for was, now in zip(ends, ends_after)]
        return {"kind": "slot", "round": number, "tunnel": self._tunnel.name, "cpu": cpu,
                "wall": round(time.monotonic() - since, 3),
                "machine": {name: round(whole_after[name] - whole[name], 2) for name in whole}, **figures}


def tcp(tunnel, number, given):
    """One or more TCP streams, one way or both at once."""
    a, b = tunnel.ends
    taken = Taken(tunnel)
    words = {"seconds": max(1, round(given.seconds)), "flows": given.flows}
    running = [Iperf(a.host, b.host, b.inner4, reverse=given.reverse, **words)]
    if given.both:
        running.append(Iperf(b.host, a.host, a.inner4, port=IPERF_PORT + 1, **words))
    flows = [one.finish() for one in running]
    if any(flow.received_bytes == 0 for flow in flows):
        raise LabError("the stream carried nothing")
    return taken.line(number, bytes=sum(flow.received_bytes for flow in flows),
                      seconds=round(max(flow.seconds for flow in flows), 4),
                      retransmits=sum(flow.retransmits for flow in flows))


def shape(given, rate=None):
    """The words of a generator for what was asked for."""
    return ["--size", given.size, "--burst", given.burst, "--rate", given.rate if rate is None else rate]


def udp(field, number, given):
    """UDP packets of many peers, out of the gateway or into it, at a rate or at full speed."""
    outward = given.way == "out"
    helpers = []
    try:
        if outward:
            helpers.append(field.peers("out", given.seconds, []))
            helpers.append(field.generator(given.seconds, shape(given)))
        else:
            helpers.append(field.sink())
            helpers.append(field.peers("in", given.seconds, shape(given)))
        sink, generator = helpers
        if given.sink == "drop":
            sink = field.dropper(sink, outward)
            helpers.append(sink)
        taken = Taken(field)
        sink.begin()
        generator.begin()
        sent = generator.report()
        sink.end()
        got = sink.report()
        line = taken.line(number, packets=int(got["packets"]), sent=int(sent["packets"]),
                          bytes=int(got["bytes"]), refused=int(sent["refused"]),
                          overflowed=int(got["overflowed"]), batches=int(got["batches"]),
                          seconds=round(sent["seconds"], 4), resident_bytes=field.resident_bytes())
    finally:
        for helper in helpers:
            helper.kill()
    if got["packets"] == 0:
        raise LabError("no packet came through")
    if got.get("bad"):
        raise LabError(f"{got['bad']:.0f} of {got['looked']:.0f} datagrams did not open")
    return line


def handshakes(field, number, given):
    """Handshakes of many peers, as fast as the gateway answers them."""
    peers = field.peers("handshakes", given.seconds, [])
    try:
        taken = Taken(field)
        peers.begin()
        done = peers.report()
        line = taken.line(number, handshakes=int(done["handshakes"]), cookies=int(done["cookies"]),
                          seconds=round(done["seconds"], 4))
    finally:
        peers.kill()
    if line["handshakes"] == 0:
        raise LabError("no handshake came to its end")
    return line


def background(tunnel, rate, seconds, given):
    """(sink, generator) of a load of UDP through a tunnel; rate 0 is full speed."""
    a, b = tunnel.ends
    sink = Helper(b.host, "traffic", "sink", "--listen", f"{b.inner4}:9", profile=given.profile)
    try:
        net = f"{b.inner4.rpartition('.')[0]}.1"  # the host behind this address is B's
        generator = Helper(a.host, "traffic", "send", "--net", net, "--seconds", seconds, *shape(given, rate),
                           profile=given.profile)
    except LabError:
        sink.kill()
        raise
    sink.begin()
    generator.begin()
    return sink, generator


def carried(tunnel, given, seconds=1.0):
    """Packets per second of the asked-for kind that come through at full speed: half of it is a load to compare under."""
    sink, generator = background(tunnel, 0, seconds, given)
    try:
        sent = generator.report()
        sink.end()
        return sink.report()["packets"] / sent["seconds"]
    finally:
        generator.kill()
        sink.kill()


def latency(tunnel, number, given):
    """Requests and answers at a steady rate, beside a load of `given.load` packets per second."""
    a, b = tunnel.ends
    helpers = [Helper(b.host, "traffic", "answer", "--listen", f"{b.inner4}:{LATENCY_PORT}", profile=given.profile)]
    try:
        helpers.append(Helper(a.host, "traffic", "ask", "--to", f"{b.inner4}:{LATENCY_PORT}",
                              "--rate", given.requests, "--seconds", given.seconds, profile=given.profile))
        answer, ask = helpers
        taken = Taken(tunnel)
        if given.load:
            helpers += background(tunnel, given.load, given.seconds + 2 * MARGIN, given)
            time.sleep(MARGIN)
        answer.begin()
        ask.begin()
        found = ask.report()
        if given.load:
            sink, generator = helpers[2:]
            sent = generator.report()
            sink.end()
            found |= {"load_sent": int(sent["packets"]), "load_packets": int(sink.report()["packets"])}
        line = taken.line(number, seconds=given.seconds, **found)
    finally:
        for helper in helpers:
            helper.kill()
    if found["answers"] == 0:
        raise LabError("no request was answered")
    return line

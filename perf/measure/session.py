"""A run: what takes part, its rounds, what fails on the way."""

import shlex
import sys

from lab import programs
from lab.host import LabError

from . import field, figures, machine, record, slot
from .tunnels import Link, Tunnel

SLOT = {"tcp": slot.tcp, "udp": slot.udp, "latency": slot.latency, "handshakes": slot.handshakes}
# Those with one gateway and many peers.
FIELDS = ("udp", "handshakes")
OPTIONS = ("workload", "rounds", "seconds", "flows", "reverse", "both", "size", "burst", "peers_count", "way", "sink", "rate", "load",
           "requests", "mtu", "outer")


def describe(given):
    """What is measured, in words: of options, or of the line of a record that keeps them."""
    words = f"{given.rounds} round{'s' * (given.rounds != 1)} of {given.seconds:g} s, MTU {given.mtu}"
    if given.workload == "tcp":
        return f"TCP, {given.flows} stream{'s' * (given.flows != 1)}{' both ways' if given.both else ''}: {words}"
    shape = f"{given.size}{'' if given.size == 'imix' else ' bytes'}, bursts of {given.burst}"
    if given.workload == "udp":
        rate = f"{given.rate:g} packets/s" if given.rate else "full speed"
        return f"UDP {given.way} over {given.peers_count} peers, {shape}, {rate}: {words}"
    if given.workload == "latency":
        return f"{given.requests:g} requests/s beside {given.load:.0f} packets/s of {shape}: {words}"
    return f"handshakes of {given.peers_count} peers: {words}"


class Session:
    """Starts everything, measures in rounds, keeps what was measured whatever else fails."""

    def __init__(self, given, folder, book, fail):
        self._given, self._folder, self._book, self._fail = given, folder, book, fail
        self.names, self.failed = [], False

    def run(self):
        """All rounds. Returns the slots."""
        given = self._given
        link = Link(self._folder, given.outer)
        running = self._start(link)
        try:
            self._find_load(running)
        except LabError as error:
            self._lose(None, f"no load to compare under was found: {error}")
            return []
        self.names = [one.name for one in running]
        self._book.add(self._head(running))
        slots = []
        for number in range(given.rounds):
            turn = number % max(len(running), 1)
            for one in running[turn:] + running[:turn]:
                line = self._slot(one, number)
                if line is None:
                    running.remove(one)
                else:
                    slots.append(line)
        for one in running:
            one.stop()
        return slots

    def _slot(self, one, number):
        try:
            line = SLOT[self._given.workload](one, number, self._given)
        except LabError as error:
            self._lose(one.name, f"round {number + 1}: {error}", number)
            one.stop()
            return None
        self._book.add(line)
        told = "  ".join(f"{column.of(line):.{column.digits}f} {column.name}"
                         for column in figures.COLUMNS[self._given.workload][:3])
        print(f"round {number + 1:2}  {one.name:16} {told}", flush=True)
        return line

    def _lose(self, name, why, number=None):
        self.failed = True
        self._fail(f"{name}: {why}" if name else why)
        self._book.add({"kind": "failure", "round": number, "tunnel": name, "why": why})

    def _start(self, link):
        """Starts what takes part. Returns those that carry a packet."""
        given, counts, running = self._given, {}, []
        many = given.workload in FIELDS
        if many:
            field.open_nets(link)
        for number, text in enumerate(given.peers):
            try:
                kind = programs.resolve(text, given.profile)
            except ValueError as error:
                self._lose(None, str(error))
                continue
            counts[kind.name] = counts.get(kind.name, 0) + 1
            name = kind.name if counts[kind.name] == 1 else f"{kind.name} #{counts[kind.name]}"
            if kind.path() is None:
                self._lose(name, f"the program is missing: {kind.words[0]}")
                continue
            if many and kind.bare:
                self._lose(name, f"it knows no peers, so it has no part in {given.workload}")
                continue
            one = (field.Field(link, kind, name, number, given.peers_count, given.mtu, given.profile) if many
                   else Tunnel(link, kind, name, number, given.mtu))
            try:
                one.start()
                running.append(one)
            except LabError as error:
                self._lose(name, f"never connected: {error}")
                one.stop()
        if given.workload == "udp" and running:
            running.append(field.Plain(link, given.peers_count, given.profile))
        return running

    def _find_load(self, running):
        """Replaces `half` by a number."""
        given = self._given
        if given.workload != "latency" or given.load != "half" or not running:
            return
        slowest = next((one for one in running if one.name == "gotatun"), running[-1])
        whole = slot.carried(slowest, given)
        given.load = round(whole / 2)
        print(f"{slowest.name} carries {whole:.0f} packets/s: the load is {given.load}", flush=True)

    def _head(self, running):
        given = self._given
        return {"kind": "run", "format": record.FORMAT, "command": shlex.join(["perf/run", *sys.argv[1:]]),
                **{name: getattr(given, name) for name in OPTIONS}, "machine": machine.describe(),
                "tunnels": [{"name": one.name, "version": programs.version(one.kind) if one.kind else "",
                             "offloads": one.offloads()} for one in running]}

"""System calls of programs, counted by the kernel while they carry something."""

import collections
import re
import shutil
import signal
import subprocess
import time

from lab.host import LabError

# Moves of packets in the first part, waiting and waking in the second.
NAMES = ("recvmmsg", "sendmmsg", "recvmsg", "sendmsg", "recvfrom", "sendto", "read", "readv", "write", "writev",
         "epoll_wait", "epoll_pwait", "epoll_pwait2", "futex", "sched_yield")
BATCHED = ("recvmmsg", "sendmmsg")


def unavailable():
    """Why calls cannot be counted here, or None."""
    return None if shutil.which("perf") else "perf (Debian package linux-perf) is missing"


class Counter:
    """Counts from now until it is asked. The programs are given by the numbers of their processes."""

    def __init__(self, pids, folder):
        self._folder = folder
        which = ",".join(map(str, pids))
        events = ",".join(["raw_syscalls:sys_enter", *(f"syscalls:sys_enter_{name}" for name in NAMES)])
        returns = ",".join(f"syscalls:sys_exit_{name}" for name in BATCHED)
        self._counting = subprocess.Popen(["perf", "stat", "-x", ",", "-o", folder / "counts", "-e", events, "-p", which],
                                          stderr=subprocess.PIPE, text=True)
        self._returns = subprocess.Popen(["perf", "record", "-q", "-m", "1024", "-o", folder / "returns", "-e", returns, "-p", which],
                                         stderr=subprocess.DEVNULL)
        # Both say nothing when they have begun.
        time.sleep(0.3)
        if self._counting.poll() is not None:
            raise LabError(f"perf: {self._counting.stderr.read().strip()}")

    def stop(self):
        """Ends the counting."""
        for process in (self._counting, self._returns):
            process.send_signal(signal.SIGINT)
            process.wait(20)

    def line(self, slot, what):
        """What was counted beside what was carried, as a line for a file."""
        self.stop()
        counts = parse_counts((self._folder / "counts").read_text())
        done = subprocess.run(["perf", "script", "-i", self._folder / "returns", "-F", "event,trace"],
                              capture_output=True, text=True)
        carried = {key: slot[key] for key in ("bytes", "packets", "seconds") if key in slot}
        return {"kind": "calls", "what": what, "tunnel": slot["tunnel"], **carried, "calls": counts,
                "batches": parse_returns(done.stdout)}


def parse_counts(text):
    """Calls by name, and `all`, from what `perf stat -x ,` writes."""
    counts = {}
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[0].isdigit():
            name = fields[2].rpartition("sys_enter")[2].lstrip("_") or "all"
            counts[name] = int(fields[0])
    return {name: count for name, count in counts.items() if count}


def parse_returns(text):
    """How often each number of messages was moved, by call; what moved nothing is left out."""
    found = {name: collections.Counter() for name in BATCHED}
    for name, value in re.findall(r"sys_exit_(\w+):.*?0x([0-9a-f]+)\s*$", text, re.M):
        moved = int(value, 16)
        if name in found and 0 < moved < 1 << 31:
            found[name][moved] += 1
    return {name: {str(size): count for size, count in sorted(sizes.items())} for name, sizes in found.items()}


def rows(lines):
    """A table: calls per GB or per 1,000 packets, and messages per batched call."""
    packets = "packets" in lines[0]
    unit = "per 1,000 packets" if packets else "per GB"
    names = [name for name in ("all", *NAMES) if any(name in line["calls"] for line in lines)]
    table = [(f"calls {unit}", *names, *(f"messages/{name}" for name in BATCHED))]
    for line in lines:
        carried = line["packets"] / 1e3 if packets else line["bytes"] / 1e9
        means = []
        for name in BATCHED:
            sizes = line["batches"][name]
            calls = sum(sizes.values())
            means.append(f"{sum(int(size) * count for size, count in sizes.items()) / calls:.1f}" if calls else "-")
        table.append((line["tunnel"], *(f"{line['calls'].get(name, 0) / carried:.0f}" for name in names), *means))
    return table

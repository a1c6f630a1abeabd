"""What is known of the machine and of the tree that is measured on it."""

import os
import pathlib
import platform
import re
import subprocess

TOP = pathlib.Path(__file__).resolve().parent.parent.parent


def _git(*words):
    done = subprocess.run(["git", "-C", str(TOP), *words], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def describe():
    """Processor, memory, kernel and commit, as they go into every record."""
    cpu = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.*)$", cpu, re.M)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", pathlib.Path("/proc/meminfo").read_text(), re.M)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory[1]) / (1 << 20), 1) if memory else None,
        "kernel": platform.release(),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--", ":!perf/records")),
        "load_before": os.getloadavg()[0],
    }


def cpu_times():
    """Seconds that all processors spent so far, by kind (`/proc/stat`)."""
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    words = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    ticks = os.sysconf("SC_CLK_TCK")
    return {name: int(word) / ticks for name, word in zip(names, words)}

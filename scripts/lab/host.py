"""A host is a network namespace; programs run in it with a log each."""

import os
import pathlib
import signal
import subprocess
import time

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


class LabError(Exception):
    """Something in the lab did not do what the scenario needed."""


def wait_until(condition, seconds, what, every=0.02):
    """Waits for a condition to be true and returns its value; raises where it never is."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise LabError(f"waited {seconds} s in vain: {what}")
        time.sleep(every)


def cpu_seconds(pid):
    """(user, system) seconds of all threads of a process so far; also of one that has ended and nobody has waited for."""
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    # The name in parentheses may hold spaces; fields are counted behind it: utime is the 14th, stime the 15th.
    fields = text.rpartition(")")[2].split()
    return int(fields[11]) / TICKS, int(fields[12]) / TICKS


class Program:
    """A running program and its log."""

    def __init__(self, process, command, log):
        self._process, self.command, self.log_path = process, command, log
        self.pid = process.pid

    def alive(self):
        """Whether it still runs."""
        return self._process.poll() is None

    def exit_code(self):
        """What it ended with, or None."""
        return self._process.poll()

    def log(self):
        """What it has printed."""
        return self.log_path.read_text(errors="replace")

    def wait(self, seconds):
        """Waits for its end and returns its exit code."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.command[0]} did not end within {seconds} s") from None

    def stop(self, how=signal.SIGTERM, seconds=5):
        """Ends it, by force if it does not listen, and returns its exit code."""
        if self.alive():
            self._process.send_signal(how)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def cpu_seconds(self):
        """(user, system) seconds of all its threads so far."""
        return cpu_seconds(self.pid)

    def resident_bytes(self):
        """Memory that it holds."""
        return int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_BYTES


class Host:
    """A network namespace with a name."""

    def __init__(self, name, folder):
        self.name, self.folder = name, pathlib.Path(folder)
        self._programs = 0
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.ip("link set lo up")

    def enter(self, *command):
        """The command line that runs a command here. It replaces itself, so that the process is the command's own."""
        return ["nsenter", f"--net=/run/netns/{self.name}", "--", *map(str, command)]

    def run(self, *command, seconds=30, check=True, stdin=None, env=None):
        """Runs a command to its end. Raises where it fails, unless told that it may."""
        try:
            done = subprocess.run(self.enter(*command), capture_output=True, text=True, timeout=seconds, input=stdin,
                                  env={**os.environ, **(env or {})})
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name}: `{' '.join(map(str, command))}` took more than {seconds} s") from None
        if check and done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise LabError(f"{self.name}: `{' '.join(map(str, command))}` ended with {done.returncode}: {said}")
        return done

    def ip(self, words):
        """Runs `ip` with these words."""
        return self.run("ip", *words.split()).stdout

    def start(self, *command, env=None):
        """Starts a command with its output in a log of its own."""
        self._programs += 1
        base = os.path.basename(str(command[0]))
        log = self.folder / f"{self.name}-{self._programs}-{base}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(self.enter(*command), stdout=out, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
        return Program(process, command, log)

    def write(self, path, value):
        """Writes a kernel setting of this namespace, such as /proc/sys/net/ipv4/ip_forward."""
        self.run("sh", "-c", f"echo {value} > {path}")

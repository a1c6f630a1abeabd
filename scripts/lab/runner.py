"""Runs scenarios, each in a sandbox of its own, several at a time, and says how each went."""

import dataclasses
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import traceback

from . import programs, sandbox, scenarios  # noqa: F401  (importing the scenarios declares them)
from .host import LabError
from .net import Net
from .scenario import SCENARIOS, Lab


@dataclasses.dataclass
class Job:
    """One scenario with one pair of programs."""

    scenario: object
    pair: tuple
    process: object = None
    output: object = None
    since: float = 0.0
    again: bool = False

    def title(self):
        """What it is called in the listing."""
        alone = ", again, alone" if self.again else ""
        return f"{self.scenario.name} [{self.pair[0]} -> {self.pair[1]}{alone}]"


def run_one(name, first, second, ours, profile):
    """Inside of a sandbox: runs one scenario. Prints its note, or what went wrong with the logs of all programs."""
    sandbox.prepare()
    scenario = SCENARIOS[name]
    kinds = tuple(programs.resolve(text, profile) for text in (first, second))
    with tempfile.TemporaryDirectory(prefix="dataplane-lab-") as folder:
        try:
            lab = Lab(Net(folder), kinds, programs.resolve(ours, profile))
            note = scenario.function(lab)
        except (AssertionError, LabError, subprocess.CalledProcessError) as error:
            where = traceback.extract_tb(error.__traceback__)
            lines = [f"{pathlib.Path(at.filename).name}:{at.lineno} in {at.name}" for at in where[1:]]
            print(f"{error}\n  at " + ", ".join(lines))
            for log in sorted(pathlib.Path(folder).glob("*.log")):
                tail = log.read_text(errors="replace").strip().split("\n")[-15:]
                if tail != [""] and "iperf3" not in log.name:
                    print(f"  {log.name}:", *tail, sep="\n    ")
            return 1
    print(note or "")
    return 0


def _chosen(given):
    """The scenarios that the command line asks for."""
    found = []
    for scenario in SCENARIOS.values():
        named = any(scenario.name.startswith(name.removeprefix("test_")) for name in given.name)
        if named or not given.name:
            found.append(scenario)
    return found


def _jobs(given):
    peers = [name for name in given.against.split(",") if name]
    for name in [given.ours, *peers]:
        kind = programs.resolve(name, given.profile)
        if kind.path() is None:
            hint = f"cargo build --profile {given.profile} --bins -p dataplane-gateway" \
                if name == "dataplane-wg" else "scripts/setup peers"
            raise SystemExit(f"lab: {name} is missing ({kind.words[0]}): {hint}")
    jobs = [Job(scenario, pair) for scenario in _chosen(given) for pair in scenario.programs(given.ours, peers, given.smoke)]
    if not jobs:
        raise SystemExit("lab: no scenario has such a name; --list names all")
    # The longest first, so that it is not what everybody waits for in the end.
    return sorted(jobs, key=lambda job: -job.scenario.seconds)


def _start(job, script, given):
    job.output = tempfile.TemporaryFile("w+")
    words = [sys.executable, str(script), "--one", job.scenario.name, *job.pair, "--ours", given.ours,
             "--profile", given.profile]
    job.process = subprocess.Popen(sandbox.command(*words), stdout=job.output, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
    job.since = time.monotonic()


def _end(job):
    """Ends a job whose time is over. The kernel ends everything in its sandbox with it."""
    job.process.kill()
    job.process.wait()


def _report(job, timed_out):
    took = time.monotonic() - job.since
    job.output.seek(0)
    said = job.output.read().strip()
    job.output.close()
    good = job.process.returncode == 0 and not timed_out
    print(f"{'ok  ' if good else 'FAIL'} {took:6.1f} s  {job.title()}{'  ' + said if good and said else ''}", flush=True)
    if not good:
        why = f"not finished after {job.scenario.seconds} s\n" if timed_out else ""
        print("     " + (why + said).replace("\n", "\n     "), flush=True)
    return good


def run_all(given, script):
    """Runs what was asked for and returns an exit code."""
    waiting, running, passed, failed, again = _jobs(given), [], 0, [], []
    started = time.monotonic()

    def stop(number, _frame):
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        while waiting or running or again:
            if not waiting and not running:
                # What failed beside others may have lacked a processor, which a datagram in flight does not survive. Alone, each
                # has the machine to itself, and counts.
                waiting, again, given.jobs = again, [], 1
            while waiting and len(running) < given.jobs:
                running.append(waiting.pop(0))
                _start(running[-1], script, given)
            time.sleep(0.05)
            for job in list(running):
                timed_out = time.monotonic() - job.since > job.scenario.seconds
                if timed_out:
                    _end(job)
                if job.process.poll() is not None:
                    running.remove(job)
                    if _report(job, timed_out):
                        passed += 1
                    elif given.jobs > 1:
                        again.append(Job(job.scenario, job.pair, again=True))
                    else:
                        failed.append(job.title())
    except KeyboardInterrupt:
        failed.append("interrupted")
    finally:
        for job in running:
            _end(job)
    for title in failed:
        print(f"failed: {title}")
    print(f"scenarios: {passed} passed, {len(failed)} failed ({time.monotonic() - started:.0f} s)")
    return 1 if failed else 0

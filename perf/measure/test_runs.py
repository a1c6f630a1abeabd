"""Whole runs of perf/run, short ones, and what it says when something is missing or fails. Run by `perf/run --self`."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from lab import programs, sandbox
from measure import record

RUN = pathlib.Path(__file__).resolve().parent.parent / "run"
PROFILE = os.environ.get("DATAPLANE_PERF_PROFILE", "lab")


def run(*words, record_at="", before=(), path=None):
    """Runs the program itself with short rounds."""
    command = [*before, sys.executable, str(RUN), "--no-build", "--profile", PROFILE, "--rounds", "1", "--seconds", "1",
               "--record", record_at, *words]
    env = {**os.environ, "PATH": path} if path else None
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)


def namespaces():
    """Links and named namespaces of this machine."""
    return [subprocess.run(["ip", *words], capture_output=True, text=True).stdout
            for words in (["-br", "link"], ["netns", "list"])]


class Words(unittest.TestCase):
    def test_wrong_words_are_refused(self):
        for words in (("--outer", "5"), ("--rounds", "0"), ("--load", "much"), ("--peers-count", "70000"),
                      ("--workload", "udp", "--outer", "6")):
            self.assertEqual(run(*words).returncode, 2, words)

    def test_without_the_tool_that_opens_namespaces_it_says_which(self):
        done = run(path="/nowhere")
        self.assertEqual(done.returncode, 1)
        self.assertIn("namespaces are needed: unshare (Debian package util-linux) is missing", done.stderr)


@unittest.skipIf(sandbox.unavailable(), f"SKIPPED: {sandbox.unavailable()}")
class Runs(unittest.TestCase):
    def test_without_the_right_to_open_namespaces_it_says_so(self):
        powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]
        inside = ["unshare", "--user", "--map-root-user", "sh", "-c",
                  'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"', "sh", *powerless]
        done = run(before=inside)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, "^perf/run: namespaces are needed: .* may not open namespaces here .*; run it as root\n$")

    def test_programs_that_fail_are_named_and_the_others_kept(self):
        path = os.path.join(tempfile.mkdtemp(), "r.jsonl")
        before = namespaces()
        done = run("--peer", "false", "--peer", "no-such-program", "--peer", "wireguard-go", record_at=path)
        self.assertEqual(done.returncode, 1)
        self.assertIn("false: never connected", done.stderr)
        self.assertIn("no-such-program: the program is missing", done.stderr)
        self.assertIn("wireguard-go", done.stdout)
        told, slots = record.read(path)
        self.assertEqual([line["tunnel"] for line in slots], ["wireguard-go"])
        self.assertGreater(slots[0]["bytes"], 0)
        self.assertEqual(json.loads(json.dumps(told))["rounds"], 1)
        self.assertEqual(namespaces(), before, "something was left behind")

    def test_a_program_that_dies_on_the_way_keeps_its_rounds_and_the_others(self):
        path = os.path.join(tempfile.mkdtemp(), "r.jsonl")
        done = run("--peer", "timeout 7 wireguard-go", "--peer", "wireguard-go", "--rounds", "6", record_at=path)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"timeout: round \d+: ")
        _, slots = record.read(path)
        mine = [line["tunnel"] for line in slots]
        self.assertEqual(mine.count("wireguard-go"), 6)
        self.assertIn('"kind": "failure"', pathlib.Path(path).read_text())

    def test_nothing_to_measure_is_an_error(self):
        done = run("--peer", "true")
        self.assertEqual(done.returncode, 1)
        self.assertIn("nothing was measured", done.stderr)


def built():
    """Whether our generators are there."""
    return all(os.path.exists(programs.target(name, PROFILE)) for name in ("traffic", "peers"))


@unittest.skipUnless(built() and not sandbox.unavailable(), f"SKIPPED: cargo build --profile {PROFILE} -p dataplane-perf --bins")
class Workloads(unittest.TestCase):
    """Each with another implementation, so that the generators are tried against what others take for WireGuard."""

    def slots(self, *words):
        path = os.path.join(tempfile.mkdtemp(), "r.jsonl")
        done = run("--peer", "wireguard-go", *words, record_at=path)
        self.assertEqual(done.returncode, 0, done.stderr)
        return record.read(path)[1]

    def test_packets_of_many_peers_go_both_ways(self):
        for way in ("in", "out"):
            slots = self.slots("--workload", "udp", "--way", way, "--peers-count", "50", "--rate", "2000", "--size", "imix")
            self.assertEqual([line["tunnel"] for line in slots], ["wireguard-go", "plain"])
            for line in slots:
                self.assertGreater(line["packets"], 0.5 * line["sent"], line)

    def test_handshakes_come_to_their_end(self):
        slots = self.slots("--workload", "handshakes", "--peers-count", "50")
        self.assertGreater(slots[0]["handshakes"], 10)

    def test_answers_come_beside_a_load(self):
        slots = self.slots("--workload", "latency", "--load", "500", "--requests", "200")
        self.assertGreater(slots[0]["answers"], 100)
        self.assertGreater(slots[0]["load_packets"], 100)
        self.assertLessEqual(slots[0]["p50_ns"], slots[0]["p999_ns"])


if __name__ == "__main__":
    unittest.main()

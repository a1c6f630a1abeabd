"""Tests of the measuring of floods, one of them a short run. Run by `perf/run --self`."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from lab import sandbox
from measure import flood_table, record

FLOOD = pathlib.Path(__file__).resolve().parent.parent / "flood"


def flooded(number, target, size, kind="junk", rate=50_000):
    """A slot beside a flood."""
    line = {"kind": "slot", "round": number, "target": target, "bytes": size, "seconds": 1.0, "flood": kind, "rate": rate,
            "cpu": [{"user": 0.0, "system": 0.0}, {"user": 0.5, "system": 0.25}]}
    return line if target == "calm" else line | {"sent": {"sent": 49_000, "seconds": 1.0}}


class Floods(unittest.TestCase):
    SLOTS = [flooded(0, "calm", 1000, None, 0), flooded(0, "unread", 800), flooded(0, "gateway", 600),
             flooded(1, "gateway", 400), flooded(1, "unread", 400), flooded(1, "calm", 1000, None, 0),
             flooded(1, "gateway", 1, "replays")]

    def test_a_flood_is_compared_with_the_same_at_the_unread_socket_within_a_round(self):
        self.assertEqual(flood_table.paired(self.SLOTS, "junk", 50_000, "gateway", "unread"), [0.75, 1.0])
        self.assertEqual(flood_table.paired(self.SLOTS, "junk", 50_000, "unread", "calm"), [0.8, 0.4])

    def test_the_table_has_a_row_for_what_has_both(self):
        lines = flood_table.render(self.SLOTS).split("\n")
        self.assertEqual(len(lines), 2)
        words = lines[1].split()
        self.assertEqual((words[:4], words[8:11], words[-1]), (["junk", "50", "49", "2"], ["0.88", "0.75", "1.00"], "0.75"))

    def test_wrong_words_are_refused(self):
        for words in (["--kinds", "junk,nonsense"], ["--rates", "many"], ["--rounds", "0"]):
            self.assertEqual(run(*words).returncode, 2)


def run(*words):
    """Runs the program itself."""
    return subprocess.run([sys.executable, str(FLOOD), *words], capture_output=True, text=True, timeout=120)


@unittest.skipIf(sandbox.unavailable(), f"SKIPPED: {sandbox.unavailable()}")
class Runs(unittest.TestCase):
    def test_a_short_flood_is_measured_and_recorded(self):
        path = os.path.join(tempfile.mkdtemp(), "r.jsonl")
        done = run("--profile", os.environ.get("DATAPLANE_PERF_PROFILE", "lab"), "--no-build", "--kinds", "junk,spoofed,replays", "--rates", "2000", "--rounds", "1",
                   "--seconds", "0.2", "--record", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        _, slots = record.read(path)
        self.assertEqual(len(slots), 7)
        self.assertTrue(all(line["sent"]["sent"] > 0 for line in slots if line["target"] != "calm"))


if __name__ == "__main__":
    unittest.main()

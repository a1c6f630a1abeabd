"""Tests of the measuring itself. Run by `perf/run --self`."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from lab import sandbox
from measure import record, slot, stats, table

RUN = pathlib.Path(__file__).resolve().parent.parent / "run"


def made(tunnel, number, size, cpu=1.0):
    """A slot as it stands in a record."""
    return {"kind": "slot", "round": number, "tunnel": tunnel, "bytes": size, "seconds": 2.0, "retransmits": 3,
            "cpu": [{"user": cpu, "system": 0.5}, {"user": 0.0, "system": 0.5}], "machine": {"softirq": 0.25}}


class Figures(unittest.TestCase):
    def test_rates_and_costs_follow_from_a_slot(self):
        one = made("a", 0, 500_000_000)
        self.assertEqual(slot.gbits(one), 2.0)
        self.assertEqual(slot.cpu_per_gb(one), 4.0)
        self.assertEqual(slot.part_per_gb(one, "system"), 2.0)
        self.assertEqual(slot.softirq_per_gb(one), 0.5)

    def test_ratios_are_taken_within_a_round(self):
        slots = [made("a", 0, 100), made("b", 0, 300), made("b", 1, 100), made("a", 1, 200), made("b", 2, 5)]
        self.assertEqual(stats.ratios(slots, "b", "a", slot.gbits), [3.0, 0.5])

    def test_interval_holds_the_median_and_is_the_same_each_time(self):
        values = [1.0, 1.1, 1.2, 1.3, 9.0]
        low, high = stats.interval(values)
        self.assertTrue(low <= stats.median(values) <= high)
        self.assertEqual(stats.interval(values), (low, high))
        self.assertEqual(stats.interval([2.0]), (2.0, 2.0))

    def test_table_has_a_row_for_each_tunnel_that_carried_something(self):
        slots = [made("ours", 0, 500_000_000), made("theirs", 0, 250_000_000)]
        lines = table.render(slots, ["ours", "theirs", "silent"], "ours").split("\n")
        self.assertEqual(len(lines), 3)
        self.assertEqual(lines[2].split()[:6], ["theirs", "1", "1.00", "1.00", "1.00", "0.50"])


class Records(unittest.TestCase):
    def setUp(self):
        self.path = pathlib.Path(tempfile.mkdtemp()) / "r.jsonl"

    def test_what_is_written_is_read(self):
        book = record.Record(self.path)
        book.add({"kind": "run", "format": record.FORMAT})
        book.add(made("a", 0, 100))
        self.assertEqual(record.read(self.path), ({"kind": "run", "format": record.FORMAT}, [made("a", 0, 100)]))

    def test_a_corrupt_line_is_named(self):
        for text, part in (("{", "r.jsonl:1"), ('{"kind": "run", "format": 99}', "format 99"), ("[]", "r.jsonl:1"), ("", "no line")):
            self.path.write_text(text)
            with self.assertRaisesRegex(ValueError, part):
                record.read(self.path)


def run(*words, record_at=""):
    """Runs the program itself with short rounds."""
    command = [sys.executable, str(RUN), "--rounds", "1", "--seconds", "1", "--record", record_at, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@unittest.skipIf(sandbox.unavailable(), f"SKIPPED: {sandbox.unavailable()}")
class Runs(unittest.TestCase):
    def test_programs_that_fail_are_named_and_the_others_kept(self):
        path = os.path.join(tempfile.mkdtemp(), "r.jsonl")
        done = run("--peer", "false", "--peer", "no-such-program", "--peer", "wireguard-go", record_at=path)
        self.assertEqual(done.returncode, 1)
        self.assertIn("false: never connected", done.stderr)
        self.assertIn("no-such-program: the program is missing", done.stderr)
        self.assertIn("wireguard-go", done.stdout)
        told, slots = record.read(path)
        self.assertEqual([line["tunnel"] for line in slots], ["wireguard-go"])
        self.assertGreater(slots[0]["bytes"], 0)
        self.assertEqual(json.loads(json.dumps(told))["rounds"], 1)

    def test_nothing_to_measure_is_an_error(self):
        done = run("--peer", "true")
        self.assertEqual(done.returncode, 1)
        self.assertIn("nothing was measured", done.stderr)

    def test_wrong_words_are_refused(self):
        self.assertEqual(run("--outer", "5").returncode, 2)
        self.assertEqual(run("--rounds", "0").returncode, 2)


if __name__ == "__main__":
    unittest.main()

"""Tests of the measuring itself, without any traffic. Run by `perf/run --self`."""

import pathlib
import tempfile
import unittest

from measure import figures, record, stats, table


def made(tunnel, number, size, cpu=1.0):
    """A slot as it stands in a record."""
    return {"kind": "slot", "round": number, "tunnel": tunnel, "bytes": size, "seconds": 2.0, "retransmits": 3,
            "cpu": [{"user": cpu, "system": 0.5}, {"user": 0.0, "system": 0.5}], "machine": {"softirq": 0.25}}


def made_udp(tunnel, number, packets, cpu=1.0):
    """A slot of UDP packets."""
    return {"kind": "slot", "round": number, "tunnel": tunnel, "packets": packets, "sent": 2 * packets, "seconds": 2.0,
            "overflowed": 0, "resident_bytes": 1 << 20, "cpu": [{"user": cpu, "system": 0.0}], "machine": {"softirq": 0.5}}


class Figures(unittest.TestCase):
    def test_rates_and_costs_follow_from_a_slot(self):
        one = made("a", 0, 500_000_000)
        self.assertEqual(figures.gbits(one), 2.0)
        self.assertEqual(figures.cpu_per_gb(one), 4.0)
        self.assertEqual(figures.cpu_per_gb(one, "system"), 2.0)
        self.assertEqual(figures.softirq_per_gb(one), 0.5)

    def test_costs_of_a_packet_are_those_of_the_gateway_alone(self):
        one = made_udp("a", 0, 1_000_000)
        self.assertEqual(figures.kpps(one), 500)
        self.assertEqual(figures.per_cpu_second(one), 1000)
        self.assertEqual(figures.ns_per_packet(one), 1000)
        self.assertEqual(figures.softirq_per_packet(one), 500)
        self.assertEqual(figures.lost(one), 50)
        self.assertEqual(figures.per_cpu_second(made_udp("plain", 0, 1000, cpu=0.0)), 0)

    def test_ratios_are_taken_within_a_round(self):
        slots = [made("a", 0, 100), made("b", 0, 300), made("b", 1, 100), made("a", 1, 200), made("b", 2, 5)]
        self.assertEqual(stats.ratios(slots, "b", "a", figures.gbits), [3.0, 0.5])

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

    def test_table_of_packets_compares_them_by_cpu_second(self):
        slots = [made_udp("ours", 0, 1_000_000, cpu=0.5), made_udp("theirs", 0, 1_000_000, cpu=1.0)]
        lines = table.render(slots, ["ours", "theirs"], "ours", "udp").split("\n")
        self.assertEqual(lines[1].split()[:2], ["ours", "1"])
        self.assertEqual(lines[2].split()[2:6], ["1000.0", "1000.0", "1000.0", "0.50"])


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


if __name__ == "__main__":
    unittest.main()

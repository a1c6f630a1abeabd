"""Tests of the measuring itself, without any traffic. Run by `perf/run --self`."""

import pathlib
import runpy
import tempfile
import unittest
import xml.dom.minidom

from measure import calls, comparison, figures, plots, record, stats, table


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
        book.close()
        self.assertEqual(record.read(self.path), ({"kind": "run", "format": record.FORMAT}, [made("a", 0, 100)]))

    def test_a_corrupt_line_is_named(self):
        for text, part in (("{", "r.jsonl:1"), ('{"kind": "run", "format": 99}', "format 99"), ("[]", "r.jsonl:1"), ("", "no line")):
            self.path.write_text(text)
            with self.assertRaisesRegex(ValueError, part):
                record.read(self.path)


def told(commit, **more):
    """A run line."""
    return {"kind": "run", "format": record.FORMAT, "workload": "tcp", "command": "perf/run", "size": "64", "way": "out",
            "burst": 1, "peers_count": 100, "rounds": 1, "seconds": 2.0, "mtu": 1420, "flows": 1, "both": False, "rate": 0, "load": 0,
            "requests": 1000, "machine": {"commit": commit, "cpu": "x", "cores": 2, "kernel": "6"},
            "tunnels": [{"name": "ours"}, {"name": "theirs"}], **more}


class Comparisons(unittest.TestCase):
    def test_two_records_are_compared_by_themselves_and_by_their_bases(self):
        before = (told("one"), [made("ours", n, 100) for n in range(4)] + [made("theirs", n, 50) for n in range(4)])
        after = (told("two"), [made("ours", n, 200) for n in range(4)] + [made("theirs", n, 50) for n in range(4)])
        text = comparison.render(before, after)
        rows = {line.split()[0]: line.split() for line in text.split("\n") if line}
        self.assertEqual(rows["ours"][3], "2.000")
        self.assertEqual(rows["theirs"][3:9], ["1.000", "1.000-1.000", "0.500", "0.250", "0.500", "0.500-0.500"])
        self.assertIn("noise in A: not measured", text)

    def test_what_differs_between_runs_is_said_and_other_workloads_are_refused(self):
        slots = [made("ours", 0, 100)]
        self.assertIn("differs: mtu: 1420 in A, 9000 in B", comparison.render((told("a"), slots), (told("b", mtu=9000), slots)))
        with self.assertRaisesRegex(ValueError, "no figure in common"):
            comparison.render((told("a"), slots), (told("b", workload="udp"), slots))
        with self.assertRaisesRegex(ValueError, "no program is in both"):
            comparison.render((told("a"), slots), (told("b"), [made("other", 0, 1)]))

    def test_the_noise_is_the_ratio_of_the_first_to_itself(self):
        slots = [made("ours", 0, 100), made("ours #2", 0, 90)]
        self.assertAlmostEqual(comparison.noise(told("a"), slots, figures.gbits), 0.9)


class Plots(unittest.TestCase):
    def drawn(self, *records):
        folder = pathlib.Path(tempfile.mkdtemp())
        paths = []
        for number, (run, slots) in enumerate(records):
            paths.append(folder / f"r{number}.jsonl")
            book = record.Record(paths[-1])
            for line in (run, *slots):
                book.add(line)
            book.close()
        pictures = dict(plots.draw(paths))
        for picture in pictures.values():
            xml.dom.minidom.parseString(picture)
        return pictures

    def test_a_stream_gives_ratio_and_cost(self):
        pictures = self.drawn((told("a"), [made("ours", 0, 100), made("theirs", 0, 50)]))
        self.assertEqual(list(pictures), ["ratio-r0", "cost-r0"])
        self.assertIn("theirs 0.50", pictures["ratio-r0"])
        self.assertIn("TCP, 1 stream: 1 round of 2 s, MTU 1420", pictures["ratio-r0"])

    def test_programs_keep_their_colour_from_plot_to_plot(self):
        colours = plots._colours(["other", "gotatun", "other #2", "dataplane-wg"])
        self.assertEqual(colours["gotatun"], plots._colours(["gotatun"])["gotatun"])
        self.assertEqual(colours["other"], colours["other #2"])
        self.assertEqual(len({colours["other"], colours["gotatun"], colours["dataplane-wg"]}), 3)

    def test_packets_of_several_sizes_give_a_line_over_bytes(self):
        records = [(told("a", workload="udp", size=size), [made_udp("ours", 0, 1000)]) for size in ("64", "512")]
        self.assertIn("bytes", self.drawn(*records))

    def test_packets_that_differ_in_something_else_too_share_no_line(self):
        def one(size, peers):
            return told("a", workload="udp", size=size, peers_count=peers), [made_udp("ours", 0, 1000), made_udp("ours #2", 0, 9)]
        self.assertNotIn("bytes", self.drawn(one("64", 1), one("512", 1000)))
        pictures = self.drawn(one("64", 1), one("512", 1), one("512", 1000), one("imix", 1), one("512", 1))
        self.assertLess({"bytes", "peers"}, set(pictures))
        self.assertEqual(pictures["bytes"].count("<circle"), 2 + 1, "two sizes, and the legend")

    def test_floods_give_a_bar_for_each_kind_and_rate(self):
        slots = [{"kind": "slot", "round": number, "flood": kind, "rate": rate, "target": target, "seconds": 1.0, "bytes": size}
                 for number in range(3) for kind in ("junk", "spoofed") for rate in (50_000, 200_000)
                 for target, size in (("unread", 100), ("gateway", 80))]
        picture = self.drawn((told("a", workload="flood"), slots))["floods-r0"]
        self.assertEqual(picture.count("<rect"), 1 + 4)
        self.assertIn("200 k/s", picture)

    def test_requests_give_a_distribution(self):
        slot = {**made("ours", 0, 0), "requests": 4, "answers": 3, "buckets": [[1000, 2], [8000, 1]]}
        slot |= {"p99_ns": 8000, "p50_ns": 1000, "p999_ns": 8000}
        run = told("a", workload="latency", requests=1000, load=0)
        self.assertIn("latency-r0", self.drawn((run, [slot])))


class Instructions(unittest.TestCase):
    def test_a_rise_of_more_than_five_per_cent_fails_and_so_does_a_gain_that_is_not_kept(self):
        book = {"singles": 100.0}
        program = runpy.run_path(str(pathlib.Path(__file__).parents[1] / "instructions"), run_name="instructions")
        for counted, well in ((100, True), (104.9, True), (105.1, False), (95.1, True), (94, False)):
            done = list(program["verdicts"]({"singles": counted}, book))
            self.assertEqual([well], [verdict for _, verdict in done], counted)
        self.assertFalse(next(program["verdicts"]({"supers": 1.0}, book))[1])


class Calls(unittest.TestCase):
    def test_counts_and_batches_are_read_from_what_perf_writes(self):
        text = "# started on ...\n\n12,,raw_syscalls:sys_enter,100,100.00,,\n7,,syscalls:sys_enter_read,100,100.00,,\n<not counted>,,x\n"
        self.assertEqual(calls.parse_counts(text), {"all": 12, "read": 7})
        text = "  syscalls:sys_exit_sendmmsg: 0x10\n syscalls:sys_exit_recvmmsg: 0x1\nsyscalls:sys_exit_recvmmsg: 0xfffffffffffffff5\n"
        self.assertEqual(calls.parse_returns(text), {"recvmmsg": {"1": 1}, "sendmmsg": {"16": 1}})

    def test_calls_are_told_by_what_was_carried(self):
        line = {"tunnel": "ours", "packets": 2000, "calls": {"all": 30, "read": 20}, "batches": {"recvmmsg": {}, "sendmmsg": {"4": 1, "6": 1}}}
        head, row = calls.rows([line])
        self.assertEqual(dict(zip(head, row)), {"calls per 1,000 packets": "ours", "all": "15", "read": "10",
                                                "messages/recvmmsg": "-", "messages/sendmmsg": "5.0"})


if __name__ == "__main__":
    unittest.main()

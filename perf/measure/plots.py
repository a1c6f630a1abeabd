"""Which plots a set of records gives."""

import itertools
import json
import pathlib
import types

from . import figures, flood_table, record, session, stats, svg
from .svg import COLOURS, Chart

PARTS = (("user", "#0072b2"), ("system", "#e69f00"), ("softirq", "#999999"))
# Programs keep their colour from plot to plot; others take what these leave.
OWN = {"dataplane-wg": "#0072b2", "dataplane-wg+ring": "#56b4e9", "gotatun": "#d55e00", "boringtun": "#009e73", "wireguard-go": "#cc79a7",
       "null": "#999999", "null+ring": "#bbbbbb", "null+auto": "#666666", "plain": "#e69f00"}
SPARE = ("#000000", "#cc79a7", "#f0e442", "#8c564b")


def draw(paths):
    """Yields (name, picture) for each plot. Raises ValueError for a file that is no record."""
    records = []
    for path in paths:
        first = _first(path)
        if first.get("kind") == "calls":
            yield f"batches-{path.stem}", batches(first)
        if first.get("kind") in ("calls", "steering"):
            continue
        records.append((path.stem, *record.read(path)))
    for name, run, slots in records:
        if not slots:
            continue
        if run["workload"] == "flood":
            yield f"floods-{name}", floods(slots)
            continue
        yield f"ratio-{name}", ratio(run, slots)
        if run["workload"] in ("tcp", "udp"):
            yield f"cost-{name}", cost(run, slots)
        if run["workload"] == "latency":
            yield f"latency-{name}", latency(run, slots)
    packets = [(run, slots) for _, run, slots in records if run["workload"] == "udp" and slots]
    for key, title in (("size", "bytes"), ("peers_count", "peers")):
        for number, group in enumerate(_series_of(packets, key)):
            yield title if number == 0 else f"{title}-{number + 1}", series(group, key, title)


def _series_of(packets, key):
    """Records that differ in a number and in nothing else that was asked for; the first of those that do not differ at all."""
    rest = [other for other in ("size", "peers_count", "burst", "way", "sink") if other != key]
    groups = {}
    for run, slots in packets:
        if str(run[key]).isdigit():
            # Records from before there was another sink do not name it.
            alike = groups.setdefault(tuple(str(run.get(other, "process")) for other in rest), {})
            alike.setdefault(float(run[key]), (run, slots))
    return [list(alike.values()) for alike in groups.values() if len(alike) > 1]


def _first(path):
    """The first line of a file that another program of the lab wrote, or nothing."""
    first = pathlib.Path(path).read_text().split("\n", 1)[0]
    try:
        line = json.loads(first)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def _names(run, slots):
    there = {slot["tunnel"] for slot in slots}
    return [tunnel["name"] for tunnel in run["tunnels"] if tunnel["name"] in there]


def _colours(names):
    """A colour for each name; a program's second turn has that of its first."""
    programs = dict.fromkeys(name.split(" #")[0] for name in names)
    spare = itertools.cycle(colour for colour in SPARE if colour not in map(OWN.get, programs))
    of = {program: OWN.get(program) or next(spare) for program in programs}
    return {name: of[name.split(" #")[0]] for name in names}


def _about(run):
    return session.describe(types.SimpleNamespace(**run))


def ratio(run, slots):
    """Ratio to the first program in each round."""
    column, names = figures.COLUMNS[run["workload"]][0], _names(run, slots)
    base = names[0]
    all_ratios = {name: stats.ratios(slots, name, base, column.of) for name in names}
    all_ratios = {name: values for name, values in all_ratios.items() if values}
    top = max(max(values) for values in all_ratios.values()) * 1.1
    chart = Chart(f"{column.name}, ratio to {base} in each round", "", "ratio", (-0.5, len(all_ratios) - 0.5), (0, top),
                  names=[name.replace("dataplane", "dp") for name in all_ratios], about=_about(run))
    for at, (name, values) in enumerate(all_ratios.items()):
        colour = _colours(names)[name]
        for number, value in enumerate(values):
            chart.dot(chart.x(at - 0.2 + 0.4 * number / max(len(values) - 1, 1)), chart.y(value), colour)
        low, high = stats.interval(values)
        chart.line([(chart.x(at), chart.y(low)), (chart.x(at), chart.y(high))], "#000", 2)
        middle = stats.median(values)
        chart.line([(chart.x(at - 0.25), chart.y(middle)), (chart.x(at + 0.25), chart.y(middle))], "#000", 2)
        chart.legend(f"{name} {middle:.2f}", colour)
    return chart.render()


def cost(run, slots):
    """CPU by kind: per GB, or per packet."""
    tcp = run["workload"] == "tcp"
    per, softirq = ((figures.cpu_per_gb, figures.softirq_per_gb) if tcp
                    else (figures.ns_per_packet, figures.softirq_per_packet))
    names = [name for name in _names(run, slots) if name != "plain"]
    bars = []
    for name in names:
        mine = [slot for slot in slots if slot["tunnel"] == name]
        bars.append([stats.median([per(slot, part) for slot in mine]) for part in ("user", "system")]
                    + [stats.median([softirq(slot) for slot in mine])])
    unit = "CPU seconds per GB" if tcp else "CPU ns per packet"
    chart = Chart(f"{unit} (softirq: of the whole machine, in part the programs' own time)", "", unit,
                  (-0.5, len(names) - 0.5), (0, max(sum(bar) for bar in bars) * 1.05),
                  names=[name.replace("dataplane", "dp") for name in names], about=_about(run))
    for at, bar in enumerate(bars):
        base = 0
        for value, (_, colour) in zip(bar, PARTS):
            chart.bar(at, base, base + value, 0.3, colour)
            base += value
    for part, colour in PARTS:
        chart.legend(part, colour)
    return chart.render()


def latency(run, slots):
    """Share of requests that took longer, both axes logarithmic; lost ones took longer than all."""
    curves = {}
    for name in _names(run, slots):
        counts, asked = {}, 0
        for slot in (slot for slot in slots if slot["tunnel"] == name):
            asked += slot["requests"]
            for ns, count in slot["buckets"]:
                counts[ns] = counts.get(ns, 0) + count
        left, points = asked, []
        for ns, count in sorted(counts.items()):
            points.append((ns / 1e3, max(left, 0.5) / asked))
            left -= count
        curves[name] = points
    ends = [point for points in curves.values() for point in points]
    across = (min(x for x, _ in ends), max(x for x, _ in ends))
    chart = Chart("Requests and their answers", "µs", "share that took longer", across, (min(y for _, y in ends), 1), log_x=True,
                  log_y=True, about=_about(run))
    colours = _colours(curves)
    for name, points in curves.items():
        chart.curve(points, colours[name])
        chart.legend(name, colours[name])
    return chart.render()


def series(group, key, title):
    """CPU per packet over something in which records differ."""
    curves = {}
    for run, slots in group:
        for name in _names(run, slots):
            # The same program once more shows the noise of one record; it is no curve of its own.
            if name != "plain" and not name.endswith("#2"):
                mine = [figures.ns_per_packet(slot) for slot in slots if slot["tunnel"] == name]
                curves.setdefault(name, []).append((float(run[key]), stats.median(mine)))
    ends = [point for points in curves.values() for point in points]
    across = (min(x for x, _ in ends), max(x for x, _ in ends))
    run = group[0][0]
    fixed = f"{run['peers_count']} peers" if key == "size" else f"{run['size']} bytes"
    chart = Chart(f"CPU ns per packet {run['way']}, bursts of {run['burst']}, {fixed}", title, "ns", across, (0, max(y for _, y in ends) * 1.1),
                  log_x=across[0] > 0, marks=sorted({x for x, _ in ends}))
    colours = _colours(curves)
    for name, points in curves.items():
        chart.curve(sorted(points), colours[name], dots=True)
        chart.legend(name, colours[name])
    return chart.render()


def floods(slots):
    """What is left of the stream beside each flood at the gateway, of what the same flood at an unread socket leaves."""
    cases = dict.fromkeys((slot["flood"], slot["rate"]) for slot in slots if slot["target"] == "gateway")
    medians = {case: stats.median(flood_table.paired(slots, *case, "gateway", "unread")) for case in cases}
    kinds, rates = list(dict.fromkeys(kind for kind, _ in cases)), sorted({rate for _, rate in cases})
    chart = Chart("Goodput beside a flood at the gateway, of that beside it at an unread socket", "", "ratio",
                  (-0.5, len(kinds) - 0.5), (0, max(*medians.values(), 1) * 1.1), names=kinds)
    half = 0.4 / len(rates)
    for (kind, rate), ratio_of in medians.items():
        place = kinds.index(kind) + (2 * rates.index(rate) + 1 - len(rates)) * half
        chart.bar(place, 0, ratio_of, half * 0.9, COLOURS[rates.index(rate)])
    for at, rate in enumerate(rates):
        chart.legend(f"{rate // 1000} k/s", COLOURS[at])
    return chart.render()


def batches(calls):
    """How many messages a call moved."""
    counts = {name: {int(size): count for size, count in sizes.items()} for name, sizes in calls["batches"].items() if sizes}
    most = max(max(sizes) for sizes in counts.values())
    top = max(count / sum(sizes.values()) for sizes in counts.values() for count in sizes.values())
    chart = Chart(calls["what"], "messages per call", "share of calls", (0, most + 1), (0, top * 1.05))
    half = 0.4 / len(counts)
    for at, (name, sizes) in enumerate(counts.items()):
        whole = sum(sizes.values())
        for size, count in sizes.items():
            chart.bar(size + (2 * at + 1 - len(counts)) * half, 0, count / whole, half, COLOURS[at])
        chart.legend(name, COLOURS[at])
    return chart.render()


__all__ = ["batches", "cost", "draw", "floods", "latency", "ratio", "series", "svg"]

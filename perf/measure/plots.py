"""Which plots a set of records gives."""

import json
import pathlib

from . import figures, record, stats, svg
from .svg import COLOURS, Chart

PARTS = (("user", "#0072b2"), ("system", "#e69f00"), ("softirq", "#999999"))


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
        yield f"ratio-{name}", ratio(run, slots)
        if run["workload"] in ("tcp", "udp"):
            yield f"cost-{name}", cost(run, slots)
        if run["workload"] == "latency":
            yield f"latency-{name}", latency(run, slots)
    packets = [(run, slots) for _, run, slots in records if run["workload"] == "udp" and slots]
    for key, title in (("size", "bytes"), ("peers_count", "peers")):
        group = [one for one in packets if str(one[0][key]).isdigit()]
        if len({one[0][key] for one in group}) > 1:
            yield title, series(group, key, title)


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


def ratio(run, slots):
    """Ratio to the first program in each round."""
    column, names = figures.COLUMNS[run["workload"]][0], _names(run, slots)
    base = names[0]
    all_ratios = {name: stats.ratios(slots, name, base, column.of) for name in names}
    all_ratios = {name: values for name, values in all_ratios.items() if values}
    top = max(max(values) for values in all_ratios.values()) * 1.1
    chart = Chart(f"{column.name}, ratio to {base} in each round", "", "ratio", (-0.5, len(all_ratios) - 0.5), (0, top),
                  names=[name.replace("dataplane", "dp") for name in all_ratios])
    for at, values in enumerate(all_ratios.values()):
        colour = COLOURS[at % len(COLOURS)]
        for number, value in enumerate(values):
            chart.dot(chart.x(at - 0.2 + 0.4 * number / max(len(values) - 1, 1)), chart.y(value), colour)
        low, high = stats.interval(values)
        chart.line([(chart.x(at), chart.y(low)), (chart.x(at), chart.y(high))], "#000", 2)
        middle = stats.median(values)
        chart.line([(chart.x(at - 0.25), chart.y(middle)), (chart.x(at + 0.25), chart.y(middle))], "#000", 2)
        chart.legend(f"{list(all_ratios)[at]} {middle:.2f}", colour)
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
                  names=[name.replace("dataplane", "dp") for name in names])
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
    chart = Chart(f"{run['requests']:g} requests/s beside {run['load']:g} packets/s", "µs", "share that took longer", across,
                  (min(y for _, y in ends), 1), log_x=True, log_y=True)
    for at, (name, points) in enumerate(curves.items()):
        chart.curve(points, COLOURS[at % len(COLOURS)])
        chart.legend(name, COLOURS[at % len(COLOURS)])
    return chart.render()


def series(group, key, title):
    """CPU per packet over something that differs between records."""
    curves = {}
    for run, slots in group:
        for name in _names(run, slots):
            if name != "plain":
                mine = [figures.ns_per_packet(slot) for slot in slots if slot["tunnel"] == name]
                label = f"{name} {run['way']}, {run['burst']}"
                curves.setdefault(label, []).append((float(run[key]), stats.median(mine)))
    ends = [point for points in curves.values() for point in points]
    across = (min(x for x, _ in ends), max(x for x, _ in ends))
    chart = Chart(f"CPU ns per packet over {title} (way, burst)", title, "ns", across, (0, max(y for _, y in ends) * 1.1),
                  log_x=across[0] > 0)
    for at, (name, points) in enumerate(curves.items()):
        chart.curve(sorted(points), COLOURS[at % len(COLOURS)], dots=True)
        chart.legend(name, COLOURS[at % len(COLOURS)])
    return chart.render()


def batches(calls):
    """How many messages a call moved."""
    counts = {name: {int(size): count for size, count in sizes.items()} for name, sizes in calls["batches"].items() if sizes}
    most = max(max(sizes) for sizes in counts.values())
    top = max(count / sum(sizes.values()) for sizes in counts.values() for count in sizes.values())
    chart = Chart(f"messages per call: {calls['what']}", "messages", "share of calls", (0, most + 1), (0, top * 1.05))
    half = 0.4 / len(counts)
    for at, (name, sizes) in enumerate(counts.items()):
        whole = sum(sizes.values())
        for size, count in sizes.items():
            chart.bar(size + (2 * at + 1 - len(counts)) * half, 0, count / whole, half, COLOURS[at])
        chart.legend(name, COLOURS[at])
    return chart.render()


__all__ = ["batches", "cost", "draw", "latency", "ratio", "series", "svg"]

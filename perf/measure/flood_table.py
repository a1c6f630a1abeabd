"""The table of a measurement of floods."""

from . import stats
from .flood import gbits, sent_rate

HEAD = ("flood", "rate k/s", "sent k/s", "rounds", "calm", "unread", "gateway", "unread/calm", "gateway/unread", "least",
        "most", "95 %", "B's CPU")


def paired(slots, kind, rate, upper, lower):
    """The ratio of two targets' goodput in each round that has both."""
    def by_round(target):
        return {line["round"]: gbits(line) for line in slots
                if line["target"] == target and (target == "calm" or (line["flood"], line["rate"]) == (kind, rate))}
    above, below = by_round(upper), by_round(lower)
    return [above[number] / below[number] for number in above if below.get(number)]


def rows(slots):
    """A row for each kind and rate, in the order in which they were measured first."""
    yield HEAD
    calm = [gbits(line) for line in slots if line["target"] == "calm"]
    cases = dict.fromkeys((line["flood"], line["rate"]) for line in slots if line["target"] != "calm")
    for kind, rate in cases:
        mine = {target: [line for line in slots if (line["flood"], line["rate"], line["target"]) == (kind, rate, target)]
                for target in ("unread", "gateway")}
        ratios = paired(slots, kind, rate, "gateway", "unread")
        if not ratios:
            continue
        low, high = stats.interval(ratios)
        least, most = stats.spread(ratios)
        cpu = [(line["cpu"][1]["user"] + line["cpu"][1]["system"]) / line["seconds"] for line in mine["gateway"]]
        yield (kind, f"{rate / 1000:.0f}",
               f"{stats.median([sent_rate(line) for line in mine['gateway']]):.0f}", str(len(ratios)),
               f"{stats.median(calm):.2f}", f"{stats.median([gbits(line) for line in mine['unread']]):.2f}",
               f"{stats.median([gbits(line) for line in mine['gateway']]):.2f}",
               f"{stats.median(paired(slots, kind, rate, 'unread', 'calm')):.2f}",
               f"{stats.median(ratios):.2f}", f"{least:.2f}", f"{most:.2f}", f"{low:.2f}-{high:.2f}",
               f"{stats.median(cpu):.2f}")


def render(slots):
    """The whole table as text."""
    lines = list(rows(slots))
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return "\n".join("  ".join([line[0].ljust(widths[0])] +
                               [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]) for line in lines)

"""The table that a person reads."""

from . import slot as slots_of
from . import stats

HEAD = ("tunnel", "rounds", "Gbit/s", "least", "most", "ratio", "95 %", "CPU s/GB", "user", "system", "softirq", "retr.")


def rows(slots, names, base):
    """A row of text for each tunnel. Ratios are those of the same round to the tunnel `base`."""
    yield HEAD
    for name in names:
        mine = [slot for slot in slots if slot["tunnel"] == name]
        if not mine:
            continue
        rates = [slots_of.gbits(slot) for slot in mine]
        least, most = stats.spread(rates)
        ratios = stats.ratios(slots, name, base, slots_of.gbits)
        low, high = stats.interval(ratios) if ratios else (0, 0)
        yield (name, str(len(mine)), f"{stats.median(rates):.2f}", f"{least:.2f}", f"{most:.2f}",
               f"{stats.median(ratios):.2f}" if ratios else "-", f"{low:.2f}-{high:.2f}" if ratios else "-",
               f"{stats.median([slots_of.cpu_per_gb(slot) for slot in mine]):.2f}",
               f"{stats.median([slots_of.part_per_gb(slot, 'user') for slot in mine]):.2f}",
               f"{stats.median([slots_of.part_per_gb(slot, 'system') for slot in mine]):.2f}",
               f"{stats.median([slots_of.softirq_per_gb(slot) for slot in mine]):.2f}",
               f"{stats.median([slot['retransmits'] for slot in mine]):.0f}")


def render(slots, names, base):
    """The whole table as text."""
    lines = list(rows(slots, names, base))
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    text = []
    for line in lines:
        cells = [line[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)

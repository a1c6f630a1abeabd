"""The table that a person reads."""

from . import stats
from .figures import COLUMNS


def head(workload):
    """Names of the columns."""
    first, *rest = (column.name for column in COLUMNS[workload])
    return ("tunnel", "rounds", first, "least", "most", "ratio", "95 %", *rest)


def rows(slots, names, base, workload):
    """A row of text for each tunnel. Ratios are of the first figure, to the tunnel `base` in the same round."""
    yield head(workload)
    first, *rest = COLUMNS[workload]
    for name in names:
        mine = [slot for slot in slots if slot["tunnel"] == name]
        if not mine:
            continue
        values = [first.of(slot) for slot in mine]
        ratios = stats.ratios(slots, name, base, first.of)
        low, high = stats.interval(ratios) if ratios else (0, 0)
        yield (name, str(len(mine)), *(f"{value:.{first.digits}f}" for value in (stats.median(values), *stats.spread(values))),
               f"{stats.median(ratios):.2f}" if ratios else "-", f"{low:.2f}-{high:.2f}" if ratios else "-",
               *(f"{stats.median([column.of(slot) for slot in mine]):.{column.digits}f}" for column in rest))


def layout(lines):
    """Rows of text in columns, the first to the left."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = []
    for line in lines:
        cells = [line[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def render(slots, names, base, workload="tcp"):
    """The whole table as text."""
    return layout(list(rows(slots, names, base, workload)))

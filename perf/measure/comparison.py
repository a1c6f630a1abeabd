"""Two records side by side."""

import random

from . import stats, table
from .figures import COLUMNS

HEAD = ("tunnel", "A", "B", "B/A", "95 %", "to base in A", "in B", "B/A", "95 %")
# What must be alike for the figures to mean the same.
SHAPE = ("workload", "seconds", "flows", "reverse", "both", "size", "burst", "peers_count", "way", "sink", "rate", "load", "mtu",
         "outer")


def quotient(before, after, seed=1, draws=2000, share=0.95):
    """(ratio of medians, low, high) of two series that were measured apart."""
    source = random.Random(seed)
    ratios = sorted(stats.median(source.choices(after, k=len(after))) / stats.median(source.choices(before, k=len(before)))
                    for _ in range(draws))
    cut = int(draws * (1 - share) / 2)
    return stats.median(after) / stats.median(before), ratios[cut], ratios[-1 - cut]


def differences(first, second):
    """Lines that say what is not the same in the two runs."""
    a, b = first[0], second[0]
    for key in SHAPE:
        if a.get(key) != b.get(key):
            yield f"differs: {key}: {a.get(key)} in A, {b.get(key)} in B"
    for key in ("cpu", "cores", "kernel"):
        if a["machine"].get(key) != b["machine"].get(key):
            yield f"another machine: {key}: {a['machine'].get(key)} in A, {b['machine'].get(key)} in B"


def noise(run, slots, of):
    """The ratio of the first program to itself, or None."""
    base = run["tunnels"][0]["name"]
    found = stats.ratios(slots, f"{base} #2", base, of)
    return stats.median(found) if found else None


def render(first, second):
    """The whole comparison as text. Raises ValueError where there is nothing to compare."""
    (a_run, a_slots), (b_run, b_slots) = first, second
    if a_run["workload"] != b_run["workload"]:
        raise ValueError(f"A is of {a_run['workload']}, B of {b_run['workload']}: they have no figure in common")
    column = COLUMNS[a_run["workload"]][0]
    lines, bases = [HEAD], [run["tunnels"][0]["name"] for run in (a_run, b_run)]
    of = column.of
    for name in (tunnel["name"] for tunnel in a_run["tunnels"]):
        before, after = ([of(slot) for slot in slots if slot["tunnel"] == name] for slots in (a_slots, b_slots))
        if not before or not after or not stats.median(before):
            continue
        lines.append((name, *(f"{stats.median(values):.{column.digits}f}" for values in (before, after)),
                      *_cells(before, after), *_to_base(name, bases, a_slots, b_slots, of)))
    if len(lines) == 1:
        raise ValueError("no program is in both records")
    words = [f"A: {run_name(a_run)}", f"B: {run_name(b_run)}", *differences(first, second)]
    for letter, (run, slots) in (("A", first), ("B", second)):
        floor = noise(run, slots, of)
        words.append(f"noise in {letter}: {'not measured (--noise)' if floor is None else f'{floor:.3f}'}")
    return "\n".join([*words, "", f"{column.name}, medians", table.layout(lines)])


def run_name(run):
    """Commit and command of a run."""
    return f"{run['machine'].get('commit') or 'no commit'}{' and changes' if run['machine'].get('changed') else ''}: {run['command']}"


def _cells(before, after):
    ratio, low, high = quotient(before, after)
    return f"{ratio:.3f}", f"{low:.3f}-{high:.3f}"


def _to_base(name, bases, a_slots, b_slots, of):
    before = stats.ratios(a_slots, name, bases[0], of)
    after = stats.ratios(b_slots, name, bases[1], of)
    if not before or not after:
        return "-", "-", "-", "-"
    return f"{stats.median(before):.3f}", f"{stats.median(after):.3f}", *_cells(before, after)

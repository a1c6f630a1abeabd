"""Figures about figures: medians, spreads, ratios of what was measured in the same round."""

import random
import statistics


def median(values):
    """The middle value."""
    return statistics.median(values)


def spread(values):
    """(least, greatest)."""
    return min(values), max(values)


def interval(values, seed=1, draws=2000, share=0.95):
    """A bootstrap interval of the median: where it lies when the rounds are drawn anew. The same for the same values."""
    if len(values) < 2:
        return values[0], values[0]
    source = random.Random(seed)
    medians = sorted(statistics.median(source.choices(values, k=len(values))) for _ in range(draws))
    cut = int(draws * (1 - share) / 2)
    return medians[cut], medians[-1 - cut]


def ratios(slots, name, base, value):
    """The ratio of one tunnel's value to another's in each round that both have."""
    theirs = {slot["round"]: value(slot) for slot in slots if slot["tunnel"] == base}
    found = []
    for slot in slots:
        if slot["tunnel"] == name and theirs.get(slot["round"]):
            found.append(value(slot) / theirs[slot["round"]])
    return found

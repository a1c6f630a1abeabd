"""A mutation on disk: a head of `Name: value` lines, then a unified diff.

    Row: WG-13
    Breaks: a timestamp counts a second time
    Package: dataplane-proto
    Test: node::tests::exchange::an_initiation_counts_only_if_...

The line numbers of the diff are not looked at: a hunk belongs where its lines stand, and they must stand in one place
only. So patches live on while others edit the same files, and none is ever applied to the wrong place.
"""

import pathlib
import re
from dataclasses import dataclass

from . import MutationError

ROW = re.compile(r"[A-Z]{2}-\d+\Z")
FIELDS = ("Row", "Breaks", "Package", "Test")


@dataclass(frozen=True)
class Hunk:
    path: str
    before: str
    after: str


@dataclass(frozen=True)
class Mutation:
    name: str
    row: str
    breaks: str
    package: str
    test: str
    hunks: tuple


def load(folder):
    """All mutations of a folder, in the order of their rows."""
    found = [parse(path.stem, path.read_text()) for path in pathlib.Path(folder).glob("*.patch")]

    def order(mutation):
        prefix, number = mutation.row.split("-")
        return prefix, int(number), mutation.name

    return sorted(found, key=order)


def parse(name, text):
    """Reads one mutation. Raises MutationError where the head lacks a field or the diff cannot be read."""
    head, _, diff = text.partition("\n--- ")
    fields = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
    missing = [field for field in FIELDS if not fields.get(field, "").strip()]
    if missing:
        raise MutationError(f"{name}: its head lacks {', '.join(missing)}")
    if not ROW.match(fields["Row"]):
        raise MutationError(f"{name}: {fields['Row']} is no row: write it like WG-13")
    hunks = tuple(read_hunks(name, ("--- " + diff).splitlines()))
    if not hunks:
        raise MutationError(f"{name}: it changes nothing")
    return Mutation(name, fields["Row"], fields["Breaks"], fields["Package"], fields["Test"], hunks)


def read_hunks(name, lines):
    path, before, after = None, [], []

    def hunk():
        return [Hunk(path, "\n".join(before) + "\n", "\n".join(after) + "\n")] if before or after else []

    for line in lines:
        if line.startswith(("--- ", "+++ ", "@@")):
            yield from hunk()
            before, after = [], []
            if line.startswith("+++ b/"):
                path = line[6:].strip()
        elif line[:1] in (" ", "-", "+", ""):
            kind, rest = line[:1] or " ", line[1:]
            before += [rest] if kind in " -" else []
            after += [rest] if kind in " +" else []
        else:
            raise MutationError(f"{name}: {line!r} is no line of a unified diff")
    yield from hunk()


def apply(mutation, read):
    """The changed files as {path: text}; `read` gives the text of a path, or None where there is no such file."""
    texts = {}
    for hunk in mutation.hunks:
        text = texts.get(hunk.path) or read(hunk.path)
        if text is None:
            raise MutationError(f"{mutation.name}: {hunk.path} is no more: write the patch anew")
        # As whole lines: at the beginning of the file, or behind another line.
        places = ("\n" + text).count("\n" + hunk.before)
        if places != 1:
            where = "nowhere" if places == 0 else f"in {places} places"
            raise MutationError(
                f"{mutation.name}: its lines stand {where} in {hunk.path}: "
                + ("write the patch anew" if places == 0 else "give it more context")
            )
        texts[hunk.path] = ("\n" + text).replace("\n" + hunk.before, "\n" + hunk.after)[1:]
    return texts

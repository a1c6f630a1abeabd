#!/usr/bin/env python3
"""Sums up which regions of each crate were reached, and compares with the floors.

usage: fuzz/coverage.py EXPORT [FLOORS]   EXPORT: of `cargo llvm-cov report --json`; FLOORS: a file as floors.toml
       fuzz/coverage.py --self            shows that it counts right and that a floor can fail

A region is counted once, by its place in the file, and reached if it was in any copy of its function (generic functions are
compiled many times). Files of tests, and what stands behind `#[cfg(test)]` of an inline module, do not count. Exit code 1 below
a floor.
"""

import json
import pathlib
import re
import sys
import tomllib
import unittest

CODE = 0  # The kind of a region that is code (LLVM's CounterMappingRegion).
_CRATE = re.compile(r"(?:^|/)dataplane/([a-z]+)/src/(.+\.rs)$")
_TEST_FILE = re.compile(r"(?:^|[/_])(?:tests?|testing|model|[a-z]+_model)(?:\.rs$|/)")
_TEST_MODULE = re.compile(r"^\s*#\[cfg\((?:all\()?test\b.*\]\s*(?://.*)?\n(?:\s*#\[.*\]\n)*\s*(?:pub(?:\(.*\))? )?mod \w+ \{", re.M)


def test_line(text):
    """The line of the first inline module of tests, which by custom is the last thing in a file."""
    found = _TEST_MODULE.search(text)
    return text.count("\n", 0, found.start()) + 1 if found else None


def regions(export, read):
    """Returns {crate: {(file, place): reached}} of an export; `read` yields the text of a file."""
    crates, ends = {}, {}
    for function in export["data"][0]["functions"]:
        for line, column, last_line, last_column, count, file_id, _, kind in function["regions"]:
            name = function["filenames"][file_id]
            match = _CRATE.search(name)
            if kind != CODE or not match or _TEST_FILE.search(match[2]):
                continue
            if name not in ends:
                ends[name] = test_line(read(name))
            if ends[name] is not None and line >= ends[name]:
                continue
            places = crates.setdefault(match[1], {})
            place = (match[2], line, column, last_line, last_column)
            places[place] = places.get(place, False) or count > 0
    return crates


def judge(crates, floors):
    """Yields a line for each crate, and whether it holds its floor."""
    for crate in sorted(crates.keys() | floors.keys()):
        places = crates.get(crate, {})
        reached = sum(places.values())
        percent = 100 * reached / len(places) if places else 0.0
        floor = floors.get(crate)
        holds = floor is None or percent >= floor
        shown = "no floor" if floor is None else f"floor {floor:.1f} %" + ("" if holds else "  BELOW ITS FLOOR")
        yield f"{crate:<10} {reached:>6} of {len(places):>6} regions  {percent:5.1f} %  {shown}", holds


def by_file(crates):
    """Yields (regions missed, regions, crate, file), the most missed first."""
    files = {}
    for crate, places in crates.items():
        for (file, *_), reached in places.items():
            missed, count = files.get((crate, file), (0, 0))
            files[crate, file] = (missed + (not reached), count + 1)
    return sorted(((missed, count, *key) for key, (missed, count) in files.items()), reverse=True)


class Tests(unittest.TestCase):
    """`--self`."""

    def export(self, *functions):
        return {"data": [{"functions": [{"filenames": [name], "regions": rows} for name, rows in functions]}]}

    def test_a_region_counts_once_and_is_reached_by_any_copy(self):
        copy = lambda count: ("/x/dataplane/wire/src/ip.rs", [[3, 1, 3, 9, count, 0, 0, CODE]])  # noqa: E731
        found = regions(self.export(copy(0), copy(2), copy(0)), lambda _: "")
        self.assertEqual(found, {"wire": {("ip.rs", 3, 1, 3, 9): True}})

    def test_tests_gaps_and_other_crates_do_not_count(self):
        row = [3, 1, 3, 9, 1, 0, 0, CODE]
        names = ["/x/dataplane/wire/src/ip/tests.rs", "/x/dataplane/proto/src/node/tests/mod.rs",
                 "/x/dataplane/proto/src/gate_tests.rs", "/x/dataplane/io/src/poll/gate_model.rs", "/y/serde/src/lib.rs"]
        found = regions(self.export(*[(name, [row]) for name in names]), lambda _: "")
        self.assertEqual(found, {})
        inline = "fn f() {}\n#[cfg(test)]\nmod tests {\n    fn g() {}\n}\n"
        rows = [[1, 1, 1, 9, 1, 0, 0, CODE], [4, 1, 4, 9, 1, 0, 0, CODE], [1, 1, 1, 2, 1, 0, 0, 3]]
        found = regions(self.export(("/x/dataplane/wire/src/ip.rs", rows)), lambda _: inline)
        self.assertEqual(list(found["wire"]), [("ip.rs", 1, 1, 1, 9)])

    def test_a_module_of_tests_in_a_file_of_its_own_does_not_end_the_file(self):
        self.assertIsNone(test_line("#[cfg(test)]\n#[path = \"x_tests.rs\"]\nmod tests;\nfn f() {}\n"))
        self.assertEqual(test_line("a\n#[cfg(all(test, not(loom)))]\nmod tests {\n"), 2)

    def test_below_its_floor_a_crate_fails_and_so_does_one_that_is_missing(self):
        crates = {"wire": {"a": True, "b": False}}
        self.assertEqual([holds for _, holds in judge(crates, {"wire": 50.0})], [True])
        self.assertEqual([holds for _, holds in judge(crates, {"wire": 50.1})], [False])
        self.assertEqual([holds for _, holds in judge({}, {"wire": 1.0})], [False])


def main(arguments):
    if arguments == ["--self"]:
        suite = unittest.defaultTestLoader.loadTestsFromTestCase(Tests)
        return 0 if unittest.TextTestRunner().run(suite).wasSuccessful() else 1
    if not 1 <= len(arguments) <= 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    try:
        export = json.loads(pathlib.Path(arguments[0]).read_bytes())
        text = pathlib.Path(arguments[1]).read_text() if len(arguments) > 1 else ""
        floors = {crate: float(floor) for crate, floor in tomllib.loads(text).get("regions", {}).items()}
    except (OSError, ValueError) as error:
        print(f"fuzz/coverage.py: {' '.join(arguments)}: {error}", file=sys.stderr)
        return 2
    crates = regions(export, lambda name: pathlib.Path(name).read_text())
    held = True
    for line, holds in judge(crates, floors):
        print(line)
        held &= holds
    print("most missed, by file:")
    for missed, count, crate, file in by_file(crates)[:12]:
        print(f"  {missed:>5} of {count:>5}  {crate}/{file}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

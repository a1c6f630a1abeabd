"""Finds in the sources what a mutation names: its test, and that this test says which row it proves."""

import re

from . import MutationError

PACKAGE = re.compile(r'^name = "([^"]+)"', re.M)


def packages(files):
    """{package: folder} from all manifests below the top level."""
    found = {}
    for path, text in files.items():
        if path.endswith("/Cargo.toml") and (named := PACKAGE.search(text)):
            found[named[1]] = path[: -len("Cargo.toml")]
    return found


def check(mutation, files):
    """Raises MutationError unless the test exists in the package, is one, and names the row."""
    folder = packages(files).get(mutation.package)
    if folder is None:
        raise MutationError(f"{mutation.name}: there is no package {mutation.package}")
    blocks = list(heads(mutation.test.split("::")[-1], folder, files))
    if not blocks:
        raise MutationError(f"{mutation.name}: {mutation.package} has no test {mutation.test}")
    row = re.compile(rf"\b{mutation.row}\b|fn {mutation.row.lower().replace('-', '_')}_")
    if not any(row.search(block) for block in blocks):
        raise MutationError(f"{mutation.name}: {mutation.test} does not say that it proves {mutation.row}")


def heads(function, folder, files):
    """What stands above each test function of this name, with its first line: comments and attributes."""
    head = re.compile(rf"\s*fn {function}\(")
    for path, text in files.items():
        if not (path.startswith(folder) and path.endswith(".rs")) or f"fn {function}(" not in text:
            continue
        above = []
        for line in text.splitlines():
            if head.match(line) and any("#[test]" in attribute for attribute in above):
                yield "\n".join([*above, line])
            above = [*above, line] if re.match(r"\s*(//|#\[)", line) else []


def is_test_code(path, line, text):
    """Whether a line of a file is part of a test: of a file of tests, or of the tests at the end of a file."""
    if re.search(r"(^|/)tests?(/|\.rs$)|_tests?\.rs$", path):
        return True
    before = "\n".join(text.splitlines()[: line - 1])
    return re.search(r"^#\[cfg\(test\)\]\nmod \w+ \{", before, re.M) is not None

"""Laws for every text file: length, place in the tree, no path of a machine, stubs in scripts."""

import ast
import re

from . import Finding

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 100

# Files that may be longer, each with its reason. Only tables that a program wrote belong here.
LONG_FILES = {
    "Cargo.lock": "written by cargo",
}

_TOP = re.compile(
    r"^(Cargo\.(toml|lock)|README\.md|CHANGELOG\.md|CONTRIBUTING\.md|SECURITY\.md|LICENSE.*|rust-toolchain\.toml"
    r"|rustfmt\.toml|clippy\.toml|deny\.toml|\.[^/]+|\.(ci|cargo|config|github)/.*"
    r"|(dataplane|fuzz|benches|perf|scripts)/.*)$")
_MACHINE_PATH = re.compile(r"/(?:work|farm)/|/root/\.")
_STUB_WORDS = re.compile(r"\b(?:FIX" + "ME|XX" + r"X)\b")
_SOURCE = (".rs", ".py", ".sh", ".md", ".toml", ".bt")
_BINARY_FOLDERS = ("fuzz/corpus/",)


def is_source(path, text):
    """Whether a person reads and writes this file: by its suffix, or as a script without one."""
    return path.endswith(_SOURCE) or ("." not in path.rsplit("/", 1)[-1] and text.startswith("#!"))


def check(tree):
    """Yields a Finding for each file that breaks a law."""
    for path in tree.paths():
        if not _TOP.match(path):
            yield Finding(path, 1, "stands outside of the given top level")
        if path.startswith(_BINARY_FOLDERS):
            continue
        text = tree.text(path)
        lines = text.split("\n")
        for number, line in enumerate(lines, 1):
            if _MACHINE_PATH.search(line):
                yield Finding(path, number, "names a path of one machine")
        if is_source(path, text):
            yield from _source(path, text, lines)


def _source(path, text, lines):
    count = len(lines) - (lines[-1] == "")
    if count > FILE_LINES_MAX and path not in LONG_FILES:
        yield Finding(path, FILE_LINES_MAX, f"{count} lines, at most {FILE_LINES_MAX}: one room, or two?")
    first = lines[0]
    if path.endswith(".py") or (first.startswith("#!") and "python" in first):
        yield from _python(path, text)
    if first.startswith("#!") or path.endswith((".py", ".sh")):
        for number, line in enumerate(lines, 1):
            if _STUB_WORDS.search(line):
                yield Finding(path, number, f"`{_STUB_WORDS.search(line)[0]}` marks something unfinished")


def _python(path, text):
    try:
        parsed = ast.parse(text)
    except SyntaxError as error:
        yield Finding(path, error.lineno or 1, f"is not Python: {error.msg}")
        return
    for node in ast.walk(parsed):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = node.end_lineno - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                why = f"def {node.name} has {length} lines, at most {FUNCTION_LINES_MAX}"
                yield Finding(path, node.lineno, why)

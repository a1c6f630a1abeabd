"""Laws inside of Rust files: unsafe code, clocks and randomness, hot files, length of functions, stubs.

A single line may be excused by a comment `// tidy: REASON` at its end or on the line above it; a whole function, such as
one that allocates at construction, by the same comment directly above its `fn`.
"""

import re

from . import Finding, crates, rust

FUNCTION_LINES_MAX = 100

_UNSAFE = re.compile(r"\bunsafe\b")
# A declaration does nothing by itself; what is done stands in a block, or is promised by an impl.
_UNSAFE_NEEDS_REASON = re.compile(r"\bunsafe\s*(?:\{|impl\b)")
_IMPURE = re.compile(
    r"\bstd::time::(?:Instant|SystemTime|UNIX_EPOCH|\{[^}]*\b(?:Instant|SystemTime|UNIX_EPOCH)\b)"
    r"|\bSystemTime::now\b|\bthread_rng\b|\brand::rng\b|\bOsRng\b|\bSysRng\b|\bgetrandom\b|\bRandomState\b"
    r"|\bstd::(?:net::(?:UdpSocket|TcpStream|TcpListener)|thread|process|fs|env)\b")
_ALLOCATES = re.compile(
    r"\b(?:Vec|VecDeque|Box|Arc|Rc|String|HashMap|BTreeMap|HashSet|BTreeSet)(?:::<[^>]*>)?::(?:new|with_capacity|from)\b"
    r"|\bvec!|\bformat!|\.to_string\(|\.to_vec\(|\.to_owned\("
    r"|\.collect::<\s*(?:Vec|String|Box|Arc|HashMap|BTreeMap|HashSet|BTreeSet|VecDeque)\b")
_PRINTS = re.compile(r"\be?print(?:ln)?!|\bwrite(?:ln)?!|\btracing::(?:\w+!)?|\b(?:trace|debug|info|warn|error|event|span)!|\blog::")
_LOCKS = re.compile(r"\b(?:Mutex|RwLock|Condvar|Barrier)\b|\.lock\(\)")
_CLOCKS = re.compile(r"\bInstant::now\b|\bSystemTime::now\b|\bclock_gettime\b")
_STUBS = re.compile(r"\b(?:todo|unimplemented)!")
_STUB_WORDS = re.compile(r"\b(?:FIX" + "ME|XX" + r"X)\b")
_BARE_IGNORE = re.compile(r"#\s*\[\s*ignore\s*\]")

HOT = (("allocates", _ALLOCATES), ("formats or logs", _PRINTS), ("locks", _LOCKS), ("reads a clock", _CLOCKS))


class File:
    """One Rust file, split once for all laws."""

    def __init__(self, path, text, package):
        self.path, self.package = path, package
        self.code, self.comments = rust.split(text)
        self.code_lines = self.code.split("\n")
        self.comment_lines = self.comments.split("\n")
        self.tests = rust.test_lines(self.code)
        head = []
        for line in text.split("\n"):
            if line.strip() and not line.startswith(("//!", "#![")):
                break
            head.append(line)
        self.head = "\n".join(head)
        # Test programs and benches may do what the crate itself may not.
        self.is_shipped = "/src/" in path or path.startswith("src/")

        self.excused_functions = set()
        for _, first, last in rust.functions(self.code):
            if self._reason_at(first):
                self.excused_functions.update(range(first, last + 1))

    def _reason_at(self, line):
        """Whether the line (from 1) carries a reason, or the comment line above it does."""
        above = line - 2
        return "tidy:" in self.comment_lines[line - 1] or (
            above >= 0 and not self.code_lines[above].strip() and "tidy:" in self.comment_lines[above])

    def excused(self, line):
        """Whether a reason is given for the line, or for the function that it stands in."""
        return line in self.excused_functions or self._reason_at(line)

    def hits(self, pattern, tests_too=False):
        """Yields (line, matched text) outside of tests and of excused lines."""
        for match in pattern.finditer(self.code):
            line = rust.line_of(self.code, match.start())
            if (tests_too or line not in self.tests) and not self.excused(line):
                yield line, match[0]

    def find(self, line, why):
        return Finding(self.path, line, why)


def packages(tree):
    """Folder of each package, longest first, with its name."""
    found = {}
    for path in tree.named("Cargo.toml"):
        name = re.search(r'^\[package\]\s*\nname\s*=\s*"([^"]+)"', tree.text(path), re.M)
        if name:
            found[path.removesuffix("Cargo.toml")] = name[1]
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def check(tree):
    """Yields a Finding for each Rust file that breaks a law."""
    owners = packages(tree)
    for path in tree.ending(".rs"):
        package = next((name for folder, name in owners.items() if path.startswith(folder)), None)
        file = File(path, tree.text(path), package)
        for law in (_unsafe, _pure, _hot, _functions, _stubs):
            yield from law(file)


def _unsafe(file):
    if file.package not in crates.MAY_BE_UNSAFE:
        for match in _UNSAFE.finditer(file.code):
            yield file.find(rust.line_of(file.code, match.start()), "unsafe code stands in io and aead only")
        return
    said = re.search(r"^\s*//! Contains unsafe", file.comments, re.M)
    first = _UNSAFE_NEEDS_REASON.search(file.code)
    if first and not said:
        line = rust.line_of(file.code, first.start())
        yield file.find(line, "a file with unsafe code says so at its head: `//! Contains unsafe: why`")
    for match in _UNSAFE_NEEDS_REASON.finditer(file.code):
        line = rust.line_of(file.code, match.start())
        if not _has_safety(file, line):
            yield file.find(line, "unsafe without a `// SAFETY:` comment above it")


def _has_safety(file, line):
    """A SAFETY comment on the line itself, or in the comment above the statement that the line belongs to."""
    if "SAFETY:" in file.comment_lines[line - 1]:
        return True
    for above in range(line - 2, max(line - 22, -1), -1):
        if "SAFETY:" in file.comment_lines[above]:
            return True
        code = file.code_lines[above].strip()
        if code.endswith((";", "}", "{")) or (not code and not file.comment_lines[above].strip()):
            return False
    return False


def _pure(file):
    if file.package in crates.PURE and file.is_shipped:
        for line, what in file.hits(_IMPURE, tests_too=True):
            yield file.find(line, f"`{what}` in a pure crate: time and randomness come in as arguments")


def _hot(file):
    if not re.search(r"^//! Hot:", file.head, re.M):
        return
    for verb, pattern in HOT:
        for line, what in file.hits(pattern):
            yield file.find(line, f"`{what}` {verb} in a hot file (excuse a line, or a whole fn, by `// tidy: reason` above)")


def _functions(file):
    for name, first, last in rust.functions(file.code):
        if last - first + 1 > FUNCTION_LINES_MAX:
            why = f"fn {name} has {last - first + 1} lines, at most {FUNCTION_LINES_MAX}"
            yield file.find(first, why)


def _stubs(file):
    for line, what in file.hits(_STUBS, tests_too=True):
        yield file.find(line, f"`{what}` is a stub")
    for number, text in enumerate(file.comment_lines, 1):
        if _STUB_WORDS.search(text):
            yield file.find(number, f"`{_STUB_WORDS.search(text)[0]}` marks something unfinished")
    for line, what in file.hits(_BARE_IGNORE, tests_too=True):
        yield file.find(line, "an ignored test says why: #[ignore = \"...\"]")

"""A copy of the tree in which mutations are applied, built, and taken back, one after another."""

import json
import os
import pathlib
import re
import subprocess

from . import MutationError
from .patch import apply
from .source import is_test_code

BUILD_MAX_S, TEST_MAX_S = 1800, 120
PANIC = re.compile(r"panicked at ([^\s:]+):(\d+):\d+:\n([^\n]*)")


class Work:
    """The copy. It stays where it is between runs, with what was built, so that the next run need not begin anew."""

    def __init__(self, top, folder):
        self.top, self.copy, self.target = top, folder / "tree", folder / "target"
        self.environment = dict(os.environ, CARGO_TARGET_DIR=str(self.target), CARGO_TERM_COLOR="never",
                                RUST_BACKTRACE="0", PROPTEST_FAILURE_PERSISTENCE="off")

    def sync(self, paths):
        """Makes the copy equal to the tree. Files that are equal already keep their times, and are not built again."""
        wanted = set(paths)
        there = {str(path.relative_to(self.copy)) for path in self.copy.rglob("*") if path.is_file()}
        for gone in there - wanted:
            (self.copy / gone).unlink()
        for path in wanted:
            self.write(path, (self.top / path).read_bytes())

    def write(self, path, content):
        target = self.copy / path
        if not target.exists() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    def read(self, path):
        """The text of a file of the copy, or None. The tree itself may change meanwhile."""
        file = self.copy / path
        return file.read_text() if file.is_file() else None

    def build(self, package):
        """Builds the unit tests of a package; the program. Raises MutationError with the first error of the compiler."""
        command = ["cargo", "test", "--quiet", "--package", package, "--lib", "--no-run", "--message-format=json"]
        try:
            done = subprocess.run(command, cwd=self.copy, env=self.environment, capture_output=True, text=True,
                                  timeout=BUILD_MAX_S)
        except subprocess.TimeoutExpired:
            raise MutationError(f"{package} was not built within {BUILD_MAX_S} s, which proves nothing") from None
        messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode != 0:
            texts = [m["message"]["rendered"] for m in messages if m.get("message", {}).get("level") == "error"]
            raise MutationError("does not compile, which proves nothing:\n" + (texts or [done.stderr])[0].rstrip())
        programs = [m["executable"] for m in messages if m.get("executable") and m["profile"]["test"]]
        return programs[-1]

    def test(self, package, program, test):
        """Runs one test; None if it passes, else (path, line, what) of the panic that failed it."""
        try:
            # Where cargo runs tests: in the folder of their package.
            done = subprocess.run([program, "--exact", test], cwd=self.folder_of(package), env=self.environment,
                                  capture_output=True, text=True, timeout=TEST_MAX_S)
        except subprocess.TimeoutExpired:
            raise MutationError(f"{test} did not end within {TEST_MAX_S} s, which proves nothing") from None
        output = done.stdout + done.stderr
        if "running 1 test" not in output:
            raise MutationError(f"{package} has no test {test}")
        if done.returncode == 0:
            return None
        panics = PANIC.findall(output)
        if not panics:
            raise MutationError(f"{test} ended by code {done.returncode} without an assertion:\n{output[-800:]}")
        path, line, what = panics[-1]
        return path, int(line), what.strip()

    def folder_of(self, package):
        for manifest in self.copy.rglob("Cargo.toml"):
            if f'name = "{package}"' in manifest.read_text():
                return manifest.parent
        raise MutationError(f"there is no package {package}")

    def prove(self, mutation):
        """Applies a mutation, sees its test fail by assertion, takes the mutation back. Returns what failed, and where."""
        changed = apply(mutation, self.read)
        whole = {path: (self.copy / path).read_bytes() for path in changed}
        try:
            for path, text in changed.items():
                self.write(path, text.encode())
            failed = self.test(mutation.package, self.build(mutation.package), mutation.test)
        except MutationError as error:
            raise MutationError(f"{mutation.name}: {error}") from None
        finally:
            for path, content in whole.items():
                self.write(path, content)
        if failed is None:
            raise MutationError(f"{mutation.name}: {mutation.test} passes although {mutation.breaks}")
        path, line, what = failed
        text = changed.get(path) or self.read(path) or ""
        if not is_test_code(path, line, text):
            raise MutationError(f"{mutation.name}: it panics in {path}:{line} ({what}), not in its test")
        return f"{pathlib.Path(path).name}:{line}", what

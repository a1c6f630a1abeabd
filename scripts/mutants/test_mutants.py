"""Shows that a mutation that is wrong is refused, and by which words. Run by `scripts/mutate --self`."""

import pathlib
import tempfile
import unittest

from . import MutationError, patch, source, work

PATCH = """Row: WG-13
Breaks: a timestamp counts a second time
Package: p
Test: tests::a_timestamp_counts_once

--- a/p/src/lib.rs
+++ b/p/src/lib.rs
@@ -7,3 +7,3 @@
 fn accept() {
-    if new <= old {
+    if new < old {
         return;
"""
SOURCE = """fn accept() {
    if new <= old {
        return;
    }
}

#[cfg(test)]
mod tests {
    // WG-13
    #[test]
    fn a_timestamp_counts_once() {
        assert!(true);
    }

    fn helper() {}
}
"""
FILES = {"p/Cargo.toml": 'name = "p"\n', "p/src/lib.rs": SOURCE}


class Mutants(unittest.TestCase):
    def refused(self, words, do):
        with self.assertRaisesRegex(MutationError, words):
            do()

    def test_a_patch_is_applied_where_its_lines_stand_whatever_its_numbers_say(self):
        made = patch.apply(patch.parse("m", PATCH), lambda _: "// one more line\n" + SOURCE)
        self.assertEqual(made, {"p/src/lib.rs": "// one more line\n" + SOURCE.replace("<=", "<")})

    def test_a_patch_that_no_longer_applies_is_named(self):
        mutation = patch.parse("m", PATCH)
        self.refused("^m: its lines stand nowhere in p/src/lib.rs", lambda: patch.apply(mutation, lambda _: "fn accept()\n"))
        self.refused("^m: its lines stand in 2 places", lambda: patch.apply(mutation, lambda _: SOURCE + SOURCE))
        self.refused("^m: p/src/lib.rs is no more", lambda: patch.apply(mutation, lambda _: None))

    def test_a_head_or_diff_that_cannot_be_read_is_named(self):
        self.refused("^m: its head lacks Test$", lambda: patch.parse("m", PATCH.replace("Test:", "Tests:")))
        self.refused("WG13 is no row", lambda: patch.parse("m", PATCH.replace("WG-13", "WG13")))
        self.refused("changes nothing", lambda: patch.parse("m", PATCH[: PATCH.index("---")]))
        self.refused("no line of a unified diff", lambda: patch.parse("m", PATCH.replace("-    if", "?    if")))

    def test_the_test_must_exist_and_name_the_row(self):
        mutation = patch.parse("m", PATCH)
        source.check(mutation, FILES)
        other = patch.parse("m", PATCH.replace("WG-13", "WG-14"))
        self.refused("does not say that it proves WG-14", lambda: source.check(other, FILES))
        no_test = patch.parse("m", PATCH.replace("a_timestamp_counts_once", "helper"))
        self.refused("p has no test tests::helper", lambda: source.check(no_test, FILES))
        nowhere = patch.parse("m", PATCH.replace("Package: p", "Package: q"))
        self.refused("there is no package q", lambda: source.check(nowhere, FILES))

    def test_only_what_a_test_asserts_is_a_proof(self):
        self.assertTrue(source.is_test_code("p/src/lib.rs", 12, SOURCE))
        self.assertFalse(source.is_test_code("p/src/lib.rs", 2, SOURCE))
        self.assertTrue(source.is_test_code("p/src/shard/tests/data.rs", 2, ""))
        self.assertTrue(source.is_test_code("p/src/gate_tests.rs", 2, ""))


class Runs(unittest.TestCase):
    """With a small program in the place of a built test."""

    def run_with(self, script):
        with tempfile.TemporaryDirectory() as folder:
            top = pathlib.Path(folder)
            (top / "tree" / "p").mkdir(parents=True)
            (top / "tree" / "p" / "Cargo.toml").write_text('name = "p"\n')
            program = top / "program"
            program.write_text("#!/bin/sh\n" + script)
            program.chmod(0o755)
            return work.Work(top, top).test("p", str(program), "tests::it")

    def test_a_failed_assertion_is_told_with_its_place(self):
        said = "echo running 1 test; printf \"thread 'x' panicked at p/src/lib.rs:12:9:\\nassertion failed\\n\"; exit 101"
        self.assertEqual(self.run_with(said), ("p/src/lib.rs", 12, "assertion failed"))

    def test_what_passes_is_told_apart_from_what_is_not_there_and_from_what_dies(self):
        self.assertIsNone(self.run_with("echo running 1 test"))
        with self.assertRaisesRegex(MutationError, "has no test"):
            self.run_with("echo running 0 tests")
        with self.assertRaisesRegex(MutationError, "without an assertion"):
            self.run_with("echo running 1 test; kill -SEGV $$")

    def test_what_does_not_compile_is_no_proof(self):
        with tempfile.TemporaryDirectory() as folder:
            top = pathlib.Path(folder)
            (top / "tree").mkdir()
            with self.assertRaisesRegex(MutationError, "does not compile"):
                work.Work(top, top).build("p")


if __name__ == "__main__":
    unittest.main()

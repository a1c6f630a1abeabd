"""Shows that each law can fail, and that it leaves alone what it should. Run by `scripts/tidy --self`."""

import unittest

from laws import Tree, crates, rust, source, text

MANIFEST = """[package]
name = "{name}"
edition.workspace = true
license.workspace = true
publish.workspace = true

[lints]
workspace = true

[dependencies]
{dependencies}
"""


def tree(files, name="dataplane-proto", folder="dataplane/proto/", dependencies=""):
    """A tree with one package and these files below it."""
    texts = {folder + "Cargo.toml": MANIFEST.format(name=name, dependencies=dependencies)}
    texts.update({folder + path: body for path, body in files.items()})
    return Tree(texts)


def why(laws, made):
    """The findings of one module of laws, as `LINE WHY`."""
    return [f"{finding.line} {finding.why}" for finding in laws.check(made)]


class Laws(unittest.TestCase):
    def holds(self, laws, made):
        self.assertEqual(why(laws, made), [])

    def breaks(self, laws, made, *parts):
        found = why(laws, made)
        self.assertEqual(len(found), len(parts), found)
        for finding, part in zip(found, parts):
            self.assertIn(part, finding)


class Crates(Laws):
    ROOT = {"src/lib.rs": "#![forbid(unsafe_code)]\n"}

    def test_allowed_dependencies_pass(self):
        self.holds(crates, tree(self.ROOT, dependencies="dataplane-wire.workspace = true\nsubtle.workspace = true"))

    def test_a_dependency_against_the_direction_is_found_in_every_table(self):
        self.breaks(crates, tree(self.ROOT, dependencies="dataplane-io.workspace = true"), "must not know dataplane-io")
        self.breaks(crates, tree(self.ROOT, dependencies='x = { package = "dataplane-io", path = "../io" }'),
                    "must not know dataplane-io")
        for table in ("dev-dependencies", 'target."cfg(unix)".dependencies'):
            made = tree(self.ROOT, dependencies=f"[{table}]\ndataplane-traversal.workspace = true")
            self.breaks(crates, made, "must not know dataplane-traversal")

    def test_a_pure_crate_may_not_depend_on_sockets_or_randomness(self):
        self.breaks(crates, tree(self.ROOT, dependencies='rand = "0.9"'), "must not depend on rand")
        self.holds(crates, tree(self.ROOT, dependencies='[dev-dependencies]\nrand = "0.9"'))

    def test_a_crate_without_a_law_is_found(self):
        self.breaks(crates, tree(self.ROOT, name="dataplane-utils", folder="dataplane/utils/"), "has no law")

    def test_a_manifest_that_inherits_nothing_is_found(self):
        bare = Tree({"dataplane/proto/Cargo.toml": '[package]\nname = "dataplane-proto"\n',
                     "dataplane/proto/src/lib.rs": "#![forbid(unsafe_code)]\n"})
        self.breaks(crates, bare, "lints", "license", "edition", "publish")

    def test_each_crate_root_forbids_unsafe_code(self):
        self.breaks(crates, tree({"src/lib.rs": "// #![forbid(unsafe_code)]\n"}), "must say #![forbid(unsafe_code)]")
        made = tree({"src/lib.rs": "#![forbid(unsafe_code)]", "src/bin/tool.rs": "fn main() {}"})
        self.breaks(crates, made, "must say #![forbid(unsafe_code)]")

    def test_wire_is_no_std(self):
        made = tree(self.ROOT, name="dataplane-wire", folder="dataplane/wire/")
        self.breaks(crates, made, "must be no_std")


class Unsafe(Laws):
    def io(self, body):
        return tree({"src/udp.rs": body}, name="dataplane-io", folder="dataplane/io/")

    def test_unsafe_code_outside_of_its_crates_is_found(self):
        made = tree({"src/a.rs": "//! Contains unsafe: no.\nfn f() {\n    // SAFETY: none.\n    unsafe { g() }\n}\n"})
        self.breaks(source, made, "4 unsafe code stands in io and aead only")

    def test_the_word_in_strings_and_comments_is_no_code(self):
        self.holds(source, tree({"src/a.rs": "// unsafe\nconst A: &str = r#\"unsafe { \"#;\nconst B: char = '\"';\n"}))

    def test_a_file_with_unsafe_code_says_so_at_its_head(self):
        body = "//! Moves.\nfn f() {\n    // SAFETY: the pointer is ours.\n    unsafe { g() }\n}\n"
        self.breaks(source, self.io(body), "says so at its head")
        self.holds(source, self.io("//! Contains unsafe: system calls.\n" + body))

    def test_every_unsafe_block_has_its_reason(self):
        head = "//! Contains unsafe: system calls.\nfn f() {\n"
        self.breaks(source, self.io(head + "    // SAFETY: a.\n    a();\n    unsafe { g() }\n}\n"), "without a `// SAFETY:`")
        self.breaks(source, self.io(head + "}\nunsafe impl Send for F {}\n"), "without a `// SAFETY:`")
        self.holds(source, self.io(head + "    // SAFETY: long, over\n    // two lines.\n    let x =\n        unsafe { g() };\n}\n"))


class Pure(Laws):
    def test_clocks_and_randomness_are_found(self):
        for line in ("use std::time::Instant;", "use std::time::{Duration, SystemTime};", "let r = rand::rng();",
                     "let r = thread_rng();", "OsRng.fill(x);", "getrandom::fill(x);", "use std::net::UdpSocket;",
                     "std::thread::spawn(f);"):
            self.breaks(source, tree({"src/a.rs": f"fn f() {{ {line} }}\n"}), "in a pure crate")

    def test_durations_tests_folders_and_other_crates_are_free(self):
        self.holds(source, tree({"src/a.rs": "use std::time::Duration;\n"}))
        self.holds(source, tree({"tests/a.rs": "use std::time::Instant;\n"}))
        made = tree({"src/a.rs": "use std::time::Instant;\n"}, name="dataplane", folder="dataplane/engine/")
        self.holds(source, made)

    def test_a_reason_excuses_one_line(self):
        self.holds(source, tree({"src/a.rs": "use std::thread; // tidy: only the name\n"}))
        self.holds(source, tree({"src/a.rs": "// tidy: only the name\nuse std::thread;\n"}))
        self.breaks(source, tree({"src/a.rs": "// tidy: only the name\nfn f() {}\nuse std::thread;\n"}), "3 `std::thread`")


class Hot(Laws):
    def hot(self, body):
        return tree({"src/a.rs": "//! Walks.\n//!\n//! Hot:\n//! 1. In.\n#![allow(x)]\n" + body})

    def test_what_a_hot_file_may_not_do(self):
        lines = {"Vec::new()": "allocates", "Vec::<u8>::with_capacity(1)": "allocates", "Box::new(1)": "allocates",
                 "vec![0; 4]": "allocates", "format!(\"\")": "allocates", "x.to_string()": "allocates",
                 "x.iter().collect::<Vec<_>>()": "allocates", "println!()": "formats", "debug!(\"\")": "formats",
                 "tracing::info!(\"\")": "formats", "Mutex::default()": "locks", "RwLock::default()": "locks",
                 "Instant::now()": "reads a clock"}
        for call, verb in lines.items():
            self.breaks(source, self.hot(f"fn f() {{ let x = {call}; }}\n"), verb)

    def test_tests_and_excused_lines_of_a_hot_file_are_free(self):
        self.holds(source, self.hot("#[cfg(test)]\nmod tests {\n    fn f() { let x = vec![1]; }\n}\n"))
        self.holds(source, self.hot("fn new() { let x = Vec::new(); // tidy: at construction\n}\n"))
        self.holds(source, self.hot("/// Makes one.\n#[must_use]\n// tidy: at construction\npub fn new() {\n    vec![1];\n}\n"))
        self.breaks(source, self.hot("// tidy: at construction\nfn new() {}\nfn f() { vec![1]; }\n"), "8 `vec!`")
        self.breaks(source, self.hot("#[cfg(test)]\nuse x::Y;\nfn f() { let x = vec![1]; }\n"), "allocates")

    def test_a_file_that_is_not_hot_may_allocate(self):
        self.holds(source, tree({"src/a.rs": "//! Cold.\nfn f() { let x = vec![1]; }\n// Hot: not at the head\n"}))


class Size(Laws):
    def test_long_functions_and_files_are_found(self):
        long = "fn f(a: [u8; 4]) {\n" + "    g();\n" * 99 + "}\nfn short() {}\n"
        self.breaks(source, tree({"src/a.rs": long}), "1 fn f has 101 lines")
        self.holds(source, tree({"src/a.rs": long.replace("    g();\n", "", 1)}))
        self.breaks(text, tree({"src/a.rs": "//\n" * 601}), "601 lines")
        self.holds(text, tree({"src/a.rs": "//\n" * 600}))
        self.breaks(text, Tree({"scripts/a": "#!/usr/bin/env python3\ndef f():\n" + "    g()\n" * 100}), "101 lines")

    def test_files_stand_where_they_may(self):
        self.breaks(text, Tree({"src/main.rs": "", "docs/a.md": ""}), "outside", "outside")
        self.holds(text, Tree({".ci/run": "", "perf/run": "", "README.md": ""}))

    def test_stubs_and_paths_of_a_machine_are_found(self):
        self.breaks(source, tree({"src/a.rs": "fn f() { to" + "do!() }\n"}), "is a stub")
        self.breaks(source, tree({"src/a.rs": "// FIX" + "ME: later\n"}), "unfinished")
        self.breaks(source, tree({"src/a.rs": "#[ignore]\n#[test]\nfn f() {}\n"}), "says why")
        self.holds(source, tree({"src/a.rs": '#[ignore = "needs root"]\n#[test]\nfn f() {}\n'}))
        self.breaks(text, Tree({"scripts/a.sh": "#!/bin/sh\n# XX" + "X\ncd /wor" + "k/x\n"}), "path of one machine", "unfinished")


class Reading(unittest.TestCase):
    def test_code_and_comments_are_told_apart(self):
        code, comments = rust.split("let a = \"//\"; // b \"c\"\n/* /* d */ */ let e = '\\''; let f: &'static str = b\"g\\\"\";")
        self.assertEqual(code.split(), ["let", "a", "=", ";", "let", "e", "=", ";", "let", "f:", "&'static", "str", "=", "b", ";"])
        self.assertEqual(comments.split("\n")[0].strip(), '// b "c"')
        self.assertEqual(len(code), len(comments))

    def test_functions_without_a_body_do_not_swallow_the_next(self):
        code = "trait T {\n    fn a(x: [u8; 2]);\n    fn b() {\n    }\n}\nfn c() {}\n"
        self.assertEqual(list(rust.functions(code)), [("b", 3, 4), ("c", 6, 6)])


if __name__ == "__main__":
    unittest.main()

"""Laws between crates: who may depend on whom, what a manifest must say, which crates forbid unsafe code."""

import tomllib

from . import Finding, rust

# Which of our crates each one may name. `DESIGN`: a crate has one verb, and knows no more than the verb needs.
MAY_USE = {
    "dataplane-wire": set(),
    "dataplane-aead": set(),
    "dataplane-proto": {"dataplane-wire", "dataplane-aead"},
    "dataplane-traversal": {"dataplane-proto", "dataplane-wire"},
    "dataplane-relay": {"dataplane-proto", "dataplane-wire", "dataplane-aead"},
    "dataplane-io": {"dataplane-wire"},
    "dataplane": {"dataplane-wire", "dataplane-aead", "dataplane-proto", "dataplane-traversal",
                  "dataplane-relay", "dataplane-io"},
    "dataplane-gateway": {"dataplane", "dataplane-traversal", "dataplane-relay", "dataplane-proto",
                          "dataplane-io", "dataplane-wire"},
    "dataplane-sim": {"dataplane-proto", "dataplane-traversal", "dataplane-relay", "dataplane-wire",
                      "dataplane-aead"},
}
# Nothing depends on these, so they may use everything.
LEAVES = {"dataplane-fuzz", "dataplane-benches", "dataplane-perf"}

# Crates whose outputs are a function of their inputs.
PURE = {"dataplane-wire", "dataplane-aead", "dataplane-proto", "dataplane-traversal", "dataplane-relay"}
# Crates where unsafe code may stand, in files that say so at their head.
MAY_BE_UNSAFE = {"dataplane-io", "dataplane-aead"} | LEAVES
# What a pure crate has no use for: sockets, clocks, threads, system randomness.
IMPURE_DEPENDENCIES = {"libc", "rustix", "nix", "socket2", "mio", "tokio", "async-std", "smol", "quinn-udp", "rand",
                       "getrandom", "fastrand", "rtnetlink", "io-uring", "signal-hook", "core_affinity",
                       "crossbeam-channel", "rayon", "chrono", "time", "dataplane"}
# aead reads the processor's features and nothing else; a C or assembly library below it is its purpose.
NO_STD = {"dataplane-wire"}


def _tables(manifest):
    """Yields (kind, table of dependencies), those of targets included."""
    for where in [manifest, *manifest.get("target", {}).values()]:
        for kind in ("dependencies", "build-dependencies", "dev-dependencies"):
            yield kind, where.get(kind, {})


def check(tree):
    """Yields a Finding for each manifest or crate root that breaks a law."""
    for path in tree.named("Cargo.toml"):
        manifest = tomllib.loads(tree.text(path))
        package = manifest.get("package")
        if package is not None:
            yield from _manifest(path, package["name"], manifest)
            yield from _roots(tree, path, package["name"])


def _manifest(path, name, manifest):
    if name not in MAY_USE and name not in LEAVES:
        yield Finding(path, 1, f"{name} has no law: a new crate is entered in scripts/laws/crates.py")
        return
    if manifest.get("lints") != {"workspace": True}:
        yield Finding(path, 1, f"{name} does not inherit the workspace's lints")
    for key in ("license", "edition", "publish"):
        if manifest["package"].get(key) != {"workspace": True}:
            yield Finding(path, 1, f"{name} does not inherit `{key}` from the workspace")
    for kind, table in _tables(manifest):
        for key, spec in table.items():
            used = spec.get("package", key) if isinstance(spec, dict) else key
            ours = used == "dataplane" or used.startswith("dataplane-")
            if ours and used != name and name not in LEAVES and used not in MAY_USE[name]:
                yield Finding(path, 1, f"{name} must not know {used} ({kind})")
            if name in PURE and kind == "dependencies" and used in IMPURE_DEPENDENCIES:
                yield Finding(path, 1, f"{name} is pure and must not depend on {used}")


def _roots(tree, manifest_path, name):
    folder = manifest_path.removesuffix("Cargo.toml")
    for path in tree.under(folder + "src/"):
        rest = path.removeprefix(folder + "src/")
        is_root = rest in ("lib.rs", "main.rs") or (rest.startswith("bin/") and rest.count("/") == 1)
        if not is_root or not rest.endswith(".rs"):
            continue
        code, _ = rust.split(tree.text(path))
        packed = "".join(code.split())
        if name not in MAY_BE_UNSAFE and "#![forbid(unsafe_code)]" not in packed:
            yield Finding(path, 1, f"{name} must say #![forbid(unsafe_code)] at each crate root")
        if name in NO_STD and rest == "lib.rs" and "#![no_std]" not in packed:
            yield Finding(path, 1, f"{name} must be no_std")

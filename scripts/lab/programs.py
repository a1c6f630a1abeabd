"""The programs with wireguard-go's command line that the lab knows by name, and how each is started."""

import dataclasses
import os
import pathlib
import shlex
import shutil
import subprocess

TOP = pathlib.Path(__file__).resolve().parent.parent.parent


@dataclasses.dataclass(frozen=True)
class Kind:
    """A program: what it is called, and the words before the interface's name. A bare one knows no `wg`: it is given both
    endpoints on its command line."""

    name: str
    words: tuple
    env: tuple = ()
    bare: bool = False

    def command(self, interface):
        """The command line that serves an interface in the foreground."""
        return [*self.words, interface]

    def path(self):
        """Where the program is, or None."""
        return shutil.which(self.words[0])


def target(name, profile):
    """Where cargo puts a program of this project."""
    folder = os.environ.get("CARGO_TARGET_DIR", TOP / "target")
    return str(pathlib.Path(folder, profile, name))


def known(profile="lab"):
    """All programs by name. Ours come from cargo's folder of that profile."""
    ours = target("dataplane-wg", profile)
    null = target("null-tunnel", profile)
    kinds = [
        Kind("dataplane-wg", (ours, "-f")),
        Kind("dataplane-wg+ring", (ours, "-f", "--cipher", "ring")),
        # boringtun gives its rights away unless told not to, and then can open no second socket on its port.
        Kind("boringtun", ("boringtun-cli", "-f", "--disable-drop-privileges")),
        Kind("gotatun", ("gotatun", "-f", "--disable-drop-privileges", "-v", "error")),
        Kind("wireguard-go", ("wireguard-go", "-f"), (("WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD", "1"),)),
        Kind("null", (null, "-f"), bare=True),
        Kind("null+ring", (null, "-f", "--cipher", "ring"), bare=True),
        Kind("null+auto", (null, "-f", "--cipher", "auto"), bare=True),
    ]
    return {kind.name: kind for kind in kinds}


def resolve(text, profile="lab"):
    """A program by a known name, or a command with wireguard-go's command line."""
    kinds = known(profile)
    if text in kinds:
        return kinds[text]
    words = tuple(shlex.split(text))
    if not words:
        raise ValueError("an empty command names no program")
    if "-f" not in words and "--foreground" not in words:
        words += ("-f",)
    return Kind(os.path.basename(words[0]), words)


def version(kind):
    """What the program says of itself, on one line; empty where it says nothing."""
    try:
        done = subprocess.run([kind.words[0], "--version"], capture_output=True, text=True, timeout=5,
                              stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout or done.stderr).strip().split("\n")
    return lines[0] if done.returncode == 0 else ""

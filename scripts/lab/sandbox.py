"""Runs a program in mount, network and process namespaces of its own.

Names of namespaces, interfaces and control sockets need no random part, because no two sandboxes see each other's. When
the first process of a sandbox dies, by whatever signal, the kernel ends all others and takes the interfaces away: nothing
has to be cleaned up, and nothing can be forgotten.
"""

import os
import shutil
import subprocess
import sys

_MARK = "DATAPLANE_LAB_SANDBOX"


def _prefix():
    """The command that opens a sandbox: as root, or in a user namespace that makes root of anybody."""
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
    return command


def unavailable():
    """Why no sandbox is to be had here, or None."""
    if shutil.which("unshare") is None:
        return "unshare (Debian package util-linux) is missing"
    tried = subprocess.run([*_prefix(), "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        reason = tried.stderr.strip().split("\n")[-1]
        who = "root may not" if os.geteuid() == 0 else "this user is not root and may not"
        return f"{who} open namespaces here ({reason})"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return f"/dev/net/tun: {error.strerror}"
    return None


def command(*arguments):
    """The command line that runs these arguments in a new sandbox."""
    return [*_prefix(), "env", f"{_MARK}=1", *arguments]


def inside():
    """Whether this process runs in a sandbox."""
    return os.environ.get(_MARK) == "1"


def prepare():
    """The first thing a program does in its sandbox: a private /run, so that control sockets are private too."""
    if not inside():
        raise RuntimeError("not in a sandbox")
    _run("mount", "-t", "tmpfs", "none", "/run")
    for folder in ("/run/netns", "/run/wireguard", "/run/lock"):
        os.mkdir(folder)
    _run("ip", "link", "set", "lo", "up")


def reenter():
    """Starts this very program again in a sandbox and returns its exit code, or None where it is in one already."""
    if inside():
        prepare()
        return None
    return subprocess.run(command(sys.executable, *sys.argv)).returncode


def _run(*arguments):
    subprocess.run(arguments, check=True)

"""Input that is wrong: a clear message, an exit code or an errno, and nothing half applied."""

import errno
import os

from ..host import wait_until
from ..net import OUTER4
from ..scenario import check, equal, scenario
from ..traffic import must_ping


def _refused(host, command, *parts, prefix=()):
    """The program ends by itself with an error code and says each of these words."""
    done = host.run(*prefix, *command, check=False, seconds=10)
    said = done.stderr + done.stdout
    check(done.returncode not in (0, 101, 134), f"exit code {done.returncode} of {command}: {said}")
    check("panicked" not in said, said)
    for part in parts:
        check(part.lower() in said.lower(), f"`{part}` is not in what it said: {said}")
    return done.returncode


@scenario()
def test_interface_names_that_cannot_be(lab):
    host, kind = lab.net.a, lab.kinds[0]
    for name in ("sixteen-letters-", "a/b", "..", ""):
        _refused(host, kind.command(name), "name")
    _refused(host, [*kind.words], "usage")
    _refused(host, [*kind.words, "wg0", "wg1"])
    _refused(host, [*kind.words, "--no-such-option", "wg0"], "no-such-option")


@scenario()
def test_interface_that_exists(lab):
    host, kind = lab.net.a, lab.kinds[0]
    _refused(host, kind.command("out"), "out")
    check(OUTER4["a"] in host.ip("address show dev out"), "the interface that existed is as it was")
    a = lab.net.gateway(host, kind)
    a.start()
    _refused(host, kind.command(a.interface), a.interface)
    check(a.wg("show", a.interface).returncode == 0, "the first program still answers")


@scenario()
def test_missing_tun_device(lab):
    hide = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh")
    _refused(lab.net.a, lab.kinds[0].command("wg9"), "/dev/net/tun", prefix=hide)


@scenario()
def test_missing_rights(lab):
    drop = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    _refused(lab.net.a, lab.kinds[0].command("wg9"), "cap_net_admin", prefix=drop)


@scenario()
def test_port_in_use_leaves_the_old_one(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4)
    taker = a.host.start("python3", "-c", "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
                         "s.bind(('', 40000)); print('bound', flush=True); time.sleep(30)")
    wait_until(lambda: "bound" in taker.log(), 5, "the port is taken")
    done = a.set("listen-port", "40000", check=False)
    check(done.returncode != 0, "wg set succeeded with a port in use")
    check("in use" in done.stderr.lower(), done.stderr)
    equal(a.listen_port(), a.port, "port")
    must_ping(a.host, b.inner4)
    must_ping(b.host, a.inner4)


def _errno(answer):
    for line in answer.split("\n"):
        if line.startswith("errno="):
            return int(line.removeprefix("errno="))
    raise AssertionError(f"no errno in {answer!r}")


KEY = "ab" * 32


@scenario()
# WG-58: each wrong line is answered by an errno, and of its whole request nothing is applied.
def test_control_lines_that_are_wrong(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4)
    before = a.wg("showconf", a.interface).stdout
    for line in ("private_key=" + "ab" * 31, "private_key=" + "zz" * 32, "listen_port=65536", "listen_port=-1",
                 "listen_port=", "fwmark=x", "replace_peers=false", "no_such_key=1", "no equals sign", "=",
                 "public_key=" + KEY[:-1], f"public_key={KEY}\nendpoint=1.2.3.4", f"public_key={KEY}\nendpoint=a:1",
                 f"public_key={KEY}\nendpoint=1.2.3.4:99999", f"public_key={KEY}\nallowed_ip=1.2.3.4/33",
                 f"public_key={KEY}\nallowed_ip=::/129", f"public_key={KEY}\nallowed_ip=x/1",
                 f"public_key={KEY}\npersistent_keepalive_interval=65536", f"public_key={KEY}\npreshared_key=00",
                 f"public_key={KEY}\nprotocol_version=2", f"public_key={KEY}\nremove=1", "allowed_ip=1.2.3.4/32",
                 "preshared_key=" + KEY):
        # What comes before is right, and must not be applied either.
        request = f"set=1\nlisten_port=40001\n{line}\n\n"
        code = _errno(a.uapi(request))
        check(code in (-errno.EINVAL, -errno.EPROTO, errno.EINVAL, errno.EPROTO), f"errno {code} for {line!r}")
        equal(a.wg("showconf", a.interface).stdout, before, f"configuration after {line!r}")
    for request in ("get=2\n\n", "set=2\n\n", "nonsense\n\n", "get=1\nextra=1\n\n"):
        check(_errno(a.uapi(request)) != 0, f"{request!r} was taken")
    equal(_errno(a.uapi("set=1\n\n")), 0, "errno of an empty set")
    must_ping(a.host, b.inner4)


@scenario()
# WG-8: a key of low order and our own key are no error, and such a peer is never sent anything.
def test_own_and_low_order_keys_are_harmless(lab):
    a, b = lab.pair()
    a.set("peer", a.public, "allowed-ips", "10.50.0.0/16", "endpoint", "10.1.0.1:1")
    check(a.public not in a.peers(), "our own key is no peer of ours")
    for low in ("00" * 32, "01" + "00" * 31):
        equal(_errno(a.uapi(f"set=1\npublic_key={low}\nendpoint=10.1.0.1:9\nallowed_ip=10.51.0.0/16\n"
                            "persistent_keepalive_interval=1\n\n")), 0, "errno")
    seen = lab.net.r.start("dumpcap", "-q", "-i", "a", "-f", "udp port 9", "-c", "1", "-a", "duration:3",
                           "-w", str(lab.net.folder / "low.pcap"))
    a.host.run("ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "10.51.0.1", check=False)
    seen.wait(10)
    check("Packets captured: 0" in seen.log() or "0 packets" in seen.log(), seen.log())
    must_ping(a.host, b.inner4)


@scenario()
def test_control_socket_survives_rude_clients(lab):
    import socket

    a, b = lab.pair()
    held = []
    for text in (b"", b"get=1", b"\0" * 10_000, b"a" * 200_000, b"set=1\n" + b"private_key=" + b"0" * 100_000):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(1)
        client.connect(a.socket_path())
        try:
            client.sendall(text)
        except OSError:
            pass  # A client that is cut off has its answer.
        held.append(client)
    equal(_errno(a.uapi("get=1\n\n")), 0, "errno while others hold the socket")
    for client in held:
        client.close()
    must_ping(a.host, b.inner4)
    check(os.path.exists(a.socket_path()), "the control socket is still there")

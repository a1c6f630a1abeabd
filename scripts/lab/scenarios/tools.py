"""`wg` and `wg-quick` as people use them: setconf, syncconf, showconf, up and down."""

import os

from ..host import wait_until
from ..scenario import EACH, check, equal, scenario
from ..traffic import Iperf, full_sockets, must_ping


@scenario()
# WG-58: what `wg showconf` prints and `wg setconf` reads is the same configuration.
def test_showconf_and_setconf_round_trip(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4)
    a.set("peer", b.public, "persistent-keepalive", "30")
    printed = a.wg("showconf", a.interface).stdout
    path = a.host.folder / "round.conf"
    path.write_text(printed)
    a.wg("setconf", a.interface, str(path))
    equal(a.wg("showconf", a.interface).stdout, printed, "configuration after setconf of itself")
    must_ping(a.host, b.inner4, wait=6)


@scenario(EACH)
# WG-58: `wg syncconf` that changes nothing keeps session, counters and every packet under way.
def test_syncconf_that_changes_nothing_drops_nothing(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4)
    ours, other = (a, b) if lab.is_ours("a") else (b, a)
    before = ours.peer(other)
    path = ours.host.folder / "sync.conf"
    path.write_text(ours.wg("showconf", ours.interface).stdout)
    full = full_sockets(ours.host, other.host)
    running = Iperf(ours.host, other.host, other.inner4, seconds=2, udp="2M", length=1000)
    for _ in range(10):
        ours.wg("syncconf", ours.interface, str(path))
        must_ping(ours.host, other.inner4, count=10, interval=0.01)
    flow = running.finish()
    after = ours.peer(other)
    equal(after.handshake, before.handshake, "time of the handshake")
    check(after.tx_bytes > before.tx_bytes, "the counters go on")
    if lab.only_ours():
        full = full_sockets(ours.host, other.host) - full
        check(flow.lost <= full + flow.packets // 200, f"{flow.lost} of {flow.packets} datagrams lost")


@scenario()
# WG-58: update_only changes no peer that is not there, remove takes one away, replace_peers all others.
def test_syncconf_adds_changes_and_removes(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4)
    before = a.peer(b).handshake
    base = a.wg("showconf", a.interface).stdout
    other = "[Peer]\nPublicKey = " + "A" * 42 + "E=\nAllowedIPs = 10.77.0.0/16, fd77::/16\n"
    path = a.host.folder / "sync.conf"
    path.write_text(base + "\n" + other)
    a.wg("syncconf", a.interface, str(path))
    equal(len(a.peers()), 2, "peers after one was added")
    path.write_text(base)
    a.wg("syncconf", a.interface, str(path))
    equal(list(a.peers()), [b.public], "peers after it was taken away")
    equal(a.peer(b).handshake, before, "time of the handshake")
    must_ping(a.host, b.inner4)


@scenario(seconds=60)
# WG-58, WG-59: wg-quick up and down, with all traffic through the tunnel by firewall mark.
def test_wg_quick_up_and_down(lab):
    b = lab.net.gateway(lab.net.b, lab.kinds[1])
    a = lab.net.gateway(lab.net.a, lab.kinds[0])
    b.start()
    b.configure()
    b.add_peer(a)
    b.host.ip("address add 10.99.0.1/32 dev lo")
    path = a.host.folder / f"{a.interface}.conf"
    path.write_text(
        f"[Interface]\nPrivateKey = {a.private}\nAddress = {a.inner4}/24, {a.inner6}/64\nMTU = 1400\n"
        f"PostUp = wg set %i peer {b.public} persistent-keepalive 25\n\n"
        f"[Peer]\nPublicKey = {b.public}\nEndpoint = {lab.net.endpoint('b')}\nAllowedIPs = 0.0.0.0/0, ::/0\n")
    path.chmod(0o600)
    program = a.kind.path()
    env = {"WG_QUICK_USERSPACE_IMPLEMENTATION": program}
    up = a.host.run("wg-quick", "up", str(path), env=env, seconds=30)
    check(a.has_interface(), f"wg-quick up made no interface: {up.stderr}")
    wait_until(lambda: a.peer(b).handshake, 10, "a handshake")
    must_ping(a.host, b.inner4, wait=5)
    # An address that only the default route through the tunnel leads to.
    must_ping(a.host, "10.99.0.1")
    check("mtu 1400" in a.host.ip(f"link show {a.interface}"), "the MTU is set")
    equal(a.wg("show", a.interface, "fwmark").stdout.strip(), "0xca6c", "firewall mark")
    a.host.run("wg-quick", "down", str(path), env=env)
    wait_until(lambda: not a.has_interface(), 5, "the interface is gone")
    wait_until(lambda: not os.path.exists(a.socket_path()), 5, "the control socket is gone")
    name = os.path.basename(program)
    wait_until(lambda: _running(name) == 1, 5, f"only B's {name} runs")


def _running(name):
    count = 0
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            count += os.path.basename(os.readlink(f"/proc/{entry}/exe")) == name
        except OSError:
            pass
    return count


@scenario()
def test_daemon_detaches_and_serves(lab):
    a = lab.net.gateway(lab.net.a, lab.kinds[0])
    words = [word for word in a.kind.command(a.interface) if word not in ("-f", "--foreground")]
    done = a.host.run(*words, seconds=10)
    equal(done.returncode, 0, f"exit code of the first process: {done.stderr}")
    # Once the first process has ended the interface is there to be configured: wg-quick relies on that.
    check(a.wg("show", a.interface, check=False).returncode == 0, "the daemon answers as soon as its parent has ended")
    a.host.ip(f"link del {a.interface}")
    name = os.path.basename(a.kind.path())
    wait_until(lambda: _running(name) == 0, 5, "the daemon has left")


@scenario()
def test_listen_port_changes_under_traffic(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4)
    before = b.peer(a).handshake
    a.set("listen-port", "40000")
    equal(a.listen_port(), 40000, "port")
    must_ping(a.host, b.inner4, count=5, wait=5)
    check(b.peer(a).endpoint.endswith(":40000"), f"B sees the new port: {b.peer(a).endpoint}")
    equal(b.peer(a).handshake, before, "time of the handshake")
    # The old port is free again.
    a.host.run("python3", "-c", "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(('', 51820))")

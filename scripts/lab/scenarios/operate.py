"""`dataplane up`, `status`, `reload` and `down` between two hosts, and beside wg-quick."""

import json
import os
import pathlib

from ..host import wait_until
from ..scenario import check, equal, scenario
from ..traffic import Iperf, full_sockets, must_ping


def _program(lab):
    """The operator's program, which lies beside the one under test."""
    return str(pathlib.Path(lab.kinds[0].path()).with_name("dataplane"))


def _write(host, gateway, other, lines=(), peer_lines=(), allowed=None):
    """The file of a gateway whose peer is the other."""
    path = host.folder / f"{gateway.interface}.conf"
    allowed = allowed or f"{other.inner4}/32, {other.inner6}/128"
    path.write_text("\n".join([
        "[Interface]", f"PrivateKey = {gateway.private}", f"Address = {gateway.inner4}/24, {gateway.inner6}/64",
        f"ListenPort = {gateway.port}", *lines, "", "[Peer]", f"PublicKey = {other.public}", f"AllowedIPs = {allowed}",
        *peer_lines, ""]))
    path.chmod(0o600)
    return str(path)


def _pair(lab):
    """Two gateways brought up by files; A knows where B is. Their sockets share a directory, so their names differ."""
    a = lab.net.gateway(lab.net.a, lab.kinds[0])
    b = lab.net.gateway(lab.net.b, lab.kinds[1])
    paths = (_write(a.host, a, b, peer_lines=[f"Endpoint = {lab.net.endpoint('b')}"]), _write(b.host, b, a))
    for gateway, path in zip((a, b), paths):
        gateway.host.run(_program(lab), "up", path)
    return a, b, paths


def _kernel(host):
    """Everything that a file may change of a host; what the kernel does by itself is left out."""
    # Name and addresses; link-local ones come when the link has settled.
    fields = [line.split() for line in host.ip("-br address").splitlines()]
    text = "\n".join(" ".join(word for word in words[:1] + words[2:] if "fe80" not in word) for words in fields) + "\n"
    for words in ("route show table all", "-6 route show table all", "rule", "-6 rule"):
        lines = host.ip(words).splitlines()
        text += "\n".join(sorted(line for line in lines if "fe80" not in line and "ff00" not in line)) + "\n"
    return text


@scenario(seconds=60)
# FT-12: reloading the same changes nothing and costs nothing; another file changes what differs, and no session ends.
def test_up_status_reload_and_down(lab):
    before = [_kernel(host) for host in (lab.net.a, lab.net.b)]
    a, b, paths = _pair(lab)
    program = _program(lab)
    must_ping(a.host, b.inner4)
    must_ping(b.host, a.inner6)
    handshake = a.peer(b).handshake
    full = full_sockets(a.host, b.host)
    running = Iperf(a.host, b.host, b.inner4, seconds=3, udp="2M", length=1000)
    state = _kernel(a.host) + a.wg("showconf", a.interface).stdout
    for _ in range(10):
        said = a.host.run(program, "reload", paths[0]).stdout
        check("nothing has changed" in said, said)
    equal(_kernel(a.host) + a.wg("showconf", a.interface).stdout, state, "the state after reloading the same")
    # A broken file leaves the old one standing.
    text = pathlib.Path(paths[0]).read_text()
    pathlib.Path(paths[0]).write_text(text + "Colour = red\n")
    done = a.host.run(program, "reload", paths[0], check=False)
    equal(done.returncode, 2, f"exit code of a broken file: {done.stderr}")
    equal(_kernel(a.host) + a.wg("showconf", a.interface).stdout, state, "the state after a broken file")
    more = "[Peer]\nPublicKey = " + "A" * 42 + "E=\nAllowedIPs = 10.77.0.0/16\n"
    pathlib.Path(paths[0]).write_text(text + more)
    said = a.host.run(program, "reload", paths[0]).stdout
    check("1 added, 0 removed, 0 changed" in said, said)
    check("10.77.0.0/16" in a.host.ip(f"route show dev {a.interface}"), "the new route")
    flow = running.finish()
    full = full_sockets(a.host, b.host) - full
    check(flow.lost <= full + flow.packets // 200, f"{flow.lost} of {flow.packets} datagrams lost")
    equal(a.peer(b).handshake, handshake, "time of the handshake")
    report = json.loads(a.host.run(program, "status", "--json", a.interface).stdout)["interfaces"][0]
    peer = next(peer for peer in report["peers"] if peer["public_key"] == b.public)
    check(peer["tx_bytes"] > 500_000 and peer["path"] == "direct", f"the peer in the report: {peer}")
    check(peer["latest_handshake_age_s"] < 60, f"the age of the handshake: {peer}")
    page = a.host.run(program, "status", a.interface).stdout
    check(b.public in page and "handshake" in page, page)
    for gateway, path in zip((a, b), paths):
        gateway.host.run(program, "down", path)
    equal([_kernel(host) for host in (lab.net.a, lab.net.b)], before, "the state after down")
    equal(os.listdir("/run/wireguard"), [], "files left in the run directory")


def _same(lab, lines, peer_lines, allowed):
    """Brings A up by wg-quick and by `dataplane up`, and compares what the kernel says, then that nothing is left."""
    a = lab.net.gateway(lab.net.a, lab.kinds[0])
    b = lab.net.gateway(lab.net.b, lab.kinds[1])
    path = _write(a.host, a, b, lines, peer_lines, allowed)
    before = _kernel(a.host)
    env = {"WG_QUICK_USERSPACE_IMPLEMENTATION": lab.kinds[0].path()}
    seen = []
    for up, down in ((["wg-quick", "up"], ["wg-quick", "down"]), ([_program(lab), "up"], [_program(lab), "down"])):
        a.host.run(*up, path, env=env)
        links = a.host.ip(f"-o link show {a.interface}").split(" mtu ")[1].split()[0]
        seen.append((_kernel(a.host), links, a.wg("showconf", a.interface).stdout))
        a.host.run(*down, path, env=env)
        wait_until(lambda: not a.has_interface(), 5, "the interface is gone")
        equal(_kernel(a.host), before, f"the state after {down}")
    for what, one, other in zip(("addresses, routes, rules", "MTU", "configuration"), *seen):
        equal(other, one, what + " beside those of wg-quick")


@scenario()
# WG-59: the same file gives the same addresses, routes, MTU and peers as by wg-quick.
def test_up_is_as_wg_quick(lab):
    _same(lab, ["FwMark = 0x77"], [f"Endpoint = {lab.net.endpoint('b')}", "PersistentKeepalive = 25"],
          "10.9.0.2/32, 10.50.0.0/16, fd50::/32, fd09::2/128, 10.9.0.0/24")


@scenario()
def test_up_is_as_wg_quick_with_a_table(lab):
    _same(lab, ["Table = 1234", "MTU = 1380"], [], "10.50.0.0/16, fd50::/32, 0.0.0.0/0")


@scenario()
def test_up_is_as_wg_quick_without_routes(lab):
    _same(lab, ["Table = off"], [], "10.50.0.0/16, 0.0.0.0/0, ::/0")


@scenario()
# WG-59: default routes of both families by mark, policy rules and suppress_prefixlength.
def test_up_is_as_wg_quick_with_default_routes(lab):
    _same(lab, [], [f"Endpoint = {lab.net.endpoint('b')}"], "0.0.0.0/0, ::/0, 10.60.0.0/16")


@scenario(seconds=60)
# WG-59: everything goes through the tunnel but the tunnel's own datagrams.
def test_up_with_a_default_route_carries_everything(lab):
    b = lab.net.gateway(lab.net.b, lab.kinds[1])
    a = lab.net.gateway(lab.net.a, lab.kinds[0])
    program = _program(lab)
    paths = (_write(a.host, a, b, peer_lines=[f"Endpoint = {lab.net.endpoint('b')}"], allowed="0.0.0.0/0, ::/0"),
             _write(b.host, b, a))
    b.host.run(program, "up", paths[1])
    # Addresses that only the default route through the tunnel leads to.
    b.host.ip("address add 10.99.0.1/32 dev lo")
    b.host.ip("address add fd99::1/128 dev lo nodad")
    before = _kernel(a.host)
    a.host.run(program, "up", paths[0])
    must_ping(a.host, b.inner4, wait=5)
    must_ping(a.host, "10.99.0.1")
    must_ping(a.host, "fd99::1")
    tables = a.host.run("nft", "list", "ruleset").stdout
    check(f"ip daddr {a.inner4} fib saddr type != local drop" in tables, tables)
    a.host.run(program, "down", paths[0])
    equal(_kernel(a.host), before, "the state after down")
    equal(a.host.run("nft", "list", "tables").stdout, "", "tables of nft after down")

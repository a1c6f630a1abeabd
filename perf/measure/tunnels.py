"""Tunnels side by side between two namespaces: each with its own two processes, ports and inner addresses.

All stand for the whole run, so that slots can alternate; a tunnel that carries nothing costs nothing worth measuring.
"""

from lab.gateway import Gateway
from lab.host import Host, LabError, wait_until
from lab.traffic import ping

FIRST_PORT = 51820
CONNECT_SECONDS = 10


class Link:
    """Two hosts and a veth between them."""

    def __init__(self, folder, outer=4, mtu=1500):
        self.a, self.b = Host("a", folder), Host("b", folder)
        self.a.ip(f"link add name out mtu {mtu} type veth peer name out mtu {mtu} netns /run/netns/b")
        self.outer = {"a": "10.1.0.1", "b": "10.1.0.2"} if outer == 4 else {"a": "fd01::1", "b": "fd01::2"}
        for host in (self.a, self.b):
            address = f"{self.outer[host.name]}/24" if outer == 4 else f"{self.outer[host.name]}/64 nodad"
            host.ip(f"address add dev out {address}")
            host.ip("link set dev out up")

    def endpoint(self, name, port):
        """An outer address with a port, as `wg` writes it."""
        address = self.outer[name]
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Tunnel:
    """One program at both ends of a link."""

    def __init__(self, link, kind, name, number, mtu):
        self.kind, self.name, self._link, self._mtu = kind, name, link, mtu
        self._port = FIRST_PORT + number
        net = 20 + number
        self.ends = [Gateway(host, kind, f"t{number}{host.name}", f"10.{net}.0.{last}", f"fd{net:02d}::{last}")
                     for host, last in ((link.a, 1), (link.b, 2))]

    def start(self):
        """Starts both ends and waits until a packet gets through. Raises where none does."""
        for end, other in (self.ends, reversed(self.ends)):
            end.port, end.mtu = self._port, self._mtu
            if self.kind.bare:
                self._start_bare(end, other)
            else:
                end.start()
                end.configure()
        a, b = self.ends
        if not self.kind.bare:
            b.add_peer(a)
            a.add_peer(b, endpoint=self._link.endpoint("b", self._port))
        wait_until(lambda: self._alive() and ping(a.host, b.inner4, count=1, wait=1) == 1, CONNECT_SECONDS,
                   "a packet through the tunnel")

    def _start_bare(self, end, other):
        words = ["--mtu", self._mtu, "--local", self._link.endpoint(end.host.name, self._port),
                 "--remote", self._link.endpoint(other.host.name, self._port)]
        end.program = end.host.start(*self.kind.words, *words, end.interface)
        wait_until(lambda: end.has_interface() or not end.program.alive(), CONNECT_SECONDS, "its interface")
        self._check(end)
        end.address()

    def _alive(self):
        for end in self.ends:
            self._check(end)
        return True

    def _check(self, end):
        if not end.program.alive():
            said = end.program.log().strip().split("\n")[-1]
            raise LabError(f"its program on {end.host.name.upper()} ended with {end.program.exit_code()}: {said}")

    def still_runs(self):
        """Raises where one of the programs has ended."""
        self._alive()

    def begins(self):
        """Called right before a slot is measured; whoever counts something puts a call in its place."""

    def cpu(self):
        """[(user, system)] seconds of each end so far."""
        return [end.program.cpu_seconds() for end in self.ends]

    def pids(self):
        """Numbers of the processes."""
        return [end.program.pid for end in self.ends]

    def stop(self):
        """Ends both programs."""
        for end in self.ends:
            if end.program:
                end.program.stop(seconds=2)

    def offloads(self):
        """Which offloads the TUN devices have, as ethtool names them."""
        return offloads_of(self.ends[0].host, self.ends[0].interface)


def offloads_of(host, interface):
    """Offloads of an interface, as ethtool names them."""
    wanted = ("tcp-segmentation-offload", "tx-udp-segmentation", "rx-udp-gro-forwarding", "tx-checksumming")
    found = {}
    for line in host.run("ethtool", "-k", interface, check=False).stdout.splitlines():
        key, _, value = line.strip().partition(": ")
        if key in wanted:
            found[key] = value.split()[0] == "on"
    return found

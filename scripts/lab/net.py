"""The network of a scenario: A --- R --- B, two gateways and a router that forwards between them.

    A  out 10.1.0.2 fd01::2   R  a 10.1.0.1 fd01::1   b 10.2.0.1 fd02::1   B  out 10.2.0.2 fd02::2
    inside of the tunnel: A 10.9.0.1 fd09::1, B 10.9.0.2 fd09::2
"""

import pathlib

from .gateway import PORT, Gateway
from .host import Host

OUTER4 = {"a": "10.1.0.2", "b": "10.2.0.2"}
OUTER6 = {"a": "fd01::2", "b": "fd02::2"}
INNER4 = {"a": "10.9.0.1", "b": "10.9.0.2"}
INNER6 = {"a": "fd09::1", "b": "fd09::2"}
ROUTER4 = {"a": "10.1.0.1", "b": "10.2.0.1"}
ROUTER6 = {"a": "fd01::1", "b": "fd02::1"}


class Net:
    """The hosts, wired up."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.a, self.r, self.b = (Host(name, folder) for name in "arb")
        for side in (self.a, self.b):
            self._wire(side)
        self.r.write("/proc/sys/net/ipv4/ip_forward", 1)
        self.r.write("/proc/sys/net/ipv6/conf/all/forwarding", 1)

    def _wire(self, host):
        name = host.name
        self.r.ip(f"link add name {name} type veth peer name out netns /run/netns/{name}")
        # Addresses are usable at once: nobody else is here to have them.
        self.r.ip(f"address add {ROUTER4[name]}/24 dev {name}")
        self.r.ip(f"address add {ROUTER6[name]}/64 dev {name} nodad")
        self.r.ip(f"link set dev {name} up")
        host.ip(f"address add {OUTER4[name]}/24 dev out")
        host.ip(f"address add {OUTER6[name]}/64 dev out nodad")
        host.ip("link set dev out up")
        host.ip(f"route add default via {ROUTER4[name]}")
        host.ip(f"route add default via {ROUTER6[name]}")

    def outer_mtu(self, mtu):
        """Sets the MTU of every link between the gateways."""
        for name in ("a", "b"):
            self.r.ip(f"link set dev {name} mtu {mtu}")
        for host in (self.a, self.b):
            host.ip(f"link set dev out mtu {mtu}")

    def one_datagram_per_frame(self):
        """Switches segmentation offloads off, so that the router sees each datagram as it would be on a cable."""
        for host in (self.a, self.b):
            host.run("ethtool", "-K", "out", "tx-udp-segmentation", "off", "gso", "off", "tso", "off")
            self.r.run("ethtool", "-K", host.name, "gro", "off", "tx-udp-segmentation", "off", check=False)

    def endpoint(self, name, outer=4):
        """Where the gateway of that name is reached, as `wg` writes it."""
        return f"{OUTER4[name]}:{PORT}" if outer == 4 else f"[{OUTER6[name]}]:{PORT}"

    def gateway(self, host, kind):
        """A gateway on a host; its program is not started yet."""
        name = host.name
        return Gateway(host, kind, f"wg{name}", INNER4[name], INNER6[name])

    def pair(self, kinds, outer=4, psk=None, mtu=1420):
        """Two gateways that know each other. A knows where B is; B learns it of A: A will be the initiator."""
        a, b = self.gateway(self.a, kinds[0]), self.gateway(self.b, kinds[1])
        for gateway in (a, b):
            gateway.mtu = mtu
            gateway.start()
            gateway.configure()
        b.add_peer(a, psk=psk)
        a.add_peer(b, endpoint=self.endpoint("b", outer), psk=psk)
        return a, b

"""A sink in the kernel: counts packets where they enter a host, and drops them.

What a socket's packets cost from there on is the receiver's, and in a lab of one machine it is charged to whoever sends. With
this sink it is not done at all. Trains count once, so it is for single packets.
"""

import json

RULES = """
table netdev perf_sink {{
    chain in {{
        type filter hook ingress device "{device}" priority 0; policy accept;
        udp length > {least} counter drop
    }}
}}
"""
# UDP lengths above this are packets: keepalives and handshakes pass.
LEAST = 48
IP_UDP_LEN = 28


class Dropper:
    """Stands in for a helper that counts; the helper is there meanwhile, and gets nothing."""

    def __init__(self, helper, host, device):
        self._helper, self._host, self._device = helper, host, device
        self._found = None

    def begin(self):
        """From now on packets are dropped."""
        self._helper.begin()
        self._host.run("nft", "-f", "-", stdin=RULES.format(device=self._device, least=LEAST))

    def end(self):
        """Takes the rules away again."""
        listed = json.loads(self._host.run("nft", "-j", "list", "table", "netdev", "perf_sink").stdout)
        self._host.run("nft", "delete", "table", "netdev", "perf_sink")
        self._found = parse(listed)
        self._helper.end()

    def report(self):
        """Packets and bytes of payload above UDP."""
        self._helper.report()
        packets, size = self._found
        return {"packets": packets, "bytes": size - packets * IP_UDP_LEN, "batches": 0, "overflowed": 0}

    def kill(self):
        """Ends the helper."""
        self._host.run("nft", "delete", "table", "netdev", "perf_sink", check=False)
        self._helper.kill()


def parse(listed):
    """(packets, bytes) of the first counter of a listing."""
    for item in listed["nftables"]:
        for part in item.get("rule", {}).get("expr", ()):
            if "counter" in part:
                return part["counter"]["packets"], part["counter"]["bytes"]
    raise ValueError("no counter")

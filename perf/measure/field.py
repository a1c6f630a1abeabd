"""A gateway with many peers: the gateway on B is measured; `peers` on A plays all of them.

Every peer has an inner and an outer address of its own. Several gateways stand side by side, each with nets of its own.
"""

import base64
import subprocess

from lab.gateway import Gateway
from lab.host import LabError
from lab.programs import target

from .dropper import Dropper
from .helper import Helper
from .tunnels import FIRST_PORT, offloads_of

PEERS_PORT = 40000
SINK_PORT = 9
PLAIN_PORT = 9999
OUTER_NET = "100.64.0.0/10"
HOSTS_MAX = 65_000


def open_nets(link):
    """Makes A the owner of all outer addresses of peers, and tells B the way."""
    link.a.ip(f"route add local {OUTER_NET} dev lo")
    link.b.ip(f"route add {OUTER_NET} via {link.outer['a']}")


class Field:
    """One program as a gateway with many peers."""

    bare = False

    def __init__(self, link, kind, name, number, count, mtu, profile):
        self.kind, self.name, self.link, self.count, self.profile = kind, name, link, count, profile
        self.inner, self.outer = f"10.{128 + number}.0.0", f"100.{64 + number}.0.0"
        self._number = number
        self.gateway = Gateway(link.b, kind, f"g{number}", f"10.{20 + number}.0.1", f"fd{20 + number:02d}::1")
        self.gateway.port, self.gateway.mtu = FIRST_PORT + number, mtu

    def start(self):
        """Starts the gateway and tells it of all peers."""
        gateway = self.gateway
        gateway.start()
        gateway.configure()
        words = [target("peers", self.profile), "uapi", "--count", str(self.count), "--inner", self.inner]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode != 0:
            raise LabError(done.stderr.strip() or "peers told no keys")
        answer = gateway.uapi(f"set=1\n{done.stdout}\n", seconds=60)
        if "errno=0" not in answer.split():
            raise LabError(f"it refused its peers: {answer.strip()}")
        self.link.b.ip(f"route add {self.inner}/16 dev {gateway.interface}")
        self.still_runs()

    def peers(self, way, seconds, shape):
        """The peers, all connected, ready to send (`in`), to receive (`out`), or to shake hands."""
        gateway = self.gateway
        words = ["run", "--count", self.count, "--way", way, "--key", self._key(),
                 "--gateway", self.link.endpoint("b", gateway.port), "--port", PEERS_PORT + self._number,
                 "--outer", self.outer, "--inner", self.inner, "--to", f"{gateway.inner4}:{SINK_PORT}",
                 "--seconds", seconds]
        return Helper(self.link.a, "peers", *words, *shape, profile=self.profile, patience=60)

    def _key(self):
        return base64.b64decode(self.gateway.public).hex()

    def dropper(self, helper, outward):
        """The sink in the kernel: where packets come in on A, or out of the gateway's TUN on B."""
        return (Dropper(helper, self.link.a, "out") if outward
                else Dropper(helper, self.link.b, self.gateway.interface))

    def generator(self, seconds, shape):
        """Sends packets for all peers into the gateway."""
        words = ["send", "--net", self.inner, "--hosts", self.count, "--seconds", seconds]
        return Helper(self.link.b, "traffic", *words, *shape, profile=self.profile)

    def sink(self):
        """Takes what comes out of the gateway."""
        listen = f"{self.gateway.inner4}:{SINK_PORT}"
        return Helper(self.link.b, "traffic", "sink", "--listen", listen, profile=self.profile)

    def still_runs(self):
        """Raises where the gateway has ended."""
        program = self.gateway.program
        if not program.alive():
            said = program.log().strip().split("\n")[-1]
            raise LabError(f"its program ended with {program.exit_code()}: {said}")

    def begins(self):
        """Called right before a slot is measured; whoever counts something puts a call in its place."""

    def cpu(self):
        """[(user, system)] seconds of the gateway so far."""
        return [self.gateway.program.cpu_seconds()]

    def pids(self):
        """Number of the gateway's process."""
        return [self.gateway.program.pid]

    def resident_bytes(self):
        """Memory of the gateway."""
        return self.gateway.program.resident_bytes()

    def offloads(self):
        """Offloads of the gateway's TUN."""
        return offloads_of(self.link.b, self.gateway.interface)

    def stop(self):
        """Ends the gateway."""
        if self.gateway.program:
            self.gateway.program.stop(seconds=2)


class Plain:
    """No gateway: the same generators and sinks over the veth alone. What they reach is what they could ask of a gateway."""

    name = "plain"
    kind = None

    def __init__(self, link, count, profile):
        self.link, self.count, self.profile = link, count, profile
        self._net, self._generator = "100.127.0.0", None

    def start(self):
        """Nothing is needed."""

    def peers(self, way, seconds, shape):
        """As of a gateway; going out, the sink takes plain packets."""
        if way == "out":
            return Helper(self.link.a, "traffic", "sink", "--listen", f"0.0.0.0:{PLAIN_PORT}", profile=self.profile)
        words = ["run", "--count", self.count, "--way", way, "--key", "00" * 32, "--unconnected",
                 "--gateway", self.link.endpoint("b", PLAIN_PORT), "--port", PEERS_PORT - 1, "--outer", self._net,
                 "--inner", "10.127.0.0", "--to", f"10.127.0.1:{SINK_PORT}", "--seconds", seconds]
        self._generator = Helper(self.link.a, "peers", *words, *shape, profile=self.profile)
        return self._generator

    def dropper(self, helper, outward):
        """As of a gateway; there is no TUN, so it stands where packets come in."""
        return Dropper(helper, self.link.a if outward else self.link.b, "out")

    def generator(self, seconds, shape):
        """Sends to the addresses of peers, nothing between."""
        words = ["send", "--net", self._net, "--hosts", self.count, "--port", PLAIN_PORT, "--seconds", seconds]
        self._generator = Helper(self.link.b, "traffic", *words, *shape, profile=self.profile)
        return self._generator

    def sink(self):
        """Takes what the peers seal."""
        return Helper(self.link.b, "traffic", "sink", "--listen", f"0.0.0.0:{PLAIN_PORT}", profile=self.profile)

    def still_runs(self):
        """It does."""

    def begins(self):
        """Called right before a slot is measured; whoever counts something puts a call in its place."""

    def cpu(self):
        """Of the generator, which is what a packet costs its sender without a gateway."""
        return [self._generator.cpu_seconds()]

    def pids(self):
        """None."""
        return []

    def resident_bytes(self):
        """None."""
        return 0

    def offloads(self):
        """None."""
        return {}

    def stop(self):
        """Nothing to end."""

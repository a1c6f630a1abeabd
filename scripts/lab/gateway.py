"""A gateway: a host, a program that serves one WireGuard interface on it, and `wg` to speak with that program."""

import dataclasses
import os
import socket
import subprocess

from .host import LabError, wait_until

PORT = 51820


def generate_key():
    """A private key and its public key, as base64."""
    private = subprocess.run(["wg", "genkey"], check=True, capture_output=True, text=True).stdout.strip()
    public = subprocess.run(["wg", "pubkey"], check=True, capture_output=True, text=True, input=private).stdout.strip()
    return private, public


@dataclasses.dataclass(frozen=True)
class PeerState:
    """What `wg show` says of a peer."""

    preshared_key: str
    endpoint: str
    allowed_ips: tuple
    handshake: int
    rx_bytes: int
    tx_bytes: int
    keepalive: str


class Gateway:
    """One end of a tunnel."""

    def __init__(self, host, kind, interface, inner4, inner6):
        self.host, self.kind, self.interface = host, kind, interface
        self.inner4, self.inner6 = inner4, inner6
        self.private, self.public = generate_key()
        self.mtu = 1420
        self.program = None
        self.port = PORT

    def start(self):
        """Starts the program and waits until it answers."""
        self.program = self.host.start(*self.kind.command(self.interface), env=dict(self.kind.env))
        wait_until(self._answers, 10, f"{self.kind.name} answers on {self.interface}")

    def _answers(self):
        if not self.program.alive():
            raise LabError(f"{self.kind.name} ended with {self.program.exit_code()}: {self.program.log().strip()}")
        return os.path.exists(self.socket_path()) and self.wg("show", self.interface, check=False).returncode == 0

    def socket_path(self):
        """Where the program's control socket stands."""
        return f"/run/wireguard/{self.interface}.sock"

    def stop(self):
        """Ends the program; its interface goes with it."""
        self.program.stop()
        wait_until(lambda: not self.has_interface(), 5, f"{self.interface} is gone")

    def has_interface(self):
        """Whether the interface exists."""
        return self.host.run("ip", "link", "show", self.interface, check=False).returncode == 0

    def wg(self, *words, check=True, seconds=30):
        """Runs `wg` on this gateway."""
        return self.host.run("wg", *words, check=check, seconds=seconds)

    def set(self, *words, check=True):
        """Runs `wg set` for the interface."""
        return self.wg("set", self.interface, *words, check=check)

    def configure(self):
        """Gives the program its key and port, and the interface its addresses."""
        self.set("listen-port", str(self.port), "private-key", self._secret("key", self.private))
        self.address()

    def address(self):
        """Gives the interface its addresses and brings it up."""
        self.host.ip(f"link set dev {self.interface} mtu {self.mtu} up")
        # Programs open their sockets when they hear of it: what is sent before is lost, and sent again after five seconds.
        wait_until(lambda: f":{self.port} " in self.host.run("ss", "-Hluna").stdout, 5, f"{self.host.name} listens")
        self.host.ip(f"address add {self.inner4}/24 dev {self.interface}")
        self.host.ip(f"address add {self.inner6}/64 dev {self.interface} nodad")

    def add_peer(self, other, endpoint=None, psk=None, keepalive=None):
        """Makes the other gateway a peer of this one."""
        words = ["peer", other.public, "allowed-ips", f"{other.inner4}/32,{other.inner6}/128"]
        if endpoint:
            words += ["endpoint", endpoint]
        if psk:
            words += ["preshared-key", self._secret("psk", psk)]
        if keepalive:
            words += ["persistent-keepalive", str(keepalive)]
        self.set(*words)

    def _secret(self, name, value):
        path = self.host.folder / f"{self.interface}.{name}"
        path.write_text(value + "\n")
        path.chmod(0o600)
        return str(path)

    def peers(self):
        """What `wg show` says of each peer, by public key."""
        found = {}
        for line in self.wg("show", self.interface, "dump").stdout.splitlines()[1:]:
            key, psk, endpoint, ips, handshake, rx, tx, keepalive = line.split("\t")
            ips = () if ips == "(none)" else tuple(ips.split(","))
            found[key] = PeerState(psk, endpoint, ips, int(handshake), int(rx), int(tx), keepalive)
        return found

    def peer(self, other):
        """What `wg show` says of the other gateway."""
        return self.peers()[other.public]

    def listen_port(self):
        """The port that the program says it listens on."""
        return int(self.wg("show", self.interface, "listen-port").stdout)

    def uapi(self, text, seconds=5):
        """Speaks the control protocol itself, for what `wg` would not say. Returns the answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(seconds)
            control.connect(self.socket_path())
            control.sendall(text.encode())
            answer = b""
            while not answer.endswith(b"\n\n"):
                more = control.recv(65536)
                if not more:
                    break
                answer += more
        return answer.decode()

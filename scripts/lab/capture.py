"""What crosses the router, as tshark understands it."""

import signal

from .host import LabError, wait_until


class Capture:
    """A capture at the router, on the side of A or B."""

    def __init__(self, net, side="a", port=51820):
        self._router, self._port = net.r, port
        self._file = net.folder / f"capture-{side}.pcap"
        # dumpcap writes at once and ends cleanly; tshark only reads.
        self._dumpcap = net.r.start("dumpcap", "-q", "-P", "-i", side, "-f", f"udp port {port}", "-w", str(self._file))
        wait_until(lambda: self._file.exists() and self._file.stat().st_size >= 24, 10, "the capture has begun")

    def finish(self):
        """Ends the capture."""
        self._dumpcap.stop(signal.SIGINT)
        if not self._file.exists():
            raise LabError(f"no capture: {self._dumpcap.log().strip()}")

    def _tshark(self, *words):
        return self._router.run("tshark", "-n", "-r", str(self._file), "-d", f"udp.port=={self._port},wg", *words,
                                seconds=120).stdout

    def messages(self):
        """(source, WireGuard type, bytes above UDP) of every datagram, in order."""
        found = []
        fields = ("-e", "ip.src", "-e", "ipv6.src", "-e", "wg.type", "-e", "udp.length")
        for line in self._tshark("-T", "fields", *fields).splitlines():
            source4, source6, kind, length = line.split("\t")
            found.append((source4 or source6, int(kind) if kind else None, int(length) - 8))
        return found

    def complaints(self):
        """Frames that tshark does not take for well-formed WireGuard: one line each."""
        bad = "_ws.malformed or _ws.short or _ws.expert.severity >= \"Warning\" or not wg"
        return self._tshark("-Y", bad).splitlines()

    def payloads(self):
        """The bytes above UDP of every datagram, in order."""
        return [bytes.fromhex(line) for line in self._tshark("-T", "fields", "-e", "udp.payload").splitlines()]

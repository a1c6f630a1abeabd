"""What flows: pings, and iperf3 over TCP and UDP."""

import dataclasses
import json
import re

from .host import LabError, wait_until

IPERF_PORT = 5201


def ping(host, address, count=3, size=56, interval=0.02, fragment=True, wait=7, flood=False):
    """Pings and returns how many answers came, waiting so many seconds for the last: longer than until a handshake is retried."""
    command = ["ping", "-n", "-q", "-c", count, "-s", size, "-W", wait]
    command += ["-f"] if flood else ["-i", interval]
    if not fragment:
        command += ["-M", "do"]
    done = host.run(*command, address, seconds=count * interval + wait + 15, check=False)
    answer = re.search(r"(\d+) received", done.stdout)
    if not answer:
        raise LabError(f"ping {address}: {(done.stderr or done.stdout).strip()}")
    return int(answer[1])


def must_ping(host, address, count=3, **options):
    """Pings, and raises unless every answer comes."""
    got = ping(host, address, count, **options)
    if got != count:
        raise LabError(f"{host.name}: {got} of {count} answers from {address} ({options})")


def full_sockets(*hosts):
    """Datagrams that the kernel dropped on these hosts so far, because the program that they were for did not read in time.
    On a busy machine that happens to the generator too, and says nothing of the tunnel."""
    count = 0
    for host in hosts:
        for table, prefix in (("snmp", "Udp: "), ("snmp6", "Udp6RcvbufErrors")):
            for line in host.run("cat", f"/proc/net/{table}").stdout.splitlines():
                if table == "snmp6" and line.startswith(prefix):
                    count += int(line.split()[1])
                elif line.startswith(prefix) and line.split()[1].isdigit():
                    # Columns: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors ...
                    count += int(line.split()[5])
    return count


@dataclasses.dataclass(frozen=True)
class Flow:
    """What iperf3 saw of a flow."""

    received_bytes: int
    seconds: float
    lost: int
    packets: int
    retransmits: int
    slices: tuple

    @property
    def gbits(self):
        """Delivered, in Gbit/s."""
        return self.received_bytes * 8 / self.seconds / 1e9


class Iperf:
    """A running client, with its server on the other side."""

    def __init__(self, client_host, server_host, address, seconds=1, udp=None, flows=1, reverse=False, length=None,
                 rate=None, port=IPERF_PORT):
        self.server = server_host.start("iperf3", "-s", "-1", "-B", address, "-p", port)
        pattern = rf"[:\]]{port}\b"
        wait_until(lambda: re.search(pattern, server_host.run("ss", "-Hltn").stdout), 5, "iperf3 listens")
        command = ["iperf3", "-J", "-c", address, "-p", port, "-t", seconds, "-P", flows, "--connect-timeout", 5000]
        command += ["-u", "-b", udp] if udp else []
        command += ["-R"] if reverse else []
        command += ["-b", rate] if rate else []
        command += ["-l", length] if length else []
        self.client = client_host.start(*command)
        self.seconds, self.udp = seconds, udp

    def finish(self, grace=20):
        """Waits for the end and returns what was seen."""
        try:
            self.client.wait(self.seconds + grace)
        finally:
            self.client.stop()
            self.server.stop()
        return parse(self.client.log(), bool(self.udp))


def parse(text, udp):
    """The figures of an iperf3 report in JSON."""
    try:
        report = json.loads(text)
    except json.JSONDecodeError:
        raise LabError(f"iperf3 said: {text.strip()[-300:]}") from None
    if "error" in report:
        raise LabError(f"iperf3: {report['error']}")
    end = report["end"]
    slices = tuple(part["sum"]["bytes"] for part in report["intervals"])
    if udp:
        total = end["sum"]
        lost, packets = total["lost_packets"], total["packets"]
        share = (packets - lost) / packets if packets else 0
        return Flow(int(total["bytes"] * share), total["seconds"], lost, packets, 0, slices)
    total = end["sum_received"]
    return Flow(total["bytes"], total["seconds"], 0, 0, end["sum_sent"].get("retransmits", 0), slices)


def iperf(*arguments, **options):
    """Runs iperf3 to its end; arguments as for `Iperf`."""
    return Iperf(*arguments, **options).finish()

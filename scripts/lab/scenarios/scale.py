"""Many peers in one configuration: how long it takes and what it costs."""

import base64
import random
import time

from ..scenario import equal, scenario
from ..traffic import must_ping

PEERS = 10_000
IPS_EACH = 10


def _configuration(gateway, seed=1):
    source = random.Random(seed)
    parts = [f"[Interface]\nPrivateKey = {gateway.private}\nListenPort = {gateway.port}\n"]
    for number in range(PEERS):
        key = base64.b64encode(source.randbytes(32)).decode()
        high, low = divmod(number, 256)
        ips = [f"10.{100 + high}.{low}.{ip}/32" for ip in range(IPS_EACH // 2)]
        ips += [f"fd{high + 16:02x}:{low:x}:{ip:x}::/48" for ip in range(IPS_EACH - IPS_EACH // 2)]
        parts.append(f"[Peer]\nPublicKey = {key}\nAllowedIPs = {', '.join(ips)}\n")
    return "\n".join(parts)


@scenario(seconds=120)
# WG-58: 10,000 peers and 100,000 allowed IPs in one `wg setconf`; the first peer still talks.
def test_ten_thousand_peers_in_one_setconf(lab):
    a, b = lab.pair()
    must_ping(a.host, b.inner4, count=1)
    before = a.program.resident_bytes()
    path = a.host.folder / "many.conf"
    peer = (f"\n[Peer]\nPublicKey = {b.public}\nEndpoint = {lab.net.endpoint('b')}\n"
            f"AllowedIPs = {b.inner4}/32, {b.inner6}/128\n")
    path.write_text(_configuration(a) + peer)
    since = time.monotonic()
    a.wg("setconf", a.interface, str(path), seconds=60)
    took = time.monotonic() - since
    grown = a.program.resident_bytes() - before
    peers = a.peers()
    equal(len(peers), PEERS + 1, "peers")
    equal(sum(len(state.allowed_ips) for state in peers.values()), PEERS * IPS_EACH + 2, "allowed IPs")
    must_ping(a.host, b.inner4, count=3, wait=6)
    since = time.monotonic()
    a.wg("syncconf", a.interface, str(path), seconds=60)
    sync = time.monotonic() - since
    must_ping(a.host, b.inner4, count=3)
    return (f"setconf {took:.2f} s, the same again by syncconf {sync:.2f} s, resident {before / 1e6:.1f} MB "
            f"and then {grown / 1e6:.1f} MB more: {grown / PEERS:.0f} bytes per peer")

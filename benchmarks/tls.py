"""What keys cost between members: sealing and opening a heartbeat, a handshake, and judging new keys.

Needs no right and no network. `make bench-tls`, or python benchmarks/tls.py [--json FILE] [--rounds N].
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from report import Row, arguments, measure, publish

from kubevip_election_raft._tls.channel import TlsChannel
from kubevip_election_raft._tls.key_store import KeyStore
from kubevip_election_raft._tls.keys import Keys, load_keys

HEARTBEAT = bytes(250)


def meet(one: Keys, other: Keys) -> tuple[TlsChannel, TlsChannel]:
    """Both sides of a handshake, one after the other."""
    asking, serving = TlsChannel(one.client, is_server=False), TlsChannel(other.server, is_server=True)
    data, has_met = b"", False
    while not has_met:
        has_met = asking.shake(data)
        serving.shake(asking.outgoing())
        data = serving.outgoing()
    return asking, serving


def run(rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        store = KeyStore(Path(folder, "keys"))
        store.create(("n1", "n2"))
        one, other = (load_keys(store.folder / name, name) for name in ("n1", "n2"))
        asking, serving = meet(one, other)
        sealed = [asking.seal(HEARTBEAT) for _ in range(rounds + 1)]
        sealer, _ = meet(one, other)
        return [
            measure("seal a heartbeat of 250 bytes", rounds, lambda: sealer.seal(HEARTBEAT)),
            measure("open one", rounds, lambda: serving.open(sealed.pop(0))),
            measure("handshake, both sides", max(rounds // 10, 10), lambda: meet(one, other)),
            measure("judge the keys of a folder", max(rounds // 50, 5), lambda: load_keys(store.folder / "n1", "n1")),
        ]


if __name__ == "__main__":
    options = arguments(__doc__, rounds=1000)
    publish(run(options.rounds), options.json)

"""What the kernel fence costs: a renewal, a takeover, a withdrawal, an installation. Needs root; touches nothing.

Runs in a network namespace of its own. `make bench-fence`, or python benchmarks/fence.py [--json FILE] [--rounds N].
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from ipaddress import IPv4Address
from pathlib import Path

from report import Row, arguments, enter_network_namespace, measure, publish, row

from kubevip_announce_arp._fence import TICK_SECONDS, Fence
from kubevip_announce_arp._fence_tables import FenceTables, table_name
from kubevip_announce_arp._kernel import Kernel, Place, Work
from kubevip_announce_arp._nftables_socket import NftablesSocket
from kubevip_announce_arp._rtnetlink_socket import AddressSocket


def make_fence(groups: int, addresses: int) -> Fence:
    fence = Fence(FenceTables(table_name("bench")), NftablesSocket())
    fence.install()
    members = [(f"g{n % groups}", IPv4Address(0x0A140000 + n).packed) for n in range(addresses)]
    fence.add(members)
    return fence


def run(rounds: int) -> list[Row]:
    results: list[Row] = []
    for groups, addresses in ((1, 1), (1, 1000), (1, 10000), (100, 1000)):
        fence = make_fence(groups, addresses)
        names = [f"g{n}" for n in range(groups)]
        what = f"renew {groups} group(s) with {addresses} address(es)"

        def renew(fence: Fence = fence, names: list[str] = names) -> None:
            until = time.monotonic() + 1
            assert len(fence.renew(dict.fromkeys(names, until)).opened) == len(names)

        results.append(measure(what, rounds, renew))
        results.append(measure(f"  look whether the tables are there ({addresses})", rounds, fence.check))
        if groups == 1:
            results.append(measure(f"  put the tables in place ({addresses})", max(rounds // 50, 5), fence.install))
        fence.close_socket()
    with tempfile.TemporaryDirectory() as state_dir:
        for addresses in (1, 1000):
            results += takeover(addresses, max(rounds // addresses, 5), Path(state_dir))
    return results


def takeover(addresses: int, rounds: int, state_dir: Path) -> list[Row]:
    """The kernel's part of a takeover and of a withdrawal, by turns."""
    fence = make_fence(1, 0)
    kernel = Kernel(AddressSocket(), fence, 10, state_dir)
    index = int(Path("/proc/net/igmp").read_text().splitlines()[1].split()[0])
    places = tuple(
        Place(address=IPv4Address(0x0A1E0000 + n), group="g0", index=index, device="lo") for n in range(addresses)
    )
    took: dict[str, list[float]] = {"take over": [], "withdraw": []}
    for _ in range(rounds):
        started = time.perf_counter()
        until = {"g0": time.monotonic() + 3}
        outcome = kernel.carry_out(Work(until=until, renew=frozenset(["g0"]), put=places))
        took["take over"].append((time.perf_counter() - started) * 1e6)
        assert not outcome.failed, outcome
        started = time.perf_counter()
        outcome = kernel.carry_out(Work(close=frozenset(["g0"]), lower=places))
        took["withdraw"].append((time.perf_counter() - started) * 1e6)
        assert not outcome.still_up, outcome
    return [row(f"{what} {addresses} address(es), fence and addresses", values, "us") for what, values in took.items()]


if __name__ == "__main__":
    options = arguments(__doc__, rounds=1000)
    enter_network_namespace()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    print(f"one tick of the kernel is {TICK_SECONDS * 1000:g} ms")
    publish(run(options.rounds), options.json)

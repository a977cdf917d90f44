"""A node that holds 10.9.0.100 and 2001:db8:9::100, to be frozen: run as a program inside a namespace.

Its election has a lease of LEASE seconds and is honest: it writes down until when it leads before it says so to
anybody, and once that has passed it begins a new tenure, after a pause. Arguments: the log, the state directory, the
backend.
"""

from __future__ import annotations

import math
import sys
import time
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import anyio

from kubevip import VirtualIP
from kubevip.testing import make_host, make_tenure
from kubevip_announce_arp._config import AddressConfig, FencePolicy
from kubevip_announce_arp.plugin import ADDRESS

LEASE, HEARTBEAT, PAUSE = 0.15, 0.05, 0.1
VIPS = [
    VirtualIP(name="api4", address=ip_address("10.9.0.100"), group="api"),
    VirtualIP(name="api6", address=ip_address("2001:db8:9::100"), group="api"),
]


async def main(log: str, state_dir: str) -> None:
    config = AddressConfig(probes=0, fence=FencePolicy.REQUIRED)
    with open(log, "a", buffering=1, encoding="ascii") as file:  # noqa: ASYNC230 what is written must be there at once
        async with ADDRESS.open(config, make_host(Path(state_dir))) as announcer:
            while True:
                until = time.monotonic() + LEASE
                file.write(f"lead {time.monotonic()} {until}\n")
                tenure = make_tenure(group="api", seconds=until - time.monotonic())
                async with anyio.create_task_group() as tg:
                    for vip in VIPS:
                        tg.start_soon(hold, announcer, vip, tenure)
                    while True:
                        await anyio.sleep(HEARTBEAT)
                        now = time.monotonic()
                        if now >= until:
                            break
                        until = now + LEASE
                        file.write(f"until {until}\n")
                        tenure.renew(until - time.monotonic())
                    tenure.renew(-math.inf)
                    tg.cancel_scope.cancel()
                await anyio.sleep(PAUSE)


async def hold(announcer: object, vip: VirtualIP, tenure: object) -> None:
    async with announcer.announce(vip, tenure, lambda health: None):  # type: ignore[attr-defined]
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(partial(main, *sys.argv[1:3]), backend=sys.argv[3])

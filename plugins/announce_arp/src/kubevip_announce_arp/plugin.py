"""The announcers "address" (on the device, behind a kernel fence) and "arp" (gratuitous ARP, NDP)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from kubevip import AnnouncerProvider, Host, Provider, hookimpl
from kubevip.abc import Announcer
from kubevip_announce_arp._config import AddressConfig, ArpConfig
from kubevip_announce_arp._describe import describe_address, describe_arp


@asynccontextmanager
async def open_address(config: AddressConfig, host: Host) -> AsyncGenerator[Announcer]:
    """Open the announcer "address"; see `_address_instance.open_instance`."""
    from kubevip_announce_arp._address_instance import open_instance
    from kubevip_announce_arp._capabilities import CAP_NET_ADMIN, CAP_NET_RAW, require

    require("address", CAP_NET_ADMIN, *((CAP_NET_RAW,) if config.probes else ()))
    async with open_instance(config, host) as announcer:
        yield announcer


@asynccontextmanager
async def open_arp(config: ArpConfig, host: Host) -> AsyncGenerator[Announcer]:
    """Open the announcer "arp"; see `_arp.open_instance`."""
    from kubevip_announce_arp._arp import open_instance
    from kubevip_announce_arp._capabilities import CAP_NET_RAW, require

    require("arp", CAP_NET_RAW)
    async with open_instance(config, host) as announcer:
        yield announcer


def cleanup_address(instance: str, state_dir: Path) -> Sequence[str]:
    """Remove the addresses and the fence that an instance left behind; see `_address_instance.cleanup`."""
    from kubevip_announce_arp._address_instance import cleanup

    return cleanup(instance, state_dir)


ADDRESS = Provider(
    name="address",
    summary="Put virtual IPs on network devices, behind a kernel fence",
    config=AddressConfig,
    open=open_address,
    describe=describe_address,
    cleanup=cleanup_address,
)

ARP = Provider(
    name="arp",
    summary="Announce virtual IPs by gratuitous ARP and neighbour advertisements",
    config=ArpConfig,
    open=open_arp,
    describe=describe_arp,
)


@hookimpl
def kubevip_announcers() -> Iterable[AnnouncerProvider]:
    """Provide both."""
    yield ADDRESS
    yield ARP

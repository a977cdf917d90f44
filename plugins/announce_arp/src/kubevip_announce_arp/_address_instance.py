"""Opening and closing an instance of "address": leftovers, fence, sockets, in that order; cleaning up without one."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import TYPE_CHECKING

from anyio import CancelScope, create_task_group, to_thread

from kubevip.errors import AnnounceError
from kubevip_announce_arp import _records as records
from kubevip_announce_arp import _will
from kubevip_announce_arp._address import AddressAnnouncer
from kubevip_announce_arp._config import UNFENCED_LIFETIME_SECONDS, UNFENCED_RENEW_SECONDS, FencePolicy
from kubevip_announce_arp._devices import Devices
from kubevip_announce_arp._fence import Fence, FenceError
from kubevip_announce_arp._fence_tables import FAMILIES, FenceTables, table_name
from kubevip_announce_arp._inquiry import Inquiry
from kubevip_announce_arp._inventory import read_devices
from kubevip_announce_arp._kernel import Kernel, Place
from kubevip_announce_arp._nftables_socket import NftablesSocket
from kubevip_announce_arp._other_instances import other_instances
from kubevip_announce_arp._presence import answer, only_one
from kubevip_announce_arp._rtnetlink import PROTOCOL
from kubevip_announce_arp._rtnetlink_socket import AddressSocket

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from kubevip import Host
    from kubevip_announce_arp._config import AddressConfig

_logger = logging.getLogger("kubevip.address")


@asynccontextmanager
async def open_instance(config: AddressConfig, host: Host) -> AsyncGenerator[AddressAnnouncer]:
    """Open the announcer: this instance's leftovers are gone and its fence is there, closed, when the body begins.

    When it ends, no address and no table of the instance is left.

    :raises AnnounceError: where addresses cannot be managed, a fence is required and there is none, or the instance
        runs already in this network namespace.
    """
    devices = Devices()
    with only_one(host.instance) as presence, closing(devices), closing(AddressSocket()) as addresses:
        await to_thread.run_sync(remove_leftovers, host.state_dir, addresses)
        await devices.open()
        fence, reason = await to_thread.run_sync(open_fence, host.instance, config.fence)
        let_go = host.keep_open(fence.fileno()) if fence is not None else lambda: None
        try:
            if fence is None:
                lifetime, renew = UNFENCED_LIFETIME_SECONDS, UNFENCED_RENEW_SECONDS
                _logger.warning("unfenced: %s; a process that hangs keeps its addresses for some seconds", reason)
            else:
                lifetime, renew = int(config.lifetime), float(config.renew)
            kernel = Kernel(addresses, fence, lifetime, host.state_dir)
            table = "" if fence is None else table_name(host.instance)
            host.will(_will.ORDER, _will.FUNCTION, _will.make(table, {}))
            known = await to_thread.run_sync(records.read_announced, host.state_dir)
            try:
                async with create_task_group() as tg:
                    inquiry = Inquiry(config, host, tg, known) if config.probes else None
                    announcer = AddressAnnouncer(
                        host=host,
                        devices=devices,
                        kernel=kernel,
                        table=table,
                        unfenced=reason,
                        renew_seconds=renew,
                        inquiry=inquiry,
                        look=partial(other_instances, table_name(host.instance)),
                    )
                    tg.start_soon(answer, presence)
                    tg.start_soon(devices.run)
                    tg.start_soon(announcer.run)
                    if inquiry is not None:
                        tg.start_soon(inquiry.run)
                    yield announcer
                    tg.cancel_scope.cancel()
            finally:
                with CancelScope(shield=True):  # bounded: one message per address, and one transaction
                    await _clear(kernel, host)
        finally:
            let_go()
            if fence is not None:
                fence.close_socket()


async def _clear(kernel: Kernel, host: Host) -> None:
    """Leave nothing behind, and withdraw the will that would see to it."""
    problems = await to_thread.run_sync(kernel.clear)
    for problem in problems:
        _logger.error("not removed: %s", problem)
    if not problems:
        host.will(_will.ORDER, _will.FUNCTION, None)


def open_fence(instance: str, policy: FencePolicy) -> tuple[Fence | None, str]:
    """Put the fence of an instance in place and try it; return it, or None and why there is none.

    :raises AnnounceError: when it is required and there is none.
    """
    if policy is FencePolicy.OFF:
        return None, "switched off by the configuration"
    tables = FenceTables(table_name(instance))
    try:
        netlink = NftablesSocket()
    except OSError as error:
        return _unfenced(_explain(error), policy)
    fence = Fence(tables, netlink)
    try:
        fence.install()
        fence.probe()
        fence.install()  # without the group of the probe
    except (OSError, FenceError) as error:
        try:
            netlink.commit(tables.remove())
        except OSError as removal:
            _logger.debug("fence: tables cannot be removed: %s", removal)
        netlink.close()
        return _unfenced(_explain(error) if isinstance(error, OSError) else str(error), policy)
    return fence, ""


def _unfenced(reason: str, policy: FencePolicy) -> tuple[None, str]:
    if policy is FencePolicy.REQUIRED:
        raise AnnounceError(f"`fence: required`, but there is none: {reason}")
    return None, reason


def _explain(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return "no right to use nf_tables (CAP_NET_ADMIN)"
    if error.errno in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.ENOENT, errno.EINVAL):
        return f"the kernel lacks nf_tables or a part of it ({error.strerror})"
    return f"nf_tables: {error.strerror}"


def remove_leftovers(state_dir: Path, addresses: AddressSocket) -> list[str]:
    """Remove the addresses that a process of this instance left behind; return a line for each.

    Only what its record names is touched, and of that only what has a lifetime and bears no other program's mark: two
    instances on one machine use the same mark.

    :raises AnnounceError: when one cannot be removed.
    """
    owned = records.read_owned(state_dir)
    removed: list[str] = []
    if owned:
        try:
            places = _present(owned)
            errors = addresses.delete(places)
        except OSError as error:
            raise AnnounceError(f"leftover addresses cannot be removed: {error.strerror}") from error
        for place, error_number in zip(places, errors, strict=True):
            what = f"address {place.address} on {place.device}"
            if error_number:
                raise AnnounceError(f"leftover {what} cannot be removed: {os.strerror(error_number)}")
            removed.append(what)
            _logger.info("removed leftover address=%s device=%s", place.address, place.device)
        records.write_owned(state_dir, ())
    return removed


def _present(owned: frozenset[records.Ownership]) -> list[Place]:
    devices, entries = read_devices()
    names = {device.ifindex: device.name for device in devices}
    return [
        Place(address=entry.address, group="", index=entry.ifindex, device=names[entry.ifindex])
        for entry in entries
        if not entry.is_permanent
        and entry.prefix_length == entry.address.max_prefixlen
        and entry.protocol in (0, PROTOCOL)  # 0: a kernel before 5.18
        and records.Ownership(str(entry.address), names.get(entry.ifindex, "")) in owned
    ]


def cleanup(instance: str, state_dir: Path) -> Sequence[str]:
    """Remove what a process of `instance` that no longer runs left behind: addresses, then the fence.

    :return: one line for each thing removed.
    :raises AnnounceError: when something cannot be removed, or the instance runs in this network namespace.
    """
    with only_one(instance), closing(AddressSocket()) as addresses:
        removed = remove_leftovers(state_dir, addresses)
        return removed + _remove_tables(table_name(instance))


def _remove_tables(name: str) -> list[str]:
    """Remove the fence's tables; return a line if there were any."""
    try:
        with NftablesSocket() as netlink:
            there = [family for family in FAMILIES if netlink.has_table(family, name)]
            if there:
                netlink.commit(FenceTables(name).remove())
                return [f"nftables tables arp and inet {name}"]
    except OSError as error:
        if error.errno not in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):  # no nf_tables: nothing to remove
            raise AnnounceError(f"the fence {name} cannot be removed: {error.strerror}") from error
    return []

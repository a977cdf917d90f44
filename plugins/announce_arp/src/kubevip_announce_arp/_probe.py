"""Asking the network whether somebody has an address, before it is claimed for the first time (RFC 5227 2.1)."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

from anyio import CancelScope, move_on_after, to_thread, wait_readable

from kubevip.errors import AnnounceError
from kubevip_announce_arp._frames import Claim, question, read_claim, show
from kubevip_announce_arp._packet_socket import close_sockets, ethertype_of, open_packet_socket
from kubevip_announce_arp._templates import load_templates

if TYPE_CHECKING:
    import socket

    from kubevip import VirtualIP
    from kubevip_announce_arp._device import Device

_logger = logging.getLogger("kubevip.address")


async def probe(vip: VirtualIP, device: Device, *, count: int, wait_seconds: float) -> None:
    """Ask `count` times whether anybody has the address; takes (count + 1) x wait_seconds.

    Only for the very first claim of an address. At a failover the old holder may be dead and still answer.

    :raises AnnounceError: when somebody has it, or wants it at the same time; names his hardware address.
    """
    if device.trouble or device.unfit_for_arp:  # nobody would answer
        return
    frame = question(await to_thread.run_sync(load_templates), vip.address, device.hardware_address)
    try:
        opened = open_packet_socket(device.name, ethertype_of(vip.address), (vip.address,))
        try:
            for _ in range(count):
                opened.send(frame)
                await _listen(opened, vip, device, wait_seconds)
            await _listen(opened, vip, device, wait_seconds)
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(close_sockets, (opened,))
    except OSError as error:
        remedy = " (CAP_NET_RAW is needed)" if error.errno == errno.EPERM else ""
        raise AnnounceError(
            f"virtual IP {vip.name}: {device.name} cannot be asked whether {vip.address} is free: "
            f"{error.strerror}{remedy}"
        ) from error
    _logger.info(
        "free vip=%s address=%s device=%s: nobody answered %d probes", vip.name, vip.address, device.name, count
    )


async def _listen(opened: socket.socket, vip: VirtualIP, device: Device, seconds: float) -> None:
    with move_on_after(seconds):
        while True:
            await wait_readable(opened)
            try:
                claim = read_claim(opened.recv(256))
            except BlockingIOError:
                continue
            if claim is not None and _is_foreign(claim, vip, device):
                raise AnnounceError(
                    f"virtual IP {vip.name}: {vip.address} is in use on the network of {device.name} by "
                    f"{show(claim.hardware_address)}; free it there, or choose another virtual IP"
                )


def _is_foreign(claim: Claim, vip: VirtualIP, device: Device) -> bool:
    return claim.address == vip.address and claim.hardware_address != device.hardware_address

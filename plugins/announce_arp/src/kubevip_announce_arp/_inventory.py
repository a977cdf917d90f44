"""Reading devices, addresses and default routes as they are now. All of it blocks for some milliseconds."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import closing
from typing import TYPE_CHECKING

from kubevip_announce_arp import _rtnetlink as rt
from kubevip_announce_arp._netlink import DONE, ERROR, INTERRUPTED, messages
from kubevip_announce_arp._rtnetlink import AddressEvent, LinkEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ANSWER_SECONDS = 5  # the kernel answers at once; this is for one that never does
_TRIES = 5  # of a list that changed while it was read


def read_devices() -> tuple[tuple[LinkEvent, ...], tuple[AddressEvent, ...]]:
    """Read all devices and addresses.

    :raises OSError: where netlink does not work.
    """
    with closing(_open()) as asking:
        links = [event for data in _list(asking, rt.list_links) for event in rt.events(data)]
        addresses = [event for data in _list(asking, rt.list_addresses) for event in rt.events(data)]
    return (
        tuple(event for event in links if isinstance(event, LinkEvent)),
        tuple(event for event in addresses if isinstance(event, AddressEvent)),
    )


def read_default_devices() -> tuple[str, str]:
    """Return the devices of the default routes of IPv4 and IPv6; "" for none.

    :raises OSError: where netlink does not work.
    """
    names: list[str] = []
    with closing(_open()) as asking:
        for family in (socket.AF_INET, socket.AF_INET6):

            def request(sequence: int, family: int = family) -> bytes:
                return rt.list_routes(family, sequence)

            best = min((route for data in _list(asking, request) for route in rt.default_routes(data)), default=None)
            names.append(_name(best.ifindex) if best is not None else "")
    return names[0], names[1]


def _name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:  # gone meanwhile
        return ""


def _open() -> socket.socket:
    asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, rt.NETLINK_ROUTE)
    asking.settimeout(_ANSWER_SECONDS)
    return asking


def _list(asking: socket.socket, request: Callable[[int], bytes]) -> list[bytes]:
    """Ask for a list and return what the kernel sent; ask again when the list changed meanwhile."""
    received: list[bytes] = []
    for sequence in range(1, _TRIES + 1):
        asking.send(request(sequence))
        answers = tuple(_answers(asking, sequence))
        received = [data for data, _ in answers]
        if not any(was_changed for _, was_changed in answers):
            break
    return received  # at worst with a gap: of what changes there are events as well


def _answers(asking: socket.socket, sequence: int) -> Iterator[tuple[bytes, bool]]:
    """Yield what the kernel sends up to the end of the list, each with whether it says that the list changed.

    :raises OSError: what the kernel refuses.
    """
    while True:
        data = asking.recv(1 << 16)
        answers = tuple(messages(data))
        if not answers:
            raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
        if answers[0].sequence != sequence:
            continue
        for answer in answers:
            if answer.error:
                raise OSError(answer.error, os.strerror(answer.error))
        yield data, any(answer.flags & INTERRUPTED for answer in answers)
        if answers[-1].kind in (DONE, ERROR):
            return

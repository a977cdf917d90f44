"""Two rtnetlink sockets: one that changes addresses, one that is told of changes."""

from __future__ import annotations

import errno
import socket
from functools import partial
from typing import TYPE_CHECKING, Protocol

from kubevip_announce_arp import _rtnetlink as rt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from ipaddress import IPv4Address, IPv6Address

MESSAGES_AT_ONCE = 64  # their answers fit the socket's buffer, of which each takes a kilobyte
_ANSWER_SECONDS = 5  # the kernel has answered when send() returns; this is for answers that it could not keep
_ABSENT = (errno.EADDRNOTAVAIL, errno.ENODEV)
_SOL_NETLINK, _CAP_ACK = 270, 10


class OnDevice(Protocol):
    """An address and the device, by index and name, that it is or is to be on."""

    @property
    def address(self) -> IPv4Address | IPv6Address:
        """The address."""
        ...

    @property
    def index(self) -> int:
        """The device's number."""
        ...

    @property
    def device(self) -> str:
        """The device's name."""
        ...


class AddressSocket:
    """Puts host addresses on devices and takes them off, over one open socket. Used by one thread at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, rt.NETLINK_ROUTE)
        self._socket.settimeout(_ANSWER_SECONDS)
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._sequence = 0

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def add(self, items: Iterable[OnDevice], lifetime_seconds: int) -> list[int]:
        """Put addresses on devices for so many seconds; return an errno for each, 0 where it is there now.

        EEXIST: it was there before.
        """
        return self._set(items, lifetime_seconds, is_new=True)

    def renew(self, items: Iterable[OnDevice], lifetime_seconds: int) -> list[int]:
        """Give addresses so many seconds from now, and put those on that are not; return an errno for each."""
        return self._set(items, lifetime_seconds, is_new=False)

    def delete(self, items: Iterable[OnDevice]) -> list[int]:
        """Take addresses off devices; return an errno for each, 0 also where address or device were gone already."""
        errors = self._exchange([partial(_delete, item) for item in items])
        return [0 if error in _ABSENT else error for error in errors]

    def unrouted(self, items: Iterable[OnDevice]) -> list[bool]:
        """Return for each address that is on its device whether the kernel would send to it instead of being it.

        So it is when somebody took its route from the table `local`, where no event of the address tells of it.
        """
        found: list[bool] = []
        todo = list(items)
        for start in range(0, len(todo), MESSAGES_AT_ONCE):
            chunk = todo[start : start + MESSAGES_AT_ONCE]
            first = self._sequence + 1
            self._sequence += len(chunk)
            leaving: dict[int, bool] = {}
            try:
                questions = (
                    rt.find_route(item.address, item.index, sequence=first + position)
                    for position, item in enumerate(chunk)
                )
                self._socket.send(b"".join(questions))
                while len(leaving) < len(chunk):
                    leaving |= {
                        number: leaves for number, leaves in rt.routes(self._socket.recv(1 << 16)) if number >= first
                    }
            except OSError:  # asked again the next time
                pass
            found += (leaving.get(first + position, False) for position in range(len(chunk)))
        return found

    def _set(self, items: Iterable[OnDevice], lifetime_seconds: int, *, is_new: bool) -> list[int]:
        def encode(item: OnDevice, number: int) -> bytes:
            return rt.set_address(
                item.address,
                item.index,
                item.device,
                lifetime_seconds=lifetime_seconds,
                is_new=is_new,
                sequence=number,
            )

        return self._exchange([partial(encode, item) for item in items])

    def _exchange(self, encoders: Sequence[Callable[[int], bytes]]) -> list[int]:
        """Send numbered messages, many at once; return the errno that the kernel answered to each."""
        errors: list[int] = []
        for start in range(0, len(encoders), MESSAGES_AT_ONCE):
            chunk = encoders[start : start + MESSAGES_AT_ONCE]
            first = self._sequence + 1
            self._sequence += len(chunk)
            answered: dict[int, int] = {}
            try:
                self._socket.send(b"".join(encode(first + position) for position, encode in enumerate(chunk)))
                while len(answered) < len(chunk):
                    for sequence, error in rt.acknowledgements(self._socket.recv(1 << 16)):
                        if sequence >= first:
                            answered[sequence] = error
            except OSError as error:
                missing = error.errno or errno.ETIMEDOUT
                errors += (answered.get(first + position, missing) for position in range(len(chunk)))
            else:
                errors += (answered[first + position] for position in range(len(chunk)))
        return errors


def _delete(item: OnDevice, number: int) -> bytes:
    return rt.delete_address(item.address, item.index, sequence=number)


def open_event_socket() -> socket.socket:
    """Open a non-blocking socket that the kernel tells of changes of links and addresses; see `_rtnetlink.events`."""
    told = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, rt.NETLINK_ROUTE
    )
    try:
        told.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        told.bind((0, rt.GROUP_LINK | rt.GROUP_IPV4_ADDRESS | rt.GROUP_IPV6_ADDRESS))
    except OSError:
        told.close()
        raise
    return told

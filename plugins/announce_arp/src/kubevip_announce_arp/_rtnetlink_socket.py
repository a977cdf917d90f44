"""Two rtnetlink sockets: one that changes addresses, one that is told of changes."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from kubevip_announce_arp import _rtnetlink as rt

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_ABSENT = (errno.EADDRNOTAVAIL, errno.ENODEV)
_SOL_NETLINK, _CAP_ACK = 270, 10


class AddressSocket:
    """Puts host addresses on devices and takes them off, over one open socket. Used by one thread at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, rt.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._sequence = 0

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def add(self, address: IPv4Address | IPv6Address, index: int, device: str, lifetime_seconds: int) -> None:
        """Put an address on a device for so many seconds.

        :raises OSError: EEXIST when it is there already; what else the kernel says.
        """
        self._sequence += 1
        self._send(
            rt.set_address(
                address, index, device, lifetime_seconds=lifetime_seconds, is_new=True, sequence=self._sequence
            )
        )

    def renew(self, address: IPv4Address | IPv6Address, index: int, device: str, lifetime_seconds: int) -> None:
        """Give an address so many seconds from now; puts it there if it is not.

        :raises OSError: what the kernel says.
        """
        self._sequence += 1
        self._send(
            rt.set_address(
                address, index, device, lifetime_seconds=lifetime_seconds, is_new=False, sequence=self._sequence
            )
        )

    def delete(self, address: IPv4Address | IPv6Address, index: int) -> bool:
        """Take an address off a device; return whether it was there.

        :raises OSError: what the kernel says, unless address or device are gone already.
        """
        self._sequence += 1
        try:
            self._send(rt.delete_address(address, index, sequence=self._sequence))
        except OSError as error:
            if error.errno in _ABSENT:
                return False
            raise
        return True

    def _send(self, data: bytes) -> None:
        self._socket.send(data)
        while True:  # the kernel has answered within send(); answers to older questions are passed over
            for sequence, error in rt.acknowledgements(self._socket.recv(1 << 16)):
                if sequence != self._sequence:
                    continue
                if error:
                    raise OSError(error, os.strerror(error))
                return


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

"""Sockets between members, each bound to the member's own address, so that a virtual IP is never a source."""

from __future__ import annotations

import errno
import socket
from collections.abc import Generator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address

from anyio import wait_writable
from attrs import frozen

from kubevip.errors import ElectionError

IPAddress = IPv4Address | IPv6Address

#: The kernel gives a connection up when what was sent is unacknowledged for so long. Below the pause to which its
#: retransmissions would grow in a long cut, so that a new connection works soon after it is mended.
USER_TIMEOUT_SECONDS = 1.0

#: Room for unsent frames. Small: what a peer did not read for long is of no use to it.
SEND_BUFFER_BYTES = 32 * 1024


@frozen(kw_only=True)
class Endpoint:
    """Where a member listens."""

    address: IPAddress
    port: int

    def __str__(self) -> str:
        """Show as "192.168.0.71:10000" or "[2001:db8::1]:10000"."""
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


def _new_socket(address: IPAddress) -> socket.socket:
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def tune(connection: socket.socket) -> None:
    """Set what a connection between members needs: no delay, and an early end when the other side is gone."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(USER_TIMEOUT_SECONDS * 1000))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)


@contextmanager
def listening(own: Endpoint, backlog: int) -> Generator[socket.socket]:
    """Listen at the member's own address.

    :raises ElectionError: when the address is not on this machine or the port is taken.
    """
    listener = _new_socket(own.address)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((str(own.address), own.port))
            listener.listen(backlog)
        except OSError as error:
            raise ElectionError(f"cannot listen on {own}/tcp: {_why(error, own)}") from error
        yield listener
    finally:
        listener.close()


def new_connection(own: Endpoint) -> socket.socket:
    """Return a socket to connect from the member's own address, any port.

    :raises OSError: when the address is not on this machine.
    """
    connection = _new_socket(own.address)
    try:
        tune(connection)
        connection.bind((str(own.address), 0))
    except OSError:
        connection.close()
        raise
    return connection


async def connect(connection: socket.socket, endpoint: Endpoint) -> None:
    """Connect a non-blocking socket.

    :raises OSError: when nobody answers there.
    """
    try:
        connection.connect((str(endpoint.address), endpoint.port))
    except BlockingIOError:
        await wait_writable(connection)
    if error := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(error, "")


def _why(error: OSError, own: Endpoint) -> str:
    match error.errno:
        case errno.EADDRNOTAVAIL:
            return f"{own.address} is not an address of this machine; correct the member's address or bring it up"
        case errno.EADDRINUSE:
            return f"the port is taken; `ss -ltnp sport = {own.port}` shows by whom"
        case _:
            return str(error.strerror)

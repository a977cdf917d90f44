"""Sockets of the data path: the C type of the interpreter, without the Python class that `socket` wraps around it.

The wrapper costs about 5 microseconds per accepted client, of about 60 for a whole short connection.
"""

from __future__ import annotations

import socket
from _socket import socket as Socket  # noqa: N812 -- the C type itself, see above
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Socket", "acceptor", "new_socket", "set_keepalive"]

#: Unanswered keepalive probes after which a peer is given up.
KEEPALIVE_PROBES = 3

_KIND = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC


def new_socket(family: int) -> Socket:
    """Return a non-blocking TCP socket.

    :raises OSError: when the process may open no more files.
    """
    sock = Socket(family, _KIND)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def acceptor(listening: socket.socket) -> Callable[[], Socket]:
    """Return a function that accepts one client; it raises what accept(2) does, and BlockingIOError if none waits."""
    take = cast("Callable[[], tuple[int, object]]", listening._accept)  # type: ignore[attr-defined]  # pyright: ignore
    family = int(listening.family)

    def accept() -> Socket:
        fd, _address = take()
        client = Socket(family, socket.SOCK_STREAM, 0, fd)
        client.setblocking(False)
        return client

    return accept


def set_keepalive(sock: Socket, seconds: int) -> None:
    """Find a peer that vanished: after `seconds` of silence ask `KEEPALIVE_PROBES` times within as long again."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // KEEPALIVE_PROBES))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)

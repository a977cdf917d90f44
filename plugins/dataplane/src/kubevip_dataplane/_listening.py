"""Opens listening sockets in the control process."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread

from kubevip.errors import ProxyError
from kubevip_dataplane._holder import find_holder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubevip import IPAddress, Listener

#: Clients that may wait to be accepted, while a worker is busy or replaced; the kernel cuts it to somaxconn.
BACKLOG = 4096

# linux/in.h, linux/in6.h; the socket module does not name them.
_IP_FREEBIND = 15
_IPV6_FREEBIND = 78

#: What says that this machine has no IPv6.
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


def show_place(address: IPAddress | None, port: int) -> str:
    """Write where a listener listens, as people read it: "192.168.0.75:6443", "[2001:db8::75]:6443", "*:6443"."""
    if address is None:
        return f"*:{port}"
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


async def open_sockets(listener: Listener, count: int) -> tuple[socket.socket, ...]:
    """Open `count` sockets for `listener` that share its clients (SO_REUSEPORT, if more than one).

    They are bound, do not listen yet, and need not have their address on the machine. A listener on every address
    serves IPv4 and IPv6; where there is no IPv6, IPv4.

    :raises ProxyError: naming the place and what to do.
    """
    sockets: list[socket.socket] = []
    try:
        if count > 1:
            # SO_REUSEPORT would let this user's sockets of another program share the port: ask without it first.
            with _open(listener, is_shared=False) as alone:
                alone.listen()
        while len(sockets) < count:
            sockets.append(_open(listener, is_shared=count > 1))
    except OSError as error:
        for opened in sockets:
            opened.close()
        raise ProxyError(await _explain(listener, error)) from error
    return tuple(sockets)


async def listen(listener: Listener, sockets: Sequence[socket.socket]) -> None:
    """Have `sockets` listen.

    :raises ProxyError: naming the place and what to do; also when the tenure of a bound listener is over.
    """
    try:
        listen_now(listener, sockets)
    except OSError as error:
        raise ProxyError(await _explain(listener, error)) from error


def listen_now(listener: Listener, sockets: Sequence[socket.socket]) -> None:
    """Have `sockets` listen.

    :raises ProxyError: when the tenure of a bound listener is over.
    :raises OSError: when the machine refuses.
    """
    if listener.tenure is not None and listener.tenure.remaining_seconds <= 0:
        raise ProxyError(
            f"load balancer {listener.name!r}: {show_place(listener.address, listener.port)} is not opened, "
            f"because this node no longer leads group {listener.tenure.group!r}"
        )
    for opened in sockets:
        opened.listen(BACKLOG)


def stop_listening(sockets: Sequence[socket.socket]) -> None:
    """End the listening at once, whatever a worker is doing: the port is free. They can listen again.

    One that does not listen is left alone: the kernel would refuse, and remember all the same that it is shut, so that
    whoever connects to it later is cut off.
    """
    for opened in sockets:
        with contextlib.suppress(OSError):
            if opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                opened.shutdown(socket.SHUT_RDWR)


def close_sockets(sockets: Sequence[socket.socket]) -> None:
    """End the listening at once and close the sockets; others may have the port now."""
    stop_listening(sockets)
    for opened in sockets:
        opened.close()


def _open(listener: Listener, *, is_shared: bool) -> socket.socket:
    address = listener.address
    if address is not None:
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        return _open_at(listener, family, str(address), is_shared=is_shared)
    try:
        return _open_at(listener, socket.AF_INET6, "::", is_shared=is_shared)
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
    return _open_at(listener, socket.AF_INET, "0.0.0.0", is_shared=is_shared)


def _open_at(listener: Listener, family: socket.AddressFamily, host: str, *, is_shared: bool) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
            opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            opened.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        opened.bind((host, listener.port))
    except BaseException:
        opened.close()
        raise
    return opened


async def _explain(listener: Listener, error: OSError) -> str:
    place = show_place(listener.address, listener.port)
    start = f"load balancer {listener.name!r} cannot listen on {place}/tcp: "
    if error.errno == errno.EADDRINUSE:
        holder = await to_thread.run_sync(find_holder, listener.address, listener.port, limiter=CapacityLimiter(1))
        return start + f"{holder or 'another process has the port'}; stop that or choose another port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return start + "not permitted; a port below 1024 needs root or CAP_NET_BIND_SERVICE"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return start + "too many open files; raise LimitNOFILE"
    return start + os.strerror(error.errno or 0).lower()

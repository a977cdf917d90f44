"""A relay on the workbench: the worker's loop and listener in this process, real sockets, time set by hand."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from kubevip_dataplane.worker import Loop, Message, Target
from kubevip_proxy_tcp._listener import Settings, TcpListener
from kubevip_proxy_tcp._workshop import Workshop

#: What a test waits for real things, at most; it is never what decides.
PATIENCE_SECONDS = 10.0

_addresses = count(1)


def own_address() -> str:
    """Return a loopback address that no other test of this process uses."""
    number = next(_addresses)
    return f"127.{os.getpid() % 200 + 20}.{number // 250}.{number % 250 + 1}"


class Server:
    """A backend: a listening socket whose clients the test takes by hand."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, backlog: int = 128) -> None:
        self.listening = socket.create_server((host, port), backlog=backlog, family=_family(host))
        self.host, self.port = self.listening.getsockname()[:2]
        self.taken: list[socket.socket] = []

    def target(self, weight: int = 1) -> Target:
        return Target(f"{self.host}:{self.port}", self.host, self.port, weight)

    def close(self) -> None:
        for sock in (self.listening, *self.taken):
            sock.close()

    def stop(self) -> None:
        """Listen no more; what was taken stays."""
        self.listening.close()


class SilentServer(Server):
    """A backend that never answers: its queue is full, so the kernel drops what asks for a connection."""

    def __init__(self) -> None:
        super().__init__(backlog=0)
        self._waiting: list[socket.socket] = []
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex((self.host, self.port))
            self._waiting.append(sock)

    def close(self) -> None:
        super().close()
        for sock in self._waiting:
            sock.close()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class Bench:
    """One listener, its loop and everything that was made for it."""

    def __init__(self, servers: Sequence[Server] = (), **options: Any) -> None:
        self.time = 1000.0
        self.loop = Loop(lambda: self.time)
        self.shop = Workshop(self.loop)
        self.is_closed = False
        self._servers: list[Server] = list(servers)
        self._socks: list[socket.socket] = []
        wire: Message = {
            "connectSeconds": 1.0,
            "tries": 3,
            "idleSeconds": 3600.0,
            "keepaliveSeconds": 30.0,
            "mostConnections": 10_000,
        }
        for name, value in options.items():
            assert name in wire
            wire[name] = value
        self._listening = socket.create_server((own_address(), 0), backlog=512)
        self.place = self._listening.getsockname()
        theirs = self._listening.dup()  # as after SCM_RIGHTS: both processes hold it
        self.listener = TcpListener(self.shop, theirs, [one.target() for one in servers], Settings(wire), self)
        self.changes = 0

    # Notices

    def changed(self) -> None:
        self.changes = getattr(self, "changes", 0) + 1

    def closed(self) -> None:
        self.is_closed = True

    # What tests do

    def server(self, **arguments: Any) -> Server:
        server = Server(**arguments)
        self._servers.append(server)
        return server

    def client(self) -> socket.socket:
        """Return a client that has connected to the listener (its queue, at least)."""
        sock = socket.create_connection(self.place, timeout=PATIENCE_SECONDS)
        sock.setblocking(False)
        self._socks.append(sock)
        return sock

    def until(self, is_done: Callable[[], bool]) -> None:
        """Turn the loop until `is_done`."""
        for _ in range(20_000):
            if is_done():
                return
            self.loop.turn(0.0005)
        raise AssertionError("it does not happen")

    def settle(self) -> None:
        """Turn the loop until nothing happens any more."""
        for _ in range(5):
            self.loop.turn(0.002)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.time += seconds
        self.settle()

    def taken(self, server: Server) -> socket.socket:
        """Return the next connection that reached `server`."""
        self.until(lambda: is_readable(server.listening))
        sock, _ = server.listening.accept()
        sock.setblocking(False)
        server.taken.append(sock)
        return sock

    def pair(self, server: Server) -> tuple[socket.socket, socket.socket]:
        """Return a client and the other end of its connection, at `server`."""
        client = self.client()
        return client, self.taken(server)

    def read(self, sock: socket.socket, size: int) -> bytes:
        """Read exactly `size` bytes."""
        data = bytearray()

        def is_complete() -> bool:
            with suppress(BlockingIOError):
                data.extend(sock.recv(size - len(data)))
            return len(data) == size

        self.until(is_complete)
        return bytes(data)

    def end_of(self, sock: socket.socket) -> str:
        """Return how `sock` ends, without data before: "FIN" or "RST"."""
        seen: list[str] = []

        def has_ended() -> bool:
            try:
                data = sock.recv(4096)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                seen.append("RST")
            else:
                assert not data, data
                seen.append("FIN")
            return True

        self.until(has_ended)
        return seen[0]

    def is_quiet(self, sock: socket.socket) -> bool:
        """Whether nothing has come on `sock`, not even its end."""
        self.settle()
        return not is_readable(sock)

    def connections(self) -> int:
        return int(self.listener.health()["connections"])

    def close(self) -> None:
        self.listener.close(0.0)
        assert self.is_closed
        self._listening.close()
        for sock in self._socks:
            sock.close()
        for server in self._servers:
            server.close()
        self.shop.spend_reserve()


def is_readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def reset(sock: socket.socket) -> None:
    """Close `sock` with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    sock.close()

"""One request and its answer over a relay, and a backend that answers when it is told to.

The bytes are HTTP/1.1, so that the same exchange goes through a proxy that only relays bytes and through one that
understands HTTP.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    Event,
    connect_tcp,
    create_task_group,
    create_tcp_listener,
    fail_after,
    move_on_after,
)
from anyio.abc import SocketAttribute

from kubevip._model import Backend

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from anyio.abc import ByteStream, SocketStream

#: What a read or write raises when the other side has gone, politely or not.
GONE = (EndOfStream, BrokenResourceError, ClosedResourceError, ConnectionError)

_END = b"\r\n\r\n"


async def _read_message(stream: ByteStream) -> bytes:
    """Read up to the end of a head and, where it announces one, of its body; b"" when the other side has gone."""
    read = b""
    try:
        while not read.partition(_END)[1] or len(read.partition(_END)[2]) < _length(read.partition(_END)[0]):
            read += await stream.receive()
    except GONE:
        return b""
    return read


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return 0


class EchoBackend:
    """A server whose every answer is its name; the answers to "/slow" wait until `go_on` is set."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.backend = Backend(address="127.0.0.1", port=port)
        self.go_on, self.was_asked = Event(), Event()

    async def _serve(self, stream: SocketStream) -> None:
        async with stream:
            while request := await _read_message(stream):
                if request.startswith(b"GET /slow "):
                    self.was_asked.set()
                    await self.go_on.wait()
                body = self.name.encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
                try:
                    await stream.send(head.encode() + body)
                except GONE:
                    return


@asynccontextmanager
async def echo_backend(name: str) -> AsyncGenerator[EchoBackend]:
    """Run a backend on a free loopback port."""
    async with await create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener:
        port: int = listener.extra_attributes[SocketAttribute.local_port]()
        server = EchoBackend(name, port)
        async with create_task_group() as tg:
            tg.start_soon(listener.serve, server._serve)
            yield server
            tg.cancel_scope.cancel()


class Client:
    """One connection through the proxy."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream

    async def send(self, path: str = "/") -> None:
        """Send a request."""
        await self._stream.send(f"GET {path} HTTP/1.1\r\nHost: check\r\n\r\n".encode())

    async def answer(self, seconds: float) -> str | None:
        """Return the body of the next answer: "" when the connection ended first, None when nothing came in time."""
        with move_on_after(seconds):
            read = await _read_message(self._stream)
            return read.partition(_END)[2].decode() if read.startswith(b"HTTP/1.1 200") else ""
        return None


@asynccontextmanager
async def connected(host: str, port: int) -> AsyncGenerator[Client]:
    """Connect.

    :raises OSError: when nobody listens.
    """
    async with await connect_tcp(host, port) as stream:
        yield Client(stream)


@asynccontextmanager
async def slow_request(server: EchoBackend, host: str, port: int, seconds: float) -> AsyncGenerator[Client]:
    """Send a request that `server` has received and does not answer before its `go_on` is set.

    :raises TimeoutError: when it has not arrived there within `seconds`.
    """
    server.go_on, server.was_asked = Event(), Event()
    async with connected(host, port) as client:
        await client.send("/slow")
        with fail_after(seconds):
            await server.was_asked.wait()
        try:
            yield client
        finally:
            server.go_on.set()


async def ask(host: str, port: int, seconds: float) -> str | None:
    """Return who answers one request on a connection of its own: "" nobody, None nobody in time."""
    try:
        async with connected(host, port) as client:
            await client.send()
            return await client.answer(seconds)
    except (OSError, *GONE):
        return ""

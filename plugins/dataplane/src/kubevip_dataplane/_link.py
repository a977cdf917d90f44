"""The control process's side of the connection to a worker."""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque
from typing import TYPE_CHECKING

from anyio import Event, wait_readable, wait_writable

from kubevip_dataplane._messages import Decoder, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kubevip_dataplane._messages import Message

_CHUNK_BYTES = 64 << 10

#: What may wait to be sent to a worker that does not read.
MOST_UNSENT_BYTES = 16 << 20


class LinkError(Exception):
    """The worker speaks nonsense: it has to be replaced."""


class Link:
    """Sends messages at once where the socket takes them, else when it does; owns `channel`."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._decoder = Decoder()
        self._unsent: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._unsent_bytes = 0
        self._wake = Event()
        self._is_closed = False

    def send(self, message: Message, sockets: Sequence[socket.socket] = ()) -> None:
        """Send `message` with `sockets`, which the caller may close afterwards; never blocks."""
        if self._is_closed:
            return
        data, fds = memoryview(encode(message)), tuple(opened.fileno() for opened in sockets)
        if not self._unsent:
            sent = self._try(data, fds)
            if sent == len(data):
                return
            if sent:
                data, fds = data[sent:], ()
        self._unsent.append((data, tuple(map(os.dup, fds))))
        self._unsent_bytes += len(data)
        self._wake.set()
        if self._unsent_bytes > MOST_UNSENT_BYTES:
            self._channel.shutdown(socket.SHUT_RDWR)  # it does not read: `receive` ends, and it is replaced

    def _try(self, data: memoryview, fds: tuple[int, ...]) -> int:
        """Send what the socket takes of `data`, with `fds` if that is anything; return how much that was."""
        try:
            if fds:
                return socket.send_fds(self._channel, [data], fds)
            return self._channel.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)  # the worker is gone: `receive` finds out

    async def flush(self) -> None:
        """Send what could not be sent at once; runs until cancelled."""
        while True:
            while self._unsent:
                await wait_writable(self._channel)
                data, fds = self._unsent[0]
                sent = self._try(data, fds)
                if sent:
                    _close(fds)
                    self._unsent[0] = (data[sent:], ())
                    self._unsent_bytes -= sent
                    if sent == len(data):
                        self._unsent.popleft()
            self._wake = Event()
            await self._wake.wait()

    async def receive(self, take: Callable[[Message], None]) -> None:
        """Give each message to `take`; return when the worker closed its end.

        :raises LinkError: when what comes is not messages.
        """
        while True:
            await wait_readable(self._channel)
            try:
                data = self._channel.recv(_CHUNK_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                return
            if not data:
                return
            try:
                messages = self._decoder.feed(data)
            except ValueError as error:
                raise LinkError(f"it speaks nonsense: {error}") from error
            for message in messages:
                take(message)

    def close(self) -> None:
        """Close the connection: the worker resets what it relays and ends."""
        if not self._is_closed:
            self._is_closed = True
            for _data, fds in self._unsent:
                _close(fds)
            self._unsent.clear()
            self._channel.close()


def _close(fds: tuple[int, ...]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)

"""One end of a relayed connection: its socket, and what was received on it on the way to the other end.

Rules of this module

* Sockets are watched edge-triggered and registered once. An edge is not repeated, so whoever stops reading before the
  socket is empty has a reason that wakes it again: bytes that the other end did not take (its EPOLLOUT), or a place in
  the loop's queue because the budget of this turn is used up.
* A read that fills less than the buffer has emptied the socket (epoll(7), questions 9), and if the FIN was already
  reported there is nothing behind it either. That saves one failing read per turn. It does not hold before an urgent
  byte, nor with an error pending: then reading goes on until the kernel says there is no more.
* At most one buffer, or one pipe, of bytes waits between the two ends; while it does, nothing is read.
* Small messages are copied through one buffer that all connections share. After `SPLICE_AFTER` full buffers in a row a
  direction is spliced through a pipe, until a turn moves less than a buffer.
* An end of data is passed on as a FIN once everything before it was sent; any error resets both ends, so that nobody
  takes a part for the whole.
"""

from __future__ import annotations

import os
import select
import socket
from typing import TYPE_CHECKING

from kubevip_proxy_tcp._pipes import PIPE_BYTES
from kubevip_proxy_tcp._workshop import BUFFER_BYTES

if TYPE_CHECKING:
    from kubevip_proxy_tcp._connection import Connection
    from kubevip_proxy_tcp._pipes import Pipe
    from kubevip_proxy_tcp._sockets import Socket
    from kubevip_proxy_tcp._workshop import Workshop

#: Full buffers in a row after which a direction is spliced.
SPLICE_AFTER = 3

#: Reads per direction and turn; then the others have theirs.
BUDGET = 8

_READABLE = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLPRI
_DOUBTFUL = select.EPOLLPRI | select.EPOLLERR | select.EPOLLHUP

#: What a client is watched for; EPOLLOUT is added when it first does not take what it is sent.
WATCH = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLPRI | select.EPOLLET
#: What a backend is watched for: EPOLLOUT is how it says that it is connected.
WATCH_ALL = WATCH | select.EPOLLOUT

_SPLICE_F_MOVE, _SPLICE_F_NONBLOCK = 1, 2  # linux/splice.h; `os` names them from Python 3.12 on
_SPLICE_FLAGS = _SPLICE_F_MOVE | _SPLICE_F_NONBLOCK


class End:
    """One end of a connection; bytes go from here to `other`."""

    __slots__ = (
        "_full_reads",
        "_has_hung_up",
        "_in_pipe",
        "_is_at_eof",
        "_is_closed",
        "_is_doubtful",
        "_is_queued",
        "_is_shut",
        "_pending",
        "_pipe",
        "_shop",
        "connection",
        "fd",
        "mask",
        "other",
        "sock",
    )

    def __init__(self, connection: Connection, sock: Socket, shop: Workshop) -> None:
        self.connection, self.sock, self.fd, self._shop = connection, sock, sock.fileno(), shop
        self.other: End | None = None
        self.mask = 0
        """What the loop watches it for; 0: not yet."""
        self._pending: memoryview | None = None  # read from here, not yet taken by the other end
        self._pipe: Pipe | None = None  # the same, in a pipe
        self._in_pipe = 0
        self._full_reads = 0
        self._is_at_eof = False  # everything was read, and then the FIN
        self._is_shut = False  # a FIN was sent here
        self._has_hung_up = False  # the FIN is in the socket's queue
        self._is_doubtful = False  # a short read does not prove the socket empty
        self._is_queued = False
        self._is_closed = False

    def watch(self, mask: int) -> None:
        """Have the loop watch the socket for `mask`; what is already there is reported."""
        if self.mask:
            self._shop.loop.modify(self.fd, mask)
        else:
            self._shop.loop.add(self.fd, self, mask)
        self.mask = mask

    def on_events(self, events: int) -> None:
        """Deal with what the loop saw."""
        connection = self.connection
        if not connection.is_up:
            connection.on_connecting(self, events)
            return
        connection.active_at = self._shop.loop.now
        other = self.other
        if events & select.EPOLLOUT and other is not None and other._is_holding:
            other.pump()
            if connection.is_over:
                return
        if events & _READABLE:
            if events & select.EPOLLRDHUP:
                self._has_hung_up = True
            if events & _DOUBTFUL:
                self._is_doubtful = True
            if not self._is_holding:
                self.pump()
            elif events & select.EPOLLERR:
                connection.reset()  # it was reset, and what it sent before cannot be delivered now

    @property
    def _is_holding(self) -> bool:
        """Whether bytes wait here that the other end did not take."""
        return self._pending is not None or self._in_pipe > 0

    def pump(self) -> None:
        """Move bytes to the other end until either would block or the budget of this turn is used up."""
        other = self.other
        if other is None:
            return
        try:
            if not self._is_holding or self._flush(other):
                if self._is_at_eof:
                    self._finish(other)
                elif self._full_reads < SPLICE_AFTER:
                    self._copy(other)
                else:
                    self._splice(other)
        except OSError:
            self.connection.reset()

    def _copy(self, other: End) -> None:
        buffer, receive, send = self._shop.buffer, self.sock.recv_into, other.sock.send
        for _ in range(BUDGET):
            try:
                size = receive(buffer)
            except BlockingIOError:
                return
            if size == 0:
                self._finish(other)
                return
            try:
                sent = send(buffer[:size])
            except BlockingIOError:
                sent = 0
            if size == BUFFER_BYTES:
                self._full_reads += 1
            else:
                self._full_reads = 0
            if sent < size:
                self._pending = memoryview(bytes(buffer[sent:size]))
                other._want_out()
                return
            if size < BUFFER_BYTES and not self._is_doubtful:
                if self._has_hung_up:
                    self._finish(other)
                return
            if self._full_reads >= SPLICE_AFTER:
                break
        self._queue()

    def _splice(self, other: End) -> None:
        pipe = self._pipe = self._pipe or self._shop.pipes.take()
        if pipe is None:  # no descriptors left: copying needs none
            self._full_reads = 0
            self._copy(other)
            return
        moved = 0
        for _ in range(BUDGET):
            try:
                size = os.splice(self.fd, pipe.write_fd, PIPE_BYTES, flags=_SPLICE_FLAGS)
            except BlockingIOError:
                self._drop_pipe()
                if moved < BUFFER_BYTES:
                    self._full_reads = 0
                return
            if size == 0:
                self._drop_pipe()
                self._finish(other)
                return
            moved += size
            self._in_pipe = size
            if not self._flush(other):
                return
        self._drop_pipe()
        self._queue()

    def _flush(self, other: End) -> bool:
        """Send what waits; return whether all of it went."""
        try:
            if self._pending is not None:
                sent = other.sock.send(self._pending)
                if sent < len(self._pending):
                    self._pending = self._pending[sent:]
                    other._want_out()
                    return False
                self._pending = None
            elif self._pipe is not None:
                read_fd, write_to = self._pipe.read_fd, other.fd
                while self._in_pipe:
                    self._in_pipe -= os.splice(read_fd, write_to, self._in_pipe, flags=_SPLICE_FLAGS)
        except BlockingIOError:
            other._want_out()
            return False
        return True

    def _want_out(self) -> None:
        """Be told when the socket takes bytes again."""
        if not self.mask & select.EPOLLOUT:
            self.watch(self.mask | select.EPOLLOUT)

    def _finish(self, other: End) -> None:
        """Pass the end of data on; with the second of them the connection is over."""
        self._is_at_eof = True
        if self._is_shut:
            self.connection.close()
        elif not other._is_shut:
            other._is_shut = True
            other.sock.shutdown(socket.SHUT_WR)

    def _queue(self) -> None:
        if not self._is_queued:
            self._is_queued = True
            self._shop.loop.call_soon(self._resume)

    def _resume(self) -> None:
        self._is_queued = False
        if not self.connection.is_over and not self._is_holding:
            self.pump()

    def _drop_pipe(self) -> None:
        """Give the pipe back if it is empty, else close it."""
        if (pipe := self._pipe) is not None:
            self._pipe = None
            if self._in_pipe:
                pipe.close()
                self._in_pipe = 0
            else:
                self._shop.pipes.give_back(pipe)

    def close(self) -> None:
        """Close the socket and let go of what waits; no events come any more. Harmless when it is closed."""
        if self._is_closed:
            return
        self._is_closed = True
        self._drop_pipe()
        self._pending = None
        self.other = None
        self._shop.loop.discard(self.fd, self.sock)

    def reset(self) -> None:
        """Close the socket with a RST: what was not delivered is lost, and its peer is told so."""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        except OSError:
            pass  # it is gone already
        self.close()


_LINGER_ZERO = b"\x01\0\0\0\0\0\0\0"  # struct linger {on = 1, seconds = 0}: close() sends a RST (socket(7))

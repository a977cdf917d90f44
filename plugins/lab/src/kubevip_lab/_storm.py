"""As many requests as can be: `python -m kubevip_lab._storm ADDRESS PORT CONNECTIONS`. Standard library only.

Keeps CONNECTIONS connections busy: each asks again as soon as it is answered, and every hundredth time on a new
connection. Puts on record each second how many were answered (`ANSWERED`, the count in `number`). At ordinary priority:
it is the load, not the measurement.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from time import monotonic

from kubevip_lab._record import ANSWERED, RECORD

_REQUESTS = 100  # on one connection
_SECONDS = 1.0
_PATIENCE_SECONDS = 2.0


class Storm:
    """The connections."""

    def __init__(self, address: str, port: int) -> None:
        self._target = (address, port)
        self._request = f"GET / HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
        self._left: dict[int, int] = {}
        self._sockets: dict[int, socket.socket] = {}
        self._poll = select.epoll()
        self.answered = 0

    def connect(self) -> None:
        """Open one more; one that cannot be opened is left to `serve`."""
        try:
            connection = socket.create_connection(self._target, _PATIENCE_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(self._request)
        except OSError:
            return
        self._sockets[connection.fileno()], self._left[connection.fileno()] = connection, _REQUESTS
        self._poll.register(connection, select.EPOLLIN)

    def serve(self, seconds: float, count: int) -> None:
        """Take answers and ask again for some time; keeps `count` connections."""
        end = monotonic() + seconds
        while (left := end - monotonic()) > 0:
            for fd, _ in self._poll.poll(left):
                self._step(fd)
            if len(self._sockets) < count:
                self.connect()

    def _step(self, fd: int) -> None:
        connection = self._sockets[fd]
        try:
            is_open = bool(connection.recv(4096))
            self.answered += is_open
            self._left[fd] -= 1
            if is_open and self._left[fd]:
                connection.sendall(self._request)
                return
        except OSError:
            pass  # reset, by a proxy that stops
        del self._sockets[fd], self._left[fd]
        connection.close()


def main() -> None:
    """Ask as the command line says, until killed."""
    address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    storm = Storm(address, port)
    while True:
        began, before = monotonic(), storm.answered
        storm.serve(_SECONDS, count)
        os.write(1, RECORD.pack(ANSWERED, 0, storm.answered - before, began, monotonic(), b""))


if __name__ == "__main__":
    main()

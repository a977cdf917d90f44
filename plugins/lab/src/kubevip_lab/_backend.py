"""A tiny HTTP server that says its name: `python -m kubevip_lab._backend NAME ADDRESS PORT [load]`.

Standard library only. One process, one loop; answers every request with the name as the body and keeps a connection
open until the client asks otherwise. It stands for whatever runs behind a load balancer and does no more than the
probers need; it is as punctual as they are, since a backend that waits for a processor would look like an outage; not
so where it is a part of the load.
"""

from __future__ import annotations

import select
import socket
import sys

from kubevip_lab._priority import become_punctual

_HEAD_LIMIT = 65_536


class Connection:
    """One client. `step` is called when something can be read and says whether it stays open."""

    def __init__(self, connected: socket.socket, body: bytes) -> None:
        connected.setblocking(False)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n" % len(body)
        self._body = body
        self._waiting = b""

    def step(self) -> bool:
        """Read, and answer the requests that are whole."""
        try:
            received = self._socket.recv(_HEAD_LIMIT)
            self._waiting += received
            is_open = bool(received) and len(self._waiting) <= _HEAD_LIMIT
            while is_open and b"\r\n\r\n" in self._waiting:
                head, _, self._waiting = self._waiting.partition(b"\r\n\r\n")
                is_open = b"connection: close" not in head.lower()
                self._socket.send(self._head + (b"" if is_open else b"Connection: close\r\n") + b"\r\n" + self._body)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return is_open

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def serve(name: str, address: str, port: int) -> None:
    """Answer until killed."""
    body = name.encode() + b"\n"
    with select.epoll() as poll, socket.create_server((address, port), backlog=4096) as listener:
        listener.setblocking(False)
        poll.register(listener, select.EPOLLIN)
        connections: dict[int, Connection] = {}
        while True:
            for fd, _ in poll.poll():
                if fd != listener.fileno():
                    if not connections[fd].step():
                        connections.pop(fd).close()
                    continue
                try:
                    connected, _ = listener.accept()
                except OSError:
                    continue  # gone before it was taken
                connections[connected.fileno()] = Connection(connected, body)
                poll.register(connected, select.EPOLLIN)


if __name__ == "__main__":
    if sys.argv[4:] != ["load"]:
        become_punctual()
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))

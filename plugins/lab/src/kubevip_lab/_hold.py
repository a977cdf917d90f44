"""Holds connections open: `python -m kubevip_lab._hold ADDRESS PORT COUNT`. Standard library only.

Opens COUNT connections, has one request answered on each so that it is relayed all the way, then leaves them idle and
puts on record when each hears of its end. Those that end are not opened again.
"""

from __future__ import annotations

import os
import resource
import select
import socket
import sys
from time import monotonic

from kubevip_lab._priority import become_punctual
from kubevip_lab._record import CLOSED, OPENED, RECORD

_ANSWER_SECONDS = 5.0


def hold(address: str, port: int, count: int) -> None:
    """Open the connections, then report until killed."""
    request = f"GET / HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
    connections: dict[int, tuple[int, float, socket.socket]] = {}
    with select.epoll() as poll:
        for number in range(count):
            connection = socket.create_connection((address, port), _ANSWER_SECONDS)
            connection.sendall(request)
            opened, by = monotonic(), connection.recv(1024).partition(b"\r\n\r\n")[2].strip()
            connection.setblocking(False)
            connections[connection.fileno()] = (number, opened, connection)
            poll.register(connection, select.EPOLLIN)
            os.write(1, RECORD.pack(OPENED, 0, number, opened, opened, by[:16]))
        while True:
            for fd, _ in poll.poll():
                number, opened, connection = connections[fd]
                try:
                    if connection.recv(1024):
                        continue
                    by = b"fin"
                except BlockingIOError:
                    continue
                except OSError:
                    by = b"reset"
                os.write(1, RECORD.pack(CLOSED, 0, number, opened, monotonic(), by))
                del connections[fd]
                connection.close()


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    become_punctual()
    hold(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

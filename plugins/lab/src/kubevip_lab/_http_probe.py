"""The HTTP prober: `python -m kubevip_lab._http_probe ADDRESS PORT INTERVAL`. Standard library only.

A new connection and one request each time, in an open loop as in `_probes`; the answer's body names the backend. An
answer bears the time at which the kernel received it.
"""

from __future__ import annotations

import errno
import math
import os
import resource
import select
import socket
import sys
from time import monotonic

from kubevip_lab._kernel_time import ANCILLARY_BYTES, ask_for_stamps, wall_clock_ahead, wall_time
from kubevip_lab._priority import become_punctual
from kubevip_lab._record import ANSWERED, LATE, REFUSED, Records

_GIVE_UP_SECONDS = 1.0


class HttpAsker:
    """Connections on their way. `epoll` watches them."""

    def __init__(self, address: str, port: int, records: Records) -> None:
        self._records = records
        self._target = (address, port)
        self._request = f"GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
        self._connecting: dict[int, tuple[int, float, socket.socket]] = {}  # in the order of their questions
        self._asked: dict[int, tuple[int, float, socket.socket]] = {}
        self.epoll = select.epoll()

    def ask(self, number: int, now: float) -> None:
        """Open one connection; give up those that are too old."""
        for waiting in (self._connecting, self._asked):
            while waiting:
                fd, (_, sent, connection) = next(iter(waiting.items()))
                if now - sent < _GIVE_UP_SECONDS:
                    break
                del waiting[fd]
                connection.close()
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        ask_for_stamps(connection)
        if connection.connect_ex(self._target) not in (0, errno.EINPROGRESS):
            connection.close()  # not sent is not answered
            return
        question = (number, now, connection)
        fd = connection.fileno()
        try:
            connection.send(self._request)  # on one machine the handshake is often over by now
        except BlockingIOError:
            self._connecting[fd] = question
            self.epoll.register(fd, select.EPOLLOUT)
        except OSError as error:
            self._end(question, error, now)
        else:
            self._asked[fd] = question
            self.epoll.register(fd, select.EPOLLIN)

    def ready(self, fd: int, now: float) -> None:
        """Send the request once connected, then take the answer."""
        if (question := self._connecting.pop(fd, None)) is not None:
            try:
                question[2].send(self._request)
            except OSError as error:
                self._end(question, error, now)
            else:
                self._asked[fd] = question
                self.epoll.modify(fd, select.EPOLLIN)
        elif (question := self._asked.pop(fd, None)) is not None:
            number, sent, connection = question
            try:
                answer, ancillary, _, _ = connection.recvmsg(1024, ANCILLARY_BYTES)
            except OSError as error:
                self._end(question, error, now)
                return
            if body := answer.partition(b"\r\n\r\n")[2].strip():
                stamp = wall_time(ancillary)
                received = now if stamp is None else stamp - wall_clock_ahead()
                self._records.add(ANSWERED, 0, number, sent, received, body[:16])
            connection.close()

    def _end(self, question: tuple[int, float, socket.socket], error: OSError, now: float) -> None:
        number, sent, connection = question
        if error.errno in (errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE):
            by = b"refused" if error.errno == errno.ECONNREFUSED else b"reset"
            self._records.add(REFUSED, 0, number, sent, now, by)
        connection.close()


def run(asker: HttpAsker, records: Records, interval: float) -> None:
    """Ask every `interval` seconds until the reader of the records has gone."""
    start, number = monotonic() + interval, 0
    while True:
        due = start + number * interval
        now = monotonic()
        if now < due:
            # select() waits with the clock's resolution; epoll_wait() would round up to whole milliseconds.
            if select.select((asker.epoll,), (), (), due - now)[0]:
                for fd, _ in asker.epoll.poll(0):
                    asker.ready(fd, monotonic())
            continue
        if now - due > interval / 2:
            records.add(LATE, 0, number, due, now)
            number = max(number, math.floor((now - start) / interval))
        asker.ask(number, now)
        records.flush(now)
        number += 1


def main() -> None:
    """Ask as the command line says."""
    address, port, interval = sys.argv[1:4]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    records = Records()
    asker = HttpAsker(address, int(port), records)
    become_punctual()
    try:
        run(asker, records, float(interval))
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()

"""Probers: `python -m kubevip_lab._probes icmp|http|arp ADDRESS PORT INTERVAL`. Standard library only.

Each is a process of its own that asks at fixed times whatever became of earlier questions (an open loop: a prober
that waits for answers would ask least while nothing answers, and hide the outage), and writes a record for each
answer to standard output (`_record`). It ends when that pipe is closed. It runs at real-time priority where that is
permitted, so that a busy machine is not mistaken for a silent one; when it was late all the same, it says so.
"""

from __future__ import annotations

import errno
import math
import os
import resource
import select
import socket
import struct
import sys
from array import array
from time import monotonic
from typing import Protocol

from kubevip_lab._priority import become_punctual
from kubevip_lab._record import ANSWERED, LATE, RECORD, REFUSED

_FLUSH_SECONDS = 0.02
_GIVE_UP_SECONDS = 1.0
_ETH_P_ARP = 0x0806
_DEVICE = "e0"


class Prober(Protocol):
    """One way of asking. `epoll` watches its sockets."""

    epoll: select.epoll

    def ask(self, number: int, now: float) -> None:
        """Send question `number`; never blocks, never raises for a peer that is not there."""

    def ready(self, fd: int, now: float) -> None:
        """Read what arrived on `fd` and put answers on record."""


class Records:
    """Records on their way to standard output, a few at a time."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._flushed = 0.0

    def add(self, kind: bytes, number: int, sent: float, received: float, by: bytes = b"") -> None:
        """Put one record down."""
        self._waiting += RECORD.pack(kind, number, sent, received, by)

    def flush(self, now: float) -> None:
        """Write what waits, at most every 20 ms: a reader is woken less often."""
        if self._waiting and now - self._flushed > _FLUSH_SECONDS:
            os.write(1, self._waiting)
            self._waiting.clear()
            self._flushed = now


class IcmpProber:
    """Echo requests (RFC 792) from a raw socket; the sequence number finds the question of an answer."""

    def __init__(self, address: str, records: Records) -> None:
        self._records = records
        self._address = (address, 0)
        self._id = os.getpid() & 0xFFFF  # one asker to an address and host
        self._number, self._sent = array("Q", bytes(8 * 65536)), array("d", bytes(8 * 65536))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
        self.epoll = select.epoll()
        self.epoll.register(self._socket, select.EPOLLIN)

    def ask(self, number: int, now: float) -> None:
        """Send one echo request."""
        sequence = number & 0xFFFF
        total = 0x0800 + self._id + sequence
        total = (total & 0xFFFF) + (total >> 16)
        total = (total & 0xFFFF) + (total >> 16)
        packet = struct.pack("!BBHHH", 8, 0, ~total & 0xFFFF, self._id, sequence)
        self._number[sequence], self._sent[sequence] = number, now
        try:
            self._socket.sendto(packet, self._address)
        except OSError:
            pass  # not sent is not answered

    def ready(self, fd: int, now: float) -> None:
        """Take echo replies."""
        while True:
            try:
                packet = self._socket.recv(128)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error that was queued on the socket
            start = (packet[0] & 0x0F) * 4
            if len(packet) < start + 8 or packet[start] != 0:
                continue
            identifier, sequence = struct.unpack_from("!HH", packet, start + 4)
            if identifier == self._id and (sent := self._sent[sequence]):
                self._sent[sequence] = 0.0  # a duplicate is no second answer
                self._records.add(ANSWERED, self._number[sequence], sent, now)


class HttpProber:
    """A new connection and one request each time; the answer's body names the backend."""

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
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if connection.connect_ex(self._target) not in (0, errno.EINPROGRESS):
            connection.close()  # not sent is not answered
            return
        self._connecting[connection.fileno()] = (number, now, connection)
        self.epoll.register(connection, select.EPOLLOUT)

    def ready(self, fd: int, now: float) -> None:
        """Send the request once connected, then take the answer."""
        if (question := self._connecting.pop(fd, None)) is not None:
            number, sent, connection = question
            failure = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            try:
                if failure:
                    raise OSError(failure, os.strerror(failure))
                connection.send(self._request)
            except OSError as error:
                self._end(question, error, now)
            else:
                self._asked[fd] = question
                self.epoll.modify(fd, select.EPOLLIN)
        elif (question := self._asked.pop(fd, None)) is not None:
            number, sent, connection = question
            try:
                body = connection.recv(1024).partition(b"\r\n\r\n")[2].strip()
            except OSError as error:
                self._end(question, error, now)
            else:
                if body:
                    self._records.add(ANSWERED, number, sent, now, body[:16])
                connection.close()

    def _end(self, question: tuple[int, float, socket.socket], error: OSError, now: float) -> None:
        number, sent, connection = question
        if error.errno in (errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE):
            self._records.add(REFUSED, number, sent, now, b"refused" if error.errno == errno.ECONNREFUSED else b"reset")
        connection.close()


class ArpProber:
    """Broadcast requests for the address; all who answer are put on record.

    ARP has no field that ties an answer to its question but the asker's protocol address, which the answer repeats
    (RFC 826). So questions are asked in turn from 64 addresses of the subnet that no host has.
    """

    _FIRST, _COUNT = 128, 64

    def __init__(self, address: str, records: Records) -> None:
        self._records = records
        self._target = socket.inet_aton(address)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self._socket.bind((_DEVICE, _ETH_P_ARP))
        self._mac: bytes = self._socket.getsockname()[4]
        prefix = self._target[:3]
        header = b"\xff" * 6 + self._mac + struct.pack("!HHHBBH", _ETH_P_ARP, 1, 0x0800, 6, 4, 1) + self._mac
        self._frames = [
            header + prefix + bytes((self._FIRST + index,)) + bytes(6) + self._target for index in range(self._COUNT)
        ]
        self._number, self._sent = [0] * self._COUNT, [0.0] * self._COUNT
        self.epoll = select.epoll()
        self.epoll.register(self._socket, select.EPOLLIN)

    def ask(self, number: int, now: float) -> None:
        """Broadcast one request."""
        index = number % self._COUNT
        self._number[index], self._sent[index] = number, now
        try:
            self._socket.send(self._frames[index])
        except OSError:
            pass  # not sent is not answered

    def ready(self, fd: int, now: float) -> None:
        """Take replies of whoever says to have the address."""
        while True:
            try:
                frame = self._socket.recv(64)
            except BlockingIOError:
                return
            except OSError:
                continue
            if len(frame) < 42 or frame[20:22] != b"\0\2" or frame[28:32] != self._target or frame[32:38] != self._mac:
                continue
            index = frame[41] - self._FIRST
            if 0 <= index < self._COUNT and self._sent[index]:
                self._records.add(ANSWERED, self._number[index], self._sent[index], now, frame[22:28].hex().encode())


def run(prober: Prober, records: Records, interval: float) -> None:
    """Ask every `interval` seconds until the reader of the records has gone."""
    poll = prober.epoll
    start, number = monotonic() + interval, 0
    while True:
        due = start + number * interval
        now = monotonic()
        if now < due:
            # select() waits with the clock's resolution; epoll_wait() would round up to whole milliseconds.
            if select.select((poll,), (), (), due - now)[0]:
                for fd, _ in poll.poll(0):
                    prober.ready(fd, monotonic())
            continue
        if now - due > interval / 2:
            records.add(LATE, number, due, now)
            number = max(number, math.floor((now - start) / interval))
        prober.ask(number, now)
        records.flush(now)
        number += 1


def main() -> None:
    """Run the prober that the command line names."""
    kind, address, port, interval = sys.argv[1:5]
    records = Records()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    prober: Prober
    match kind:
        case "icmp":
            prober = IcmpProber(address, records)
        case "http":
            prober = HttpProber(address, int(port), records)
        case "arp":
            prober = ArpProber(address, records)
        case _:
            raise SystemExit(f"no prober is called {kind}")
    become_punctual()
    try:
        run(prober, records, float(interval))
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()

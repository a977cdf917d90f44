"""Probers: `python -m kubevip_lab._probes INTERVAL KIND:SOCKET:EVERY:ADDRESS...`. Standard library only.

One process asks from several hosts: each asker is given as an open socket of its host, by the descriptor's number,
with how (`icmp`, `arp`), at every which tick and about which address it asks. Asking happens at fixed times whatever
became of earlier questions (an open loop: a prober that waits for answers would ask least while nothing answers, and
hide the outage). Answers are read at the next tick and bear the time at which the kernel received them
(`_kernel_time`): so the process wakes once a tick, which at 1 ms costs a few per cent of a processor, and reading late
falsifies nothing. Asking late does; so it runs at real-time priority where that is permitted, and says when it was late
all the same.

Each answer is a record on standard output (`_record`). The process ends when that pipe is closed.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import sys
import time
from time import monotonic
from typing import Protocol

from kubevip_lab._kernel_time import ANCILLARY_BYTES, ask_for_stamps, wall_clock_ahead, wall_time
from kubevip_lab._priority import become_punctual
from kubevip_lab._record import ANSWERED, LATE, Records

_SOL_RAW, _ICMP_FILTER = 255, 1  # linux/icmp.h; not in the socket module
_ECHO_REPLY, _ECHO_REQUEST = 0, 8


class Asker(Protocol):
    """One way of asking, from one host."""

    def ask(self, number: int) -> None:
        """Send question `number`; never blocks, never raises for a peer that is not there."""

    def take(self, ahead: float) -> None:
        """Put on record the answers that are here; the wall clock is `ahead` seconds before the monotonic one."""


class IcmpAsker:
    """Echo requests (RFC 792) from a raw socket; the sequence number finds the question of an answer."""

    COUNT = 8192

    def __init__(self, asker: int, address: str, sender: socket.socket, records: Records) -> None:
        self._asker, self._records, self._socket = asker, records, sender
        self._address = (address, 0)
        self._id = (os.getpid() + asker) & 0xFFFF
        self._packets = [self._packet(sequence) for sequence in range(self.COUNT)]
        self._number, self._sent = [0] * self.COUNT, [0.0] * self.COUNT
        sender.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << _ECHO_REPLY) & 0xFFFFFFFF))

    def _packet(self, sequence: int) -> bytes:
        total = (_ECHO_REQUEST << 8) + self._id + sequence
        total = (total & 0xFFFF) + (total >> 16)
        total = (total & 0xFFFF) + (total >> 16)
        return struct.pack("!BBHHH", _ECHO_REQUEST, 0, ~total & 0xFFFF, self._id, sequence)

    def ask(self, number: int) -> None:
        """Send one echo request."""
        index = number % self.COUNT
        self._number[index], self._sent[index] = number, monotonic()
        try:
            self._socket.sendto(self._packets[index], self._address)
        except OSError:
            pass  # not sent is not answered

    def take(self, ahead: float) -> None:
        """Take echo replies."""
        while True:
            try:
                packet, ancillary, _, _ = self._socket.recvmsg(128, ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error that was queued on the socket
            start = (packet[0] & 0x0F) * 4
            if len(packet) < start + 8:
                continue
            identifier, index = struct.unpack_from("!HH", packet, start + 4)
            if identifier == self._id and index < self.COUNT and (sent := self._sent[index]):
                self._sent[index] = 0.0  # a duplicate is no second answer
                stamp = wall_time(ancillary)
                received = monotonic() if stamp is None else stamp - ahead
                self._records.add(ANSWERED, self._asker, self._number[index], sent, received)


class ArpAsker:
    """Broadcast requests for the address; all who answer are put on record.

    ARP has no field that ties an answer to its question but the asker's protocol address, which the answer repeats
    (RFC 826). So questions are asked in turn from 64 addresses of the subnet that no host has.
    """

    _FIRST, _COUNT = 128, 64

    def __init__(self, asker: int, address: str, sender: socket.socket, records: Records) -> None:
        self._asker, self._records, self._socket = asker, records, sender
        self._target = socket.inet_aton(address)
        _, kind, _, _, self._mac = sender.getsockname()
        header = b"\xff" * 6 + self._mac + struct.pack("!HHHBBH", kind, 1, 0x0800, 6, 4, 1) + self._mac
        sources = (self._target[:3] + bytes((self._FIRST + index,)) for index in range(self._COUNT))
        self._frames = [header + source + bytes(6) + self._target for source in sources]
        self._number, self._sent = [0] * self._COUNT, [0.0] * self._COUNT

    def ask(self, number: int) -> None:
        """Broadcast one request."""
        index = number % self._COUNT
        self._number[index], self._sent[index] = number, monotonic()
        try:
            self._socket.send(self._frames[index])
        except OSError:
            pass  # not sent is not answered

    def take(self, ahead: float) -> None:
        """Take replies of whoever says to have the address."""
        while True:
            try:
                frame, ancillary, _, _ = self._socket.recvmsg(64, ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue
            if len(frame) < 42 or frame[20:22] != b"\0\2" or frame[28:32] != self._target or frame[32:38] != self._mac:
                continue
            index = frame[41] - self._FIRST
            if 0 <= index < self._COUNT and (sent := self._sent[index]):
                stamp = wall_time(ancillary)
                received = monotonic() if stamp is None else stamp - ahead
                by = frame[22:28].hex().encode()
                self._records.add(ANSWERED, self._asker, self._number[index], sent, received, by)


def run(askers: list[tuple[Asker, int]], records: Records, interval: float) -> None:
    """Let each asker ask at every so many-th tick until the reader of the records has gone."""
    start, tick = monotonic() + interval, 0
    asked = [0] * len(askers)
    while True:
        due = start + tick * interval
        if (wait := due - monotonic()) > 0:
            time.sleep(wait)  # noqa: TID251 - a program of its own, without a loop
        now = monotonic()
        ahead = wall_clock_ahead()
        for asker, _ in askers:
            asker.take(ahead)
        if now - due > interval / 2:
            records.add(LATE, 0, tick, due, now)
            tick = max(tick, math.floor((now - start) / interval))
        for index, (asker, every) in enumerate(askers):
            if tick % every == 0:
                asker.ask(asked[index])
                asked[index] += 1
        records.flush(now)
        tick += 1


def main() -> None:
    """Run the askers that the command line names."""
    interval, *arguments = sys.argv[1:]
    records = Records()
    askers: list[tuple[Asker, int]] = []
    for number, argument in enumerate(arguments):
        kind, descriptor, every, address = argument.split(":")
        sender = socket.socket(fileno=int(descriptor))
        sender.setblocking(False)
        ask_for_stamps(sender)
        make = IcmpAsker if kind == "icmp" else ArpAsker
        askers.append((make(number, address, sender, records), int(every)))
    become_punctual()
    try:
        run(askers, records, float(interval))
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()

"""Watches the address from outside: starts the probers on their hosts and collects what they put on record."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from attrs import define, field

from kubevip.errors import KubevipError
from kubevip_lab._measure import Answer
from kubevip_lab._record import ANSWERED, LATE, RECORD, REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from ipaddress import IPv4Address

    from kubevip_lab._host import Host

_PIPE_BYTES = 1 << 18


@define
class Prober:
    """One prober process and what it has reported: whole answers, refused or reset connections, its own lateness."""

    process: subprocess.Popen[bytes]
    answers: list[Answer] = field(factory=list[Answer])
    refusals: list[Answer] = field(factory=list[Answer])
    lateness: list[tuple[float, float]] = field(factory=list[tuple[float, float]])
    _rest: bytes = b""

    def take(self, data: bytes) -> None:
        """Take what came through the pipe."""
        data = self._rest + data
        whole = len(data) - len(data) % RECORD.size
        for kind, number, sent, received, by in RECORD.iter_unpack(data[:whole]):
            if kind == LATE:
                self.lateness.append((sent, received - sent))
                continue
            answer = Answer(number=number, sent=sent, received=received, by=by.rstrip(b"\0").decode())
            if kind == ANSWERED:
                self.answers.append(answer)
            elif kind == REFUSED:
                self.refusals.append(answer)
        self._rest = data[whole:]

    def forget(self, before: float) -> None:
        """Drop records from before a moment."""
        self.answers = [answer for answer in self.answers if answer.received >= before]
        self.refusals = [answer for answer in self.refusals if answer.received >= before]
        self.lateness = [late for late in self.lateness if late[0] >= before]

    def since(self, moment: float) -> list[Answer]:
        """Return the answers received from a moment on."""
        found = len(self.answers)
        while found and self.answers[found - 1].received >= moment:
            found -= 1
        return self.answers[found:]


@define
class Watch:
    """The probers by kind: "icmp" and "http" ask from the client, "arp" from the watcher. Made by `open_watch`."""

    interval: float
    probers: Mapping[str, Prober]
    poll: select.epoll

    def pump(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Collect for some time, or until `until` holds; returns whether it did."""
        end = monotonic() + seconds
        while not (is_done := until()) and (left := end - monotonic()) > 0:
            for fd, _ in self.poll.poll(min(left, 0.02)):
                prober = next(prober for prober in self.probers.values() if _pipe(prober) == fd)
                data = os.read(fd, _PIPE_BYTES)
                if not data:
                    raise KubevipError(f"a prober ended: {prober.process.args!r}, status {prober.process.wait()}")
                prober.take(data)
        return is_done

    def macs(self, seconds: float) -> set[str]:
        """Return the hardware addresses (in hex, without colons) that answered ARP within the last `seconds`."""
        return {answer.by for answer in self.probers["arp"].since(monotonic() - seconds)}

    def is_answered(self, seconds: float) -> bool:
        """Whether clients had answers without a break over the last `seconds`."""
        now = monotonic()
        return all(
            len(self.probers[kind].since(now - seconds)) >= 0.8 * seconds / self.interval for kind in ("icmp", "http")
        )

    def forget(self, before: float) -> None:
        """Drop records from before a moment."""
        for prober in self.probers.values():
            prober.forget(before)


@contextmanager
def open_watch(client: Host, watcher: Host, address: IPv4Address, port: int, interval: float) -> Generator[Watch]:
    """Start the probers of an address and the TCP port on it; they are ended when left."""
    probers: dict[str, Prober] = {}
    with select.epoll() as poll:
        try:
            for kind, host in (("icmp", client), ("http", client), ("arp", watcher)):
                arguments = [sys.executable, "-m", "kubevip_lab._probes", kind, str(address), str(port), str(interval)]
                process = host.start(arguments, output=subprocess.PIPE, errors=sys.stderr.buffer)
                probers[kind] = Prober(process=process)
                poll.register(_pipe(probers[kind]), select.EPOLLIN)
            yield Watch(interval=interval, probers=probers, poll=poll)
        finally:
            for prober in probers.values():
                prober.process.kill()
                prober.process.wait()
                if prober.process.stdout is not None:
                    prober.process.stdout.close()


def _pipe(prober: Prober) -> int:
    if prober.process.stdout is None:
        raise ValueError("a prober has its output piped")
    return prober.process.stdout.fileno()

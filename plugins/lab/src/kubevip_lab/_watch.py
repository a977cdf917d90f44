"""Watches the address from outside: starts the probers on their hosts and collects what they put on record."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from attrs import define, field

from kubevip.errors import KubevipError
from kubevip_lab._lab import VIP, VIP_PORT
from kubevip_lab._measure import Answer
from kubevip_lab._record import ANSWERED, CLOSED, LATE, OPENED, RECORD, REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from ipaddress import IPv4Address

    from kubevip_lab._host import Host
    from kubevip_lab._lab import Lab

_PIPE_BYTES = 1 << 18
_WAKE_SECONDS = 0.02
_OPEN_SECONDS = 10.0
_NODE_INTERVAL_SECONDS = 0.01  # at least: nodes have other things to do


@define
class Prober:
    """One prober process and what it has put on record, by kind and in the order of receipt."""

    process: subprocess.Popen[bytes]
    records: dict[bytes, list[Answer]] = field(
        factory=lambda: {kind: list[Answer]() for kind in (ANSWERED, REFUSED, OPENED, CLOSED, LATE)}
    )
    _rest: bytes = b""

    def take(self) -> None:
        """Take what came through the pipe.

        :raises KubevipError: when the prober has ended.
        """
        received = os.read(self.pipe, _PIPE_BYTES)
        if not received:
            raise KubevipError(f"a prober ended with status {self.process.wait()}: {self.process.args!r}")
        data = self._rest + received
        whole = len(data) - len(data) % RECORD.size
        for kind, number, sent, received, by in RECORD.iter_unpack(data[:whole]):
            answer = Answer(number=number, sent=sent, received=received, by=by.rstrip(b"\0").decode())
            self.records[kind].append(answer)
        self._rest = data[whole:]

    def since(self, moment: float, kind: bytes = ANSWERED) -> list[Answer]:
        """Return the records received from a moment on."""
        records = self.records[kind]
        first = len(records)
        while first and records[first - 1].received >= moment:
            first -= 1
        return records[first:]

    def forget(self, before: float) -> None:
        """Drop records received before a moment."""
        for kind in self.records:
            self.records[kind] = self.since(before, kind)

    @property
    def pipe(self) -> int:
        """The descriptor of its pipe."""
        if self.process.stdout is None:
            raise ValueError("a prober has its output piped")
        return self.process.stdout.fileno()


@define
class Watch:
    """The probers by name. Made by `open_watch`.

    "icmp" and "http" ask from the client, "arp" from the watcher, "icmp n1" and so on from the nodes: a node that does
    not hold the address is a client like others. `interval` is what they leave between two questions, in seconds.
    """

    client: Host
    address: IPv4Address
    port: int
    interval: float
    probers: dict[str, Prober] = field(factory=dict[str, Prober])
    _poll: select.epoll = field(factory=select.epoll)
    _readers: dict[int, Callable[[], None]] = field(factory=dict[int, "Callable[[], None]"])

    def pump(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Collect for some time, or until `until` holds; returns whether it did.

        :raises KubevipError: when a prober has ended.
        """
        end = monotonic() + seconds
        while not (is_done := until()) and (left := end - monotonic()) > 0:
            for fd, _ in self._poll.poll(min(left, _WAKE_SECONDS)):
                self._readers[fd]()
        return is_done

    def macs(self, seconds: float) -> set[str]:
        """Return the hardware addresses (in hex, without colons) that answered ARP within the last `seconds`."""
        return {answer.by for answer in self.probers["arp"].since(monotonic() - seconds)}

    def unanswered(self, seconds: float, nodes: Iterable[str] = ()) -> tuple[str, ...]:
        """Return which probers of the client and of `nodes` lacked a fifth of their answers over the last `seconds`."""
        start = monotonic() - seconds
        names = ("icmp", "http", *(f"icmp {node}" for node in nodes))
        return tuple(
            name for name in names if len(self.probers[name].since(start)) < 0.8 * seconds / self._interval_of(name)
        )

    def _interval_of(self, name: str) -> float:
        return max(self.interval, _NODE_INTERVAL_SECONDS) if name.startswith("icmp ") else self.interval

    def forget(self, before: float) -> None:
        """Drop records received before a moment."""
        for prober in self.probers.values():
            prober.forget(before)

    @contextmanager
    def held(self, count: int) -> Generator[Prober]:
        """Have the client hold `count` connections open inside the block; they are open when it begins."""
        arguments = (str(self.address), str(self.port), str(count))
        with self.started("held", self.client, "kubevip_lab._hold", arguments) as prober:
            if not self.pump(_OPEN_SECONDS, lambda: len(prober.records[OPENED]) == count):
                raise KubevipError(f"{len(prober.records[OPENED])} of {count} connections opened in {_OPEN_SECONDS} s")
            yield prober

    @contextmanager
    def started(self, name: str, host: Host, module: str, arguments: Sequence[str]) -> Generator[Prober]:
        """Run a prober on a host inside the block."""
        command = [sys.executable, "-P", "-m", module, *arguments]
        process = host.start(command, output=subprocess.PIPE, errors=sys.stderr.buffer)
        with process:
            prober = self.probers[name] = Prober(process=process)
            try:
                with self.reading(prober.pipe, prober.take):
                    yield prober
            finally:
                del self.probers[name]
                process.kill()

    @contextmanager
    def reading(self, fd: int, take: Callable[[], None]) -> Generator[None]:
        """Call `take` whenever `fd` can be read, inside the block."""
        self._readers[fd] = take
        self._poll.register(fd, select.EPOLLIN)
        try:
            yield
        finally:
            self._poll.unregister(fd)
            del self._readers[fd]


@contextmanager
def open_watch(lab: Lab, interval: float) -> Generator[Watch]:
    """Start the probers of the virtual IP and of the TCP port on it; they are killed when left."""
    watch = Watch(client=lab.client, address=VIP, port=VIP_PORT, interval=interval)
    with ExitStack() as stack:

        def start(name: str, kind: str, host: Host) -> None:
            arguments = (kind, str(VIP), str(VIP_PORT), str(watch._interval_of(name)))
            stack.enter_context(watch.started(name, host, "kubevip_lab._probes", arguments))

        start("icmp", "icmp", lab.client)
        start("http", "http", lab.client)
        start("arp", "arp", lab.watcher)
        for node in lab.nodes:
            start(f"icmp {node}", "icmp", lab.network.hosts[node])
        yield watch

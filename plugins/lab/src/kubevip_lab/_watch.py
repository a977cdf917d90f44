"""Watches the address from outside: starts the probers on their hosts and collects what they put on record."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import subprocess
import sys
import termios
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from attrs import define, field

from kubevip.errors import KubevipError
from kubevip_lab._host import DEVICE
from kubevip_lab._lab import VIP, VIP_PORT
from kubevip_lab._measure import Answer
from kubevip_lab._record import ANSWERED, CLOSED, LATE, OPENED, RECORD, REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from ipaddress import IPv4Address

    from kubevip_lab._host import Host
    from kubevip_lab._lab import Lab

_PIPE_BYTES = 1 << 20  # some 20,000 records: a reader may be busy for seconds without making a prober wait
_WAKE_SECONDS = 0.02
_DELIVERY_SECONDS = 0.05  # a prober keeps records for 20 ms, this process may have to wait for a processor
_OPEN_SECONDS = 10.0
_NODE_INTERVAL_SECONDS = 0.01  # at least: that the followers are clients too needs no more
ETH_P_ARP = 0x0806


@define
class Prober:
    """What one prober has put on record, by kind and in the order of receipt, and what it leaves between questions."""

    interval: float
    records: dict[bytes, list[Answer]] = field(
        factory=lambda: {kind: list[Answer]() for kind in (ANSWERED, REFUSED, OPENED, CLOSED, LATE)}
    )

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


@define
class Feed:
    """One process and the probers that it is."""

    process: subprocess.Popen[bytes]
    probers: tuple[Prober, ...]
    _rest: bytes = b""

    def take(self) -> None:
        """Take what came through the pipe.

        :raises KubevipError: when the process has ended.
        """
        read = os.read(self.pipe, _PIPE_BYTES)
        if not read:
            raise KubevipError(f"a prober ended with status {self.process.wait()}: {self.process.args!r}")
        data = self._rest + read
        whole = len(data) - len(data) % RECORD.size
        for kind, asker, number, sent, received, by in RECORD.iter_unpack(data[:whole]):
            answer = Answer(number=number, sent=sent, received=received, by=by.rstrip(b"\0").decode())
            self.probers[int(asker)].records[kind].append(answer)
        self._rest = data[whole:]

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
    not hold the address is a client like others. `interval` is what they leave between two questions, in seconds; the
    nodes' leave 10 ms at least.
    """

    client: Host
    address: IPv4Address
    port: int
    interval: float
    probers: dict[str, Prober] = field(factory=dict[str, Prober])
    _poll: select.epoll = field(factory=select.epoll)
    _readers: dict[int, Callable[[], None]] = field(factory=dict[int, "Callable[[], None]"])
    _feeds: set[int] = field(factory=set[int])  # the pipes of the probers among them

    def pump(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Collect for some time, or until `until` holds; returns whether it did.

        :raises KubevipError: when a prober has ended.
        """
        end = monotonic() + seconds
        while not (is_done := until()) and (left := end - monotonic()) > 0:
            self._read(min(left, _WAKE_SECONDS))
        self._read(0.0)  # what came while this process was kept from running
        return is_done

    def _read(self, seconds: float) -> None:
        for fd, _ in self._poll.poll(seconds):
            self._readers[fd]()

    @property
    def unread(self) -> int:
        """How many records of the probers wait to be read by this process; more than some hundred: it is behind."""
        return sum(_unread_bytes(fd) for fd in self._feeds) // RECORD.size

    def macs(self, seconds: float) -> set[str]:
        """Return the hardware addresses (in hex, without colons) that answered ARP within the last `seconds`."""
        return {answer.by for answer in self.probers["arp"].since(monotonic() - seconds)}

    def unanswered(self, seconds: float, nodes: Iterable[str] = ()) -> tuple[str, ...]:
        """Return which probers of the client and of `nodes` lacked a fifth of their answers over `seconds`.

        These end a moment ago: later answers may be on their way from a prober to here.
        """
        end = monotonic() - _DELIVERY_SECONDS
        names = ("icmp", "http", *(f"icmp {node}" for node in nodes))

        def is_unanswered(prober: Prober) -> bool:
            count = sum(answer.received <= end for answer in prober.since(end - seconds))
            return count < 0.8 * seconds / prober.interval

        return tuple(name for name in names if is_unanswered(self.probers[name]))

    def forget(self, before: float) -> None:
        """Drop records received before a moment."""
        for prober in self.probers.values():
            prober.forget(before)

    @contextmanager
    def held(self, count: int) -> Generator[Prober]:
        """Have the client hold `count` connections open inside the block; they are open when it begins."""
        arguments = (str(self.address), str(self.port), str(count))
        command = [sys.executable, "-P", "-m", "kubevip_lab._hold", *arguments]
        process = self.client.start(command, output=subprocess.PIPE, errors=sys.stderr.buffer)
        prober = Prober(interval=self.interval)
        with self.fed(process, {"held": prober}):
            if not self.pump(_OPEN_SECONDS, lambda: len(prober.records[OPENED]) == count):
                raise KubevipError(f"{len(prober.records[OPENED])} of {count} connections opened in {_OPEN_SECONDS} s")
            yield prober

    @contextmanager
    def fed(self, process: subprocess.Popen[bytes], probers: dict[str, Prober]) -> Generator[None]:
        """Collect what a process puts on record for `probers`, in their order, inside the block; then kill it."""
        feed = Feed(process, tuple(probers.values()))
        fcntl.fcntl(feed.pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        with process:
            self.probers.update(probers)
            self._feeds.add(feed.pipe)
            try:
                with self.reading(feed.pipe, feed.take):
                    yield
            finally:
                self._feeds.discard(feed.pipe)
                for name in probers:
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


@define
class Asking:
    """One asker to be: its name, how it asks ("icmp", "arp"), its socket, at every which tick, about which address."""

    name: str
    kind: str
    socket: socket.socket
    every: int
    address: IPv4Address


@contextmanager
def open_watch(lab: Lab, interval: float) -> Generator[Watch]:
    """Start the probers of the virtual IP and of the TCP port on it; they are killed when left."""
    watch = Watch(client=lab.client, address=VIP, port=VIP_PORT, interval=interval)
    seldom = max(round(_NODE_INTERVAL_SECONDS / interval), 1)
    asking = [
        Asking("icmp", "icmp", icmp_socket(lab.client), 1, VIP),
        Asking("arp", "arp", arp_socket(lab.watcher), 1, VIP),
    ]
    for node in lab.nodes:
        asking.append(Asking(f"icmp {node}", "icmp", icmp_socket(lab.network.hosts[node]), seldom, VIP))
    command = [sys.executable, "-P", "-m", "kubevip_lab._http_probe", str(VIP), str(VIP_PORT), str(interval)]
    with start_askers(watch, asking):
        process = lab.client.start(command, output=subprocess.PIPE, errors=sys.stderr.buffer)
        with watch.fed(process, {"http": Prober(interval=interval)}):
            yield watch


@contextmanager
def start_askers(watch: Watch, asking: Sequence[Asking]) -> Generator[None]:
    """Have one process ask for all, at the watch's interval; it is killed when left. Their sockets become its own."""
    descriptors = [each.socket.fileno() for each in asking]
    arguments = [f"{each.kind}:{each.socket.fileno()}:{each.every}:{each.address}" for each in asking]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "kubevip_lab._probes", str(watch.interval), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        pass_fds=descriptors,
        start_new_session=True,
    )
    for each in asking:
        each.socket.close()
    with watch.fed(process, {each.name: Prober(interval=watch.interval * each.every) for each in asking}):
        yield


def _unread_bytes(pipe: int) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def icmp_socket(host: Host) -> socket.socket:
    """Return a socket of `host` for echo requests."""
    with host.entered():
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def arp_socket(host: Host) -> socket.socket:
    """Return a socket of `host` for ARP on its device."""
    with host.entered():
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        packets.bind((DEVICE, ETH_P_ARP))
        return packets

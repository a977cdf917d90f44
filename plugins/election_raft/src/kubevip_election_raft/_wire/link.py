"""The outgoing connection to one peer, and what waits to be sent through it."""

from __future__ import annotations

import socket
import struct

from anyio import CancelScope, Event, move_on_after, wait_writable
from attrs import define, field

from kubevip_election_raft._wire.connection import Connection
from kubevip_election_raft._wire.sockets import Endpoint

#: Kinds of messages are few; more waiting frames than this means that the peer does not read.
LONGEST_QUEUE = 32

#: struct tcp_info of linux/tcp.h up to tcpi_rtt, the 16th 32-bit word after 8 bytes.
_TCP_INFO_RTT = struct.Struct("68xI")


@define(kw_only=True, eq=False)
class Link:
    """Sends to one peer. `problem` says why it cannot: "refused", "no answer", "wrong CA", what the peer refuses.

    `software` and `config` name what the peer says it runs. `is_refused`: it said that this member is not wanted.
    What cannot be sent at once waits in a short queue in which a newer message replaces an older one of its kind.
    """

    name: str
    endpoint: Endpoint
    connection: Connection | None = None
    problem: str = "not tried yet"
    software: str = ""
    config: str = ""
    is_refused: bool = False
    scope: CancelScope = field(factory=CancelScope)
    _unsent: dict[type, bytes] = field(factory=dict[type, bytes])
    _wake: Event = field(factory=Event)
    _knocked: Event = field(factory=Event)

    def send(self, *frames: tuple[type, bytes]) -> None:
        """Send frames of some kinds in one write, or as soon as the kernel has room; without a connection, not at all.

        One write is one TLS record, one segment, and one wake-up of the peer.
        """
        connection = self.connection
        if connection is None:
            return
        if connection.is_clear and not self._unsent:
            if connection.write(b"".join([data for _, data in frames])):
                return
        else:
            for kind, data in frames:
                if self._unsent.pop(kind, None) is not None or len(self._unsent) < LONGEST_QUEUE:
                    self._unsent[kind] = data
        self._wake.set()

    def flush(self) -> bool:
        """Send what waits; return whether nothing waits any more."""
        connection = self.connection
        if connection is None:
            return True
        while connection.flush() and self._unsent:
            connection.write(self._unsent.pop(next(iter(self._unsent))))
        return connection.is_clear

    async def keep_flushing(self) -> None:
        """Send what waits whenever the kernel has room, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = Event()
            while not self.flush():
                assert self.connection is not None  # or nothing waited
                await wait_writable(self.connection.socket)

    async def rest(self, seconds: float) -> None:
        """Wait before the next attempt; less if somebody knocks."""
        self._knocked = Event()
        with move_on_after(seconds):
            await self._knocked.wait()

    def knock(self) -> None:
        """Note that the peer is there: it connected from its side."""
        self._knocked.set()

    def end(self, problem: str) -> None:
        """Have no connection any more; what it held is lost."""
        self.connection, self.problem = None, problem
        self._unsent.clear()

    def round_trip_seconds(self) -> float | None:
        """Return the smoothed round trip as the kernel measures it; None without a connection."""
        if self.connection is None:
            return None
        info = self.connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_RTT.size)
        microseconds: int = _TCP_INFO_RTT.unpack(info)[0]
        return microseconds / 1e6

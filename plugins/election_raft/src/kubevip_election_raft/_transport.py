"""Frames between members over TCP: one outgoing connection a peer, used for sending, and theirs, used for receiving.

Nothing is promised about delivery: what cannot be sent at once waits in a short queue in which a newer message replaces
an older one of its kind, and what a broken connection held is lost. The protocol asks again.

`send` works without a task switch when the kernel has room, so a heartbeat costs one system call on this side.
"""

from __future__ import annotations

import logging
import math
import socket
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random

from anyio import Event, create_task_group, move_on_after, sleep, wait_readable, wait_writable
from anyio.abc import TaskGroup
from attrs import define, field, frozen

from kubevip_election_raft._codec import Decoder, Frame, FrameError, Hello, Payload, Ping, Welcome, encode
from kubevip_election_raft._messages import Message, Process
from kubevip_election_raft._sockets import Endpoint, new_connection, tune

logger = logging.getLogger("kubevip.raft.transport")

#: A connection attempt, and each of the first two frames, may take so long.
HANDSHAKE_SECONDS = 0.5

#: Pause before the next attempt; drawn from this range.
SHORTEST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.03, 0.12

#: Said to every peer so often, whatever else is said; one that was silent for long is hung up on.
PING_SECONDS, SILENCE_SECONDS = 1.0, 5.0

#: Kinds of messages are few; more waiting frames than this means that the peer does not read.
LONGEST_QUEUE = 32

#: Who has not greeted yet may be anybody; beyond this many at once they are closed unread. The address of each member
#: has places of its own, so that nobody elsewhere can keep a member out by connecting and saying nothing.
MOST_STRANGERS = 16

#: struct tcp_info of linux/tcp.h up to tcpi_rtt, the 16th 32-bit word after 8 bytes.
_TCP_INFO_RTT = struct.Struct("68xI")


@frozen(kw_only=True)
class Identity:
    """What a member says of itself at the start of a connection."""

    process: Process
    cluster: str
    own: Endpoint
    members: tuple[str, ...]
    software: str


@define(kw_only=True, eq=False)
class Link:
    """The outgoing connection to one peer. `problem` says why there is none: "refused", "no answer", a refusal."""

    name: str
    endpoint: Endpoint
    connection: socket.socket | None = None
    problem: str = "not tried yet"
    software: str = ""
    unsent: dict[type, bytes] = field(factory=dict[type, bytes])
    partial: bytes = b""
    wake: Event = field(factory=Event)

    def send(self, kind: type, data: bytes) -> None:
        """Send now, or as soon as the kernel has room; without a connection, not at all."""
        if self.connection is None:
            return
        if not self.partial and not self.unsent:
            data = self._write(data)
            if not data:
                return
            self.partial = data
        elif len(self.unsent) < LONGEST_QUEUE:
            self.unsent.pop(kind, None)
            self.unsent[kind] = data
        self.wake.set()

    def round_trip_seconds(self) -> float | None:
        """Return the smoothed round trip as the kernel measures it; None without a connection."""
        if self.connection is None:
            return None
        info = self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_RTT.size)
        microseconds: int = _TCP_INFO_RTT.unpack(info)[0]
        return microseconds / 1e6

    def flush(self) -> bool:
        """Send what waits; return whether nothing waits any more."""
        while self.partial or self.unsent:
            if not self.partial:
                self.partial = self.unsent.pop(next(iter(self.unsent)))
            self.partial = self._write(self.partial)
            if self.partial:
                return False
        return True

    def _write(self, data: bytes) -> bytes:
        assert self.connection is not None  # only called with one
        try:
            return data[self.connection.send(data) :]
        except BlockingIOError:
            return data
        except OSError:
            return b""  # the reader of this connection meets the same error and ends it


class Transport:
    """Sends to the peers and receives from them while `run` runs."""

    def __init__(
        self,
        identity: Identity,
        peers: Mapping[str, Endpoint],
        *,
        receive: Callable[[Process, Message], None],
        lost: Callable[[str], None],
        clock: Callable[[], float],
        rng: Random,
    ) -> None:
        """Prepare; nothing is opened yet.

        :param receive: called with every message of a peer, in the order of its connection.
        :param lost: called when a connection from or to a peer ended that had worked.
        """
        self._identity, self._receive, self._lost, self._clock, self._rng = identity, receive, lost, clock, rng
        self.links = {name: Link(name=name, endpoint=endpoint) for name, endpoint in peers.items()}
        self._heard_at: dict[str, float] = {}
        self._incoming: dict[str, socket.socket] = {}
        self._addresses = {str(endpoint.address) for endpoint in peers.values()}
        self._strangers: Counter[str] = Counter()  # by address; "" for all that no member has

    def heard_at(self, peer: str) -> float:
        """Return when something of `peer` was received, a reading of `clock`; minus infinity for never."""
        return self._heard_at.get(peer, -math.inf)

    def send(self, to: str, message: Payload) -> None:
        """Send a message to a peer, or drop it; never blocks."""
        self.links[to].send(type(message), self._encode(message))

    def send_all(self, messages: list[tuple[str, Payload]]) -> None:
        """Send messages; one that goes to several peers is encoded once."""
        encoded: dict[int, bytes] = {}
        for to, message in messages:
            data = encoded.get(id(message))
            if data is None:
                data = encoded[id(message)] = self._encode(message)
            self.links[to].send(type(message), data)

    async def run(self, listener: socket.socket) -> None:
        """Accept and connect until cancelled; all connections are closed when it returns."""
        try:
            async with create_task_group() as tg:
                for link in self.links.values():
                    tg.start_soon(self._keep_connected, link)
                tg.start_soon(self._ping)
                await self._accept(listener, tg)
        finally:
            for connection in self._incoming.values():
                connection.close()

    # Outgoing

    async def _keep_connected(self, link: Link) -> None:
        while True:
            try:
                connection = new_connection(self._identity.own)
            except OSError as error:
                link.problem = str(error.strerror)
            else:
                with connection:
                    await self._use(link, connection)
            await sleep(self._rng.uniform(SHORTEST_RETRY_SECONDS, LONGEST_RETRY_SECONDS))

    async def _use(self, link: Link, connection: socket.socket) -> None:
        """Connect, greet, and send until the connection ends."""
        problem = "no answer"
        with move_on_after(HANDSHAKE_SECONDS):
            problem = await self._greet(link, connection)
        if problem:
            if problem != link.problem:
                logger.info("cannot reach peer=%s at=%s: %s", link.name, link.endpoint, problem)
            link.problem = problem
            return
        logger.info("connected to peer=%s at=%s", link.name, link.endpoint)
        link.connection, link.problem = connection, ""
        try:
            async with create_task_group() as tg:
                tg.start_soon(self._write_when_possible, link, connection)
                await self._wait_for_end(connection)
                tg.cancel_scope.cancel()
        finally:
            link.connection, link.problem, link.partial = None, "connection lost", b""
            link.unsent.clear()
        logger.info("connection to peer=%s ended", link.name)
        self._lost(link.name)

    async def _greet(self, link: Link, connection: socket.socket) -> str:
        """Open the connection; return what is wrong with it, or ""."""
        try:
            try:
                connection.connect((str(link.endpoint.address), link.endpoint.port))
            except BlockingIOError:
                await wait_writable(connection)
            if error := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, "")
            connection.send(
                self._encode(Hello(to=link.name, members=self._identity.members, software=self._identity.software))
            )
            reader, frames = Decoder(), list[Frame]()
            while not frames:
                await wait_readable(connection)
                data = connection.recv(65536)
                if not data:
                    return "refused"
                frames = reader.feed(data)
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "no answer"
        except FrameError as error:
            return str(error)
        answer = frames[0].message
        if frames[0].cluster != self._identity.cluster:
            return "wrong cluster"
        if not isinstance(answer, Welcome):
            return "no welcome"
        if not answer.refusal and frames[0].sender.name != link.name:
            return f"{frames[0].sender.name} is there"
        link.software = answer.software
        return answer.refusal

    async def _write_when_possible(self, link: Link, connection: socket.socket) -> None:
        while True:
            await link.wake.wait()
            link.wake = Event()
            while not link.flush():
                await wait_writable(connection)

    async def _wait_for_end(self, connection: socket.socket) -> None:
        while True:
            await wait_readable(connection)
            try:
                if not connection.recv(4096):
                    return
            except BlockingIOError:
                continue
            except OSError:
                return

    # Incoming

    async def _accept(self, listener: socket.socket, tg: TaskGroup) -> None:
        while True:
            await wait_readable(listener)
            try:
                connection, source = listener.accept()
            except (BlockingIOError, ConnectionError):
                continue  # gone before it was accepted
            except OSError as error:  # out of descriptors or memory: the listener stays readable, so wait
                logger.warning("a connection has to wait: %s", error.strerror)
                await sleep(SHORTEST_RETRY_SECONDS)
                continue
            connection.setblocking(False)
            address = str(source[0]).partition("%")[0]
            place = address if address in self._addresses else ""
            if self._strangers[place] >= MOST_STRANGERS:
                connection.close()
                continue
            self._strangers[place] += 1
            tg.start_soon(self._serve, connection, address, place)

    async def _serve(self, connection: socket.socket, source: str, place: str) -> None:
        with connection:
            decoder, frames = Decoder(), list[Frame]()
            try:
                tune(connection)
                with move_on_after(HANDSHAKE_SECONDS):
                    frames = await self._read_hello(connection, decoder, source)
            except (OSError, FrameError) as error:
                logger.warning("connection from %s refused: %s", source, error)
            finally:
                self._strangers[place] -= 1
            if frames:
                await self._listen_to(frames[0].sender, connection, decoder, frames[1:])

    async def _read_hello(self, connection: socket.socket, decoder: Decoder, source: str) -> list[Frame]:
        """Return the hello and what came with it; nothing when it was refused."""
        frames: list[Frame] = []
        while not frames:
            await wait_readable(connection)
            data = connection.recv(4096)
            if not data:
                return []
            frames = decoder.feed(data)
        frame = frames[0]
        refusal = self._refusal(frame, source)
        connection.send(self._encode(Welcome(refusal=refusal, software=self._identity.software)))
        if refusal:
            logger.warning("connection from %s refused: %s (it says it is %s)", source, refusal, frame.sender.name)
            return []
        return frames

    def _refusal(self, frame: Frame, source: str) -> str:
        """Say why whoever sent this first frame is not heard; "" if it is."""
        name = frame.sender.name
        if frame.cluster != self._identity.cluster:
            return "wrong cluster"
        if not isinstance(frame.message, Hello):
            return "no greeting"
        if (link := self.links.get(name)) is None:
            return f"{name} is not a member here (members: {', '.join(self._identity.members)})"
        if source != str(link.endpoint.address):
            return f"{name} is at {link.endpoint.address} here, not at {source}"
        if frame.message.to != self._identity.process.name:
            return f"this is {self._identity.process.name}, not {frame.message.to}"
        return ""

    async def _listen_to(
        self, sender: Process, connection: socket.socket, decoder: Decoder, frames: list[Frame]
    ) -> None:
        if (older := self._incoming.get(sender.name)) is not None:
            _hang_up(older)  # its reader ends; the newer one speaks for the peer
        self._incoming[sender.name] = connection
        self._heard_at[sender.name] = self._clock()
        try:
            while True:
                self._take(sender, frames)
                await wait_readable(connection)
                try:
                    data = connection.recv(65536)
                except BlockingIOError:
                    frames = []
                    continue
                if not data:
                    break
                self._heard_at[sender.name] = self._clock()
                frames = decoder.feed(data)
        except OSError:
            pass  # the same as its end
        except FrameError as error:
            logger.warning("connection from peer=%s ended: %s", sender.name, error)
        if self._incoming.get(sender.name) is connection:
            del self._incoming[sender.name]
            self._lost(sender.name)

    def _take(self, sender: Process, frames: list[Frame]) -> None:
        for frame in frames:
            if frame.sender != sender or frame.cluster != self._identity.cluster:
                raise FrameError(f"a frame of {frame.sender} on a connection of {sender}")
            if not isinstance(frame.message, Hello | Welcome | Ping):
                self._receive(sender, frame.message)

    async def _ping(self) -> None:
        while True:
            await sleep(PING_SECONDS)
            for name in self.links:
                self.send(name, Ping())
            for name, connection in self._incoming.items():
                if self._clock() - self.heard_at(name) > SILENCE_SECONDS:
                    _hang_up(connection)

    def _encode(self, message: Payload) -> bytes:
        identity = self._identity
        return encode(Frame(cluster=identity.cluster, sender=identity.process, message=message))


def _hang_up(connection: socket.socket) -> None:
    """End a connection, whose reader then meets its end; harmless when the peer reset it already (ENOTCONN)."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)

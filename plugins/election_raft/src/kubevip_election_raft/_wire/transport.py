"""Frames between members over TCP: one outgoing connection a peer, used for sending, and theirs, used for receiving.

Nothing is promised about delivery: what cannot be sent at once waits in a short queue in which a newer message replaces
an older one of its kind, and what a broken connection held is lost. The protocol asks again.

`send` works without a task switch when the kernel has room. What is said to a peer in one breath, or in answer to what
was read from it at once, is one write, so a heartbeat costs one system call on either side, and the sealing of some
hundred bytes.

With keys, nothing of a frame is looked at before the other side has proven its name. Without, its address has to do.
What the parent process of a dead peer says comes without either, and is believed for the secret in it (`seals`).
"""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random

from anyio import CapacityLimiter, create_task_group, move_on_after, sleep, to_thread, wait_readable
from anyio.abc import TaskGroup

from kubevip_election_raft._callbacks import call_when_readable
from kubevip_election_raft._consensus.messages import Introduction, Message, Process
from kubevip_election_raft._tls.channel import ChannelError
from kubevip_election_raft._tls.keyring import Keyring
from kubevip_election_raft._wire.codec import (
    LARGEST_FRAME_BYTES,
    LARGEST_GREETING_BYTES,
    Decoder,
    Frame,
    FrameError,
    Hello,
    Payload,
    Ping,
    Welcome,
)
from kubevip_election_raft._wire.connection import Connection
from kubevip_election_raft._wire.doorway import Doorway
from kubevip_election_raft._wire.greeter import Greeter
from kubevip_election_raft._wire.identity import Identity
from kubevip_election_raft._wire.link import Link
from kubevip_election_raft._wire.mourner import Mourner
from kubevip_election_raft._wire.sockets import Endpoint, connect, new_connection, tune

logger = logging.getLogger("kubevip.raft.transport")

#: A connection attempt with its handshake and greeting may take so long, on either side.
HANDSHAKE_SECONDS = 0.5

#: Pause before the next attempt; drawn from this range. None after a connection that had worked for some time.
SHORTEST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.03, 0.12
LASTING_SECONDS = 1.0

#: The pause is so many times longer for whoever was told that it is not wanted: it is none of the members (any more).
REFUSED_TIMES = 12.0

#: Said to every peer so often, whatever else is said; one that was silent for long is hung up on.
PING_SECONDS, SILENCE_SECONDS = 1.0, 5.0

#: How often the files of the keys are looked at, and the pause between one peer and the next when they changed.
KEYS_SECONDS, RENEWAL_SECONDS = 2.0, 0.5


class Transport:
    """Sends to the peers and receives from them while `run` runs."""

    def __init__(
        self,
        identity: Identity,
        peers: Mapping[str, Endpoint],
        keyring: Keyring,
        *,
        receive: Callable[[Process, Sequence[Message]], None],
        lost: Callable[[str], None],
        clock: Callable[[], float],
        rng: Random,
        digest: Callable[[], str] = str,
        superseded: Callable[[str, int], None] = lambda peer, epoch: None,
        introduce: Callable[[], Introduction] = Introduction,
        met: Callable[[Process, Introduction, str], None] = lambda sender, introduction, source: None,
        seal: str = "",
    ) -> None:
        """Prepare; nothing is opened yet.

        :param receive: called with the messages of a peer that came in one breath, in the order of its connection.
        :param lost: called when a connection from or to a peer ended that had worked.
        :param digest: names the configuration that runs here now; peers are told.
        :param superseded: called with the name of a peer and its epoch when that is later than the one of here.
        :param introduce: returns how this member introduces itself now.
        :param met: called with how somebody did who is a peer, or has proven a name; or else with the address that it
            came from, otherwise empty.
        :param seal: by which peers are to believe that this process is dead.
        """
        self._identity, self._keyring, self._digest = identity, keyring, digest
        self._receive, self._lost, self._clock, self._rng = receive, lost, clock, rng
        self._greeter = Greeter(identity, introduce=introduce, met=met, superseded=superseded)
        self.links = {name: Link(name=name, endpoint=endpoint) for name, endpoint in peers.items()}
        self._heard_at: dict[str, float] = {}
        self._incoming: dict[str, Connection] = {}
        self._doorway = Doorway(_addresses(peers), clock)
        self._mourner = Mourner(seal, receive=receive, refuse=self._doorway.refuse)
        self._tasks: TaskGroup | None = None

    @property
    def refused_count(self) -> int:
        """How many connections were refused since the start."""
        return self._doorway.refused_count

    @property
    def warnings(self) -> tuple[str, ...]:
        """What ought to be put right about the keys."""
        return self._keyring.warnings

    def heard_at(self, peer: str) -> float:
        """Return when something of `peer` was received, a reading of `clock`; minus infinity for never."""
        return self._heard_at.get(peer, -math.inf)

    def send(self, to: str, message: Payload) -> None:
        """Send a message to a peer, or drop it; never blocks."""
        self.send_all([(to, message)])

    def send_all(self, messages: Iterable[tuple[str, Payload]]) -> None:
        """Send messages; one that goes to several peers is encoded once. To who is no peer any more nothing is sent."""
        encoded: dict[int, bytes] = {}
        frames: dict[str, list[tuple[type, bytes]]] = {}
        for to, message in messages:
            data = encoded.get(id(message))
            if data is None:
                data = encoded[id(message)] = self._identity.encode(message)
            frames.setdefault(to, []).append((type(message), data))
        for to, those in frames.items():
            if (link := self.links.get(to)) is not None:
                link.send(*those)

    def set_peers(self, peers: Mapping[str, Endpoint]) -> None:
        """Speak with these peers from now on, and with no others; links to those that stay are not touched."""
        for name, link in tuple(self.links.items()):
            if peers.get(name) != link.endpoint:
                del self.links[name]
                link.scope.cancel()
                if (connection := self._incoming.get(name)) is not None:
                    connection.hang_up()
        for name, endpoint in peers.items():
            if name not in self.links:
                link = self.links[name] = Link(name=name, endpoint=endpoint)
                if self._tasks is not None:
                    self._tasks.start_soon(self._keep_connected, link)
        self._doorway.expect(_addresses(peers))

    async def run(self, listener: socket.socket) -> None:
        """Accept and connect until cancelled; all connections are closed when it returns."""
        try:
            async with create_task_group() as tg:
                self._tasks = tg
                for link in self.links.values():
                    tg.start_soon(self._keep_connected, link)
                tg.start_soon(self._ping)
                if not self._keyring.is_plain:
                    tg.start_soon(self._watch_keys)
                await self._accept(listener, tg)
        finally:
            self._tasks = None
            for connection in self._incoming.values():
                connection.socket.close()

    # Outgoing

    async def _keep_connected(self, link: Link) -> None:
        with link.scope:
            while True:
                began, has_worked = self._clock(), False
                try:
                    connection = new_connection(self._identity.own)
                except OSError as error:
                    link.problem = str(error.strerror)
                else:
                    with connection:
                        channel = self._keyring.channel(is_server=False)
                        has_worked = await self._use(link, Connection(connection, channel))
                if not (has_worked and self._clock() - began > LASTING_SECONDS):
                    times = REFUSED_TIMES if link.is_refused else 1.0
                    await link.rest(times * self._rng.uniform(SHORTEST_RETRY_SECONDS, LONGEST_RETRY_SECONDS))

    async def _use(self, link: Link, connection: Connection) -> bool:
        """Connect, greet, and send until the connection ends; return whether it worked."""
        problem = "no answer"
        with move_on_after(HANDSHAKE_SECONDS):
            problem = await self._greet(link, connection)
        if problem:
            if problem != link.problem:
                logger.info("cannot reach peer=%s at=%s: %s", link.name, link.endpoint, problem)
            link.problem = problem
            return False
        logger.info("connected to peer=%s at=%s", link.name, link.endpoint)
        link.connection, link.problem = connection, ""
        self.send(link.name, self._mourner.ping(self._digest()))  # first: whoever promises has to know when it is over
        try:
            async with create_task_group() as tg:
                tg.start_soon(link.keep_flushing)
                await self._wait_for_end(connection)
                tg.cancel_scope.cancel()
        finally:
            link.end("connection lost")
        logger.info("connection to peer=%s ended", link.name)
        if self.links.get(link.name) is link:
            self._lost(link.name)
        return True

    async def _greet(self, link: Link, connection: Connection) -> str:
        """Open the connection; return what is wrong with it, or ""."""
        try:
            await connect(connection.socket, link.endpoint)
            await connection.shake_hands()
            names = connection.peer_names
            if names is not None and link.name not in names:
                return f"{', '.join(names) or 'nobody'} is there"
            link.is_refused = False
            connection.write(self._identity.encode(self._greeter.hello(link.name)))
            reader, frames = Decoder(LARGEST_GREETING_BYTES), list[Frame]()
            while not frames:
                data = await connection.read()
                if not data:
                    return "refused"
                frames = reader.feed(data)
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "no answer"
        except (ChannelError, FrameError) as error:
            return str(error)
        return self._greeter.take_welcome(frames[0], link)

    async def _wait_for_end(self, connection: Connection) -> None:
        try:
            while await connection.read():
                pass
        except (OSError, ChannelError):
            pass  # the same as its end

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
            place = self._doorway.admit(address)
            if place is None:
                connection.close()
                continue
            tg.start_soon(self._serve, connection, address, place)

    async def _serve(self, accepted: socket.socket, source: str, place: str) -> None:
        with accepted:
            decoder, frames = Decoder(LARGEST_GREETING_BYTES), list[Frame]()
            connection = Connection(accepted, self._keyring.channel(is_server=True))
            try:
                tune(accepted)
                with move_on_after(HANDSHAKE_SECONDS) as limit:
                    if await self._mourner.hear(accepted, source):
                        return
                    frames = await self._read_hello(connection, decoder, source)
                if limit.cancelled_caught:
                    self._doorway.refuse(source, "no greeting in time")
            except (OSError, ChannelError, FrameError) as error:
                self._doorway.refuse(source, str(error))
            finally:
                self._doorway.leave(place)
            if frames:
                decoder.limit = LARGEST_FRAME_BYTES
                await self._listen_to(frames[0].sender, connection, decoder, frames[1:])

    async def _read_hello(self, connection: Connection, decoder: Decoder, source: str) -> list[Frame]:
        """Return the hello and what came with it; nothing when it was refused."""
        await connection.shake_hands()
        frames: list[Frame] = []
        while not frames:
            data = await connection.read()
            if not data:
                return []
            frames = decoder.feed(data)
        welcome = self._greeter.take_hello(frames[0], self.links, source, connection.peer_names)
        connection.write(self._identity.encode(welcome))
        if welcome.refusal:
            self._doorway.refuse(source, f"{welcome.refusal} (it says it is {frames[0].sender.name})")
            return []
        return frames

    async def _listen_to(self, sender: Process, connection: Connection, decoder: Decoder, frames: list[Frame]) -> None:
        if (older := self._incoming.get(sender.name)) is not None:
            older.hang_up()  # its reader ends; the newer one speaks for the peer
        self._incoming[sender.name] = connection
        if (link := self.links.get(sender.name)) is not None:
            link.knock()  # it is there
        self._heard_at[sender.name] = self._clock()

        def take() -> bool:
            """Take what the peer says now; return whether it has ended the connection."""
            data = connection.take()
            if data:
                self._heard_at[sender.name] = self._clock()
                self._take(sender, decoder.feed(data))
            return data == b""

        try:
            self._take(sender, frames)
            await call_when_readable(connection.socket, take)
        except OSError:
            pass  # the same as its end
        except (ChannelError, FrameError) as error:
            logger.warning("connection from peer=%s ended: %s", sender.name, error)
        if self._incoming.get(sender.name) is connection:
            del self._incoming[sender.name]
            if sender.name in self.links:
                self._lost(sender.name)

    def _take(self, sender: Process, frames: list[Frame]) -> None:
        messages: list[Message] = []
        try:
            for frame in frames:
                if (message := self._message_of(sender, frame)) is not None:
                    messages.append(message)
        finally:
            if messages:
                self._receive(sender, messages)

    def _message_of(self, sender: Process, frame: Frame) -> Message | None:
        """Return the message, unless it is one between transports.

        :raises FrameError: when it is not one of `sender`.
        """
        identity = self._identity
        is_sender = frame.sender is sender or frame.sender == sender  # nearly always the same object
        if not is_sender or frame.cluster != identity.cluster or frame.epoch != identity.epoch:
            raise FrameError(f"a frame of {frame.sender} on a connection of {sender}")
        message = frame.message
        if isinstance(message, Ping):
            if (link := self.links.get(sender.name)) is not None:
                link.config = message.config
            self._mourner.learn(sender, message)
            return None
        return None if isinstance(message, Hello | Welcome) else message

    # Both

    async def _ping(self) -> None:
        while True:
            await sleep(PING_SECONDS)
            ping = self._mourner.ping(self._digest())
            self.send_all((name, ping) for name in self.links)
            for name, connection in self._incoming.items():
                if self._clock() - self.heard_at(name) > SILENCE_SECONDS:
                    connection.hang_up()

    async def _watch_keys(self) -> None:
        """Take over new keys, and then make every connection anew: what the old keys allowed may be forbidden now.

        One peer after the other, so that a holder hears the answers of the others meanwhile.
        """
        limiter = CapacityLimiter(1)
        while True:
            await sleep(KEYS_SECONDS)
            if not await to_thread.run_sync(self._keyring.refresh, limiter=limiter):
                continue
            for name, link in tuple(self.links.items()):
                for connection in (link.connection, self._incoming.get(name)):
                    if connection is not None:
                        connection.hang_up()
                await sleep(RENEWAL_SECONDS)


def _addresses(peers: Mapping[str, Endpoint]) -> set[str]:
    return {str(endpoint.address) for endpoint in peers.values()}

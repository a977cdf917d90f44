"""The worker's side of its connection to the control process."""

from __future__ import annotations

import select
import socket
from collections import deque
from typing import TYPE_CHECKING, Protocol

from kubevip_dataplane._backends import Target
from kubevip_dataplane._messages import Decoder, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubevip_dataplane._loop import Loop
    from kubevip_dataplane._messages import Message

#: Least time between two reports of a listener's health.
HEALTH_SECONDS = 1.0

_CHUNK_BYTES = 64 << 10
_MOST_SOCKETS = 64


class RelayListener(Protocol):
    """What a proxy does with one listening socket, in its worker."""

    def set_backends(self, targets: Sequence[Target], drain_seconds: float) -> None:
        """Use `targets` for new connections; end connections to others after `drain_seconds`."""

    def close(self, drain_seconds: float) -> None:
        """Stop listening at once, end the connections after `drain_seconds` (0: reset them now), then tell.

        Called again while it drains, it sets a new end.
        """

    def health(self) -> Message:
        """Return `connections`, `down` and `problem`, as the message `health` has them."""
        raise NotImplementedError


class Notices(Protocol):
    """How a listener tells what became of it."""

    def changed(self) -> None:
        """Say that `health` returns something else now; cheap, may be called for every connection."""

    def closed(self) -> None:
        """Say that nothing listens and nothing is relayed any more."""


class Relay(Protocol):
    """A proxy's data path in one worker."""

    def open_listener(
        self, listening: socket.socket, targets: Sequence[Target], options: Message, notices: Notices
    ) -> RelayListener:
        """Relay what comes in on `listening`; `options` are the item's, as the proxy in the control process sent them.

        The socket is shared with the control process: stop watching it before it is closed.
        """
        raise NotImplementedError


class Session:
    """Does what the control process says; ends the loop when that process is gone."""

    def __init__(self, loop: Loop, channel: socket.socket, relay: Relay) -> None:
        self._loop, self._channel, self._relay = loop, channel, relay
        self._decoder = Decoder()
        self._sockets: deque[int] = deque()
        self._listeners: dict[str, _Entry] = {}
        self._unsent = bytearray()
        channel.setblocking(False)
        loop.add(channel.fileno(), self, select.EPOLLIN)

    def on_events(self, events: int) -> None:
        """Read or write when the events of this turn are done: what is said here closes other descriptors."""
        if events & select.EPOLLOUT:
            self._loop.call_soon(self._flush)
        if events & ~select.EPOLLOUT:
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        """Do all that was said so far: a listener that was opened meets no client before its newest backends."""
        while True:
            try:
                data, fds, _flags, _address = socket.recv_fds(self._channel, _CHUNK_BYTES, _MOST_SOCKETS)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            self._sockets.extend(fds)
            if not data:
                self.end()
                return
            for message in self._decoder.feed(data):
                self._do(message)

    def _do(self, message: Message) -> None:
        if message["do"] == "ping":
            self.send({"do": "pong"})
            return
        name = str(message["id"])
        match message["do"]:
            case "open":
                listening = socket.socket(fileno=self._sockets.popleft())
                entry = self._listeners[name] = _Entry(self, name)
                targets = [Target.parse(wire) for wire in message["backends"]]
                entry.listener = self._relay.open_listener(listening, targets, message["options"], entry)
            case "backends":
                if (known := self._listeners.get(name)) is not None and known.listener is not None:
                    targets = [Target.parse(wire) for wire in message["backends"]]
                    known.listener.set_backends(targets, float(message["drain"]))
            case "close":
                if (known := self._listeners.get(name)) is not None and known.listener is not None:
                    known.listener.close(float(message["drain"]))
            case other:
                raise ValueError(f"unknown message {other!r}")

    def end(self) -> None:
        """Reset everything and end: nobody is there any more who could say what is wanted."""
        for entry in tuple(self._listeners.values()):
            if entry.listener is not None:
                entry.listener.close(0.0)
        self._loop.stop()

    def forget(self, name: str) -> None:
        """Forget the listener `name`, which is closed, and say so."""
        del self._listeners[name]
        self.send({"do": "closed", "id": name})

    @property
    def is_backed_up(self) -> bool:
        """Whether the control process does not read what is sent; what can wait should."""
        return bool(self._unsent)

    def send(self, message: Message) -> None:
        """Send `message`, later if the control process does not read; never blocks."""
        idle = not self._unsent
        self._unsent += encode(message)
        if idle:
            self._flush()

    def _flush(self) -> None:
        was_waiting = self.is_backed_up
        try:
            while self._unsent:
                del self._unsent[: self._channel.send(self._unsent)]
        except BlockingIOError:
            self._loop.modify(self._channel.fileno(), select.EPOLLIN | select.EPOLLOUT)
            return
        except OSError:
            self._unsent.clear()  # it is gone; reading will say so
            return
        if was_waiting:
            self._loop.modify(self._channel.fileno(), select.EPOLLIN)


class _Entry:
    """One listener as the session knows it; tells the control process about it, at a bounded rate."""

    __slots__ = ("_is_due", "_last", "_name", "_session", "listener")

    def __init__(self, session: Session, name: str) -> None:
        self._session, self._name = session, name
        self._is_due = False
        self._last = float("-inf")
        self.listener: RelayListener | None = None

    def changed(self) -> None:
        if not self._is_due:
            self._is_due = True
            loop = self._session._loop
            if loop.now - self._last >= HEALTH_SECONDS:
                loop.call_soon(self._report)
            else:
                loop.call_at(self._last + HEALTH_SECONDS, self._report)

    def _report(self) -> None:
        session = self._session
        if self.listener is None or session._listeners.get(self._name) is not self:
            return
        self._last = session._loop.now
        if session.is_backed_up:
            session._loop.call_at(self._last + HEALTH_SECONDS, self._report)
            return
        self._is_due = False
        session.send({"do": "health", "id": self._name, **self.listener.health()})

    def closed(self) -> None:
        self._session.forget(self._name)

"""One listening socket in a worker: accepts clients up to a limit, and keeps the connections it relays."""

from __future__ import annotations

import errno
import select
import socket
from typing import TYPE_CHECKING

from kubevip_dataplane.worker import Backends
from kubevip_proxy_tcp._connection import Connection
from kubevip_proxy_tcp._sockets import acceptor, new_socket, set_keepalive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubevip_dataplane.worker import Message, Notices, Target
    from kubevip_proxy_tcp._sockets import Socket
    from kubevip_proxy_tcp._workshop import Workshop

#: Clients accepted per turn; then the connections that are open have theirs.
ACCEPT_BATCH = 64

#: A client is watched for giving up once its backend has taken this long.
PATIENCE_SECONDS = 0.1

#: Pause after an accept that failed for want of descriptors or memory, unless a connection ends before.
PAUSE_SECONDS = 0.25

#: Connections are looked at for idleness this many times per timeout, at most every `SWEEP_SECONDS`.
SWEEPS_PER_TIMEOUT = 4
SWEEP_SECONDS = 30.0

_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Settings:
    """What the options of an item come to in a worker; spans in seconds."""

    __slots__ = ("connect_seconds", "idle_seconds", "keepalive_seconds", "most_connections", "tries")

    def __init__(self, wire: Message) -> None:
        self.connect_seconds = float(wire["connectSeconds"])
        self.idle_seconds = float(wire["idleSeconds"])
        self.keepalive_seconds = max(1, round(wire["keepaliveSeconds"]))
        self.tries = int(wire["tries"])
        self.most_connections = int(wire["mostConnections"])


class TcpListener:
    """Relays what comes in on one listening socket. A `kubevip_dataplane.worker.RelayListener`."""

    def __init__(
        self,
        shop: Workshop,
        listening: socket.socket,
        targets: Sequence[Target],
        settings: Settings,
        notices: Notices,
    ) -> None:
        self.shop, self.options = shop, settings
        self.backends = Backends(targets)
        self.connecting: dict[Connection, None] = {}
        """Connections that look for a backend, the one that has tried its own for longest first."""
        self._loop, self._notices = shop.loop, notices
        self._listening: socket.socket | None = listening
        self._connections: set[Connection] = set()
        self._leaving: dict[str, float] = {}  # removed backends, and when connections to them end
        self._seen_changes = self.backends.changes
        self._complaint = ""
        self._is_paused = self._is_resuming = self._is_ticking = self._is_closed = False
        self._is_closing = False
        self._close_at = 0.0
        set_keepalive(listening, settings.keepalive_seconds)  # what is accepted inherits these
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.setblocking(False)
        self._accept = acceptor(listening)
        self._loop.add(listening.fileno(), self, select.EPOLLIN)
        self._sweep_seconds = min(settings.idle_seconds / SWEEPS_PER_TIMEOUT, SWEEP_SECONDS)
        self._loop.call_at(self._loop.now + self._sweep_seconds, self._sweep)
        notices.changed()

    @property
    def now(self) -> float:
        """The loop's clock."""
        return self._loop.now

    # Clients

    def on_events(self, events: int) -> None:
        """Accept the clients that wait."""
        listening = self._listening
        if listening is None:
            return
        if events & select.EPOLLHUP:
            self._stop_listening()  # the control process shut it down; it will say so
            return
        room = self.options.most_connections - len(self._connections)
        if room <= 0:
            self._pause(f"limit of {self.options.most_connections} connections reached: new clients wait")
            return
        for _ in range(min(room, ACCEPT_BATCH)):
            if self._is_paused:
                return
            try:
                client = self._accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self.complain(error)
                    return
                continue  # the client has gone again (accept(2): ECONNABORTED and pending network errors)
            connection = Connection(self, client)
            self._connections.add(connection)
            connection.connect()
        self._notices.changed()

    def new_socket(self, family: int) -> Socket:
        """Return a socket for a backend, with a keepalive.

        :raises OSError: when the process may open no more files, and has no reserve.
        """
        try:
            sock = new_socket(family)
        except OSError as error:
            if not self.shop.spend_reserve():
                raise
            self.complain(error)
            sock = new_socket(family)
        set_keepalive(sock, self.options.keepalive_seconds)
        if not self._is_ticking:
            self._is_ticking = True
            self._loop.call_at(self.now + self._tick_seconds, self._tick)
        return sock

    def answered(self, target: Target) -> None:
        """Take note that `target` accepted a connection."""
        self.backends.answered(target)
        self._tell_of_backends()

    def failed(self, target: Target, reason: str, *, is_silent: bool) -> None:
        """Take note that `target` did not accept a connection; `is_silent`: it let the whole timeout pass."""
        self.backends.failed(target, reason, self.now, is_silent=is_silent)
        self._tell_of_backends()

    def _tell_of_backends(self) -> None:
        if self._seen_changes != self.backends.changes:
            self._seen_changes = self.backends.changes
            self._notices.changed()

    def complain(self, error: OSError) -> None:
        """Accept nobody for a moment: this machine lacks what a connection needs."""
        self._pause(f"{(error.strerror or str(error)).lower()}: new clients wait")
        self._resume_later()

    def _pause(self, reason: str) -> None:
        if self._listening is not None and not self._is_paused:
            self._is_paused = True
            self._loop.modify(self._listening.fileno(), 0)
        self._complaint = reason
        self._notices.changed()

    def _resume(self) -> None:
        if self._is_paused and self._listening is not None:
            if not self.shop.restock():
                self._resume_later()
                return
            self._is_paused, self._complaint = False, ""
            self._loop.modify(self._listening.fileno(), select.EPOLLIN)
            self._notices.changed()

    def _resume_later(self) -> None:
        if not self._is_resuming:
            self._is_resuming = True
            self._loop.call_at(self.now + PAUSE_SECONDS, self._try_again)

    def _try_again(self) -> None:
        self._is_resuming = False
        self._resume()

    def forget(self, connection: Connection) -> None:
        """Forget `connection`, which is over."""
        self._connections.discard(connection)
        if self._is_paused and not self._is_resuming:
            self._resume()
        self._notices.changed()
        if self._is_closing and not self._connections:
            self._finish()

    # Time

    @property
    def _tick_seconds(self) -> float:
        return min(PATIENCE_SECONDS, self.options.connect_seconds / 4)

    def _tick(self) -> None:
        """Look after the connections that have been without a backend for a while."""
        now = self.now
        for connection in tuple(self.connecting):
            if connection.deadline <= now:
                connection.timed_out()
            elif connection.started_at <= now - PATIENCE_SECONDS:
                connection.watch_client()
        self._is_ticking = bool(self.connecting)
        if self._is_ticking:
            self._loop.call_at(now + self._tick_seconds, self._tick)

    def _sweep(self) -> None:
        """Reset the connections on which nothing has moved for too long."""
        if self._is_closed:
            return
        since = self.now - self.options.idle_seconds
        for connection in [one for one in self._connections if one.is_up and one.active_at <= since]:
            connection.reset()
        self._loop.call_at(self.now + self._sweep_seconds, self._sweep)

    # What the control process says

    def set_backends(self, targets: Sequence[Target], drain_seconds: float) -> None:
        """Use `targets` for new connections; reset those to removed ones after `drain_seconds`."""
        before, now = self.backends.keys, self.now
        self.backends.replace(targets)
        for key in self.backends.keys:
            self._leaving.pop(key, None)
        for key in before - self.backends.keys:
            self._leaving[key] = now + drain_seconds
        self._loop.call_at(now + drain_seconds, self._reset_strangers)
        self._notices.changed()

    def _reset_strangers(self) -> None:
        """Reset connections to backends that were removed long enough ago; those that came back meanwhile stay."""
        over = {key for key, when in self._leaving.items() if when <= self.now}
        for connection in [one for one in self._connections if one.target is not None and one.target.key in over]:
            if connection.is_up:
                connection.reset()
            else:
                connection.redirect()
        for key in over:
            del self._leaving[key]

    def close(self, drain_seconds: float) -> None:
        """Stop listening at once; reset the connections after `drain_seconds` and tell when all are over."""
        if self._is_closed:
            return
        self._stop_listening()
        self._is_closing = True
        self._close_at = self.now + drain_seconds
        if not self._connections:
            self._finish()
        elif drain_seconds <= 0:
            self._expire()
        else:
            self._loop.call_at(self._close_at, self._expire)

    def _expire(self) -> None:
        if self._is_closed or self.now < self._close_at:  # another end was set meanwhile
            return
        over = tuple(self._connections)
        for connection in over:
            connection.hang_up()
        self._finish()  # the address may go now: backends are told from another one
        for connection in over:
            connection.reset()

    def _stop_listening(self) -> None:
        if self._listening is not None:
            self._loop.remove(self._listening.fileno())  # the control process holds it open as well
            self._listening.close()
            self._listening = None

    def _finish(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._notices.closed()

    def health(self) -> Message:
        """Return what the control process is told about this listener."""
        return {"connections": len(self._connections), "down": self.backends.down(), "problem": self._complaint}

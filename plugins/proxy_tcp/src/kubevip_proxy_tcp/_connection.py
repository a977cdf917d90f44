"""One relayed connection: a client, the backend that is found for it, and how both end."""

from __future__ import annotations

import errno
import os
import select
import socket
from typing import TYPE_CHECKING

from kubevip_proxy_tcp._end import WATCH, WATCH_ALL, End

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubevip_dataplane.worker import Target
    from kubevip_proxy_tcp._listener import TcpListener
    from kubevip_proxy_tcp._sockets import Socket

_FAILED = select.EPOLLERR | select.EPOLLHUP

#: Errors of connect(2) that are this machine's own: they say nothing about the backend.
_OWN_ERRORS = frozenset((errno.EADDRNOTAVAIL, errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE))


class Connection:
    """Tries backends, each at most once, until one accepts; from then on its two ends relay by themselves."""

    __slots__ = (
        "_client",
        "_listener",
        "_server",
        "_tried",
        "active_at",
        "deadline",
        "is_over",
        "is_up",
        "started_at",
        "target",
    )

    def __init__(self, listener: TcpListener, sock: Socket) -> None:
        self._listener = listener
        self._client = End(self, sock, listener.shop)
        self._server: End | None = None
        self._tried: tuple[Target, ...] = ()
        self.target: Target | None = None
        """The backend that is tried, or that accepted."""
        self.started_at = self.active_at = listener.now
        """`active_at`: when something was last heard of either end."""
        self.deadline = 0.0
        """When the backend that is tried must have accepted."""
        self.is_up = False
        """Whether a backend accepted."""
        self.is_over = False

    def connect(self) -> None:
        """Begin to connect to the next backend; reset the client when there is none left to try."""
        listener = self._listener
        while len(self._tried) < listener.options.tries:
            target = listener.backends.choose(listener.now, self._tried)
            if target is None:
                break
            self._tried = (*self._tried, target)
            if self._begin(target):
                return
        self.reset()

    def _begin(self, target: Target) -> bool:
        """Begin to connect to `target`; return whether that is under way."""
        listener = self._listener
        try:
            sock = listener.new_socket(target.family)
        except OSError as error:
            listener.backends.spared(target)
            listener.complain(error)
            return False
        code = sock.connect_ex(target.address)
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            self._note_failure(target, code)
            return False
        self.target, self.deadline = target, listener.now + listener.options.connect_seconds
        self._server = End(self, sock, listener.shop)
        self._server.watch(WATCH_ALL)
        listener.connecting[self] = None
        return True

    def on_connecting(self, end: End, events: int) -> None:
        """Deal with events of either end before a backend has accepted."""
        if end is self._client:
            if events & _FAILED:
                self.reset()  # it gave up waiting; a FIN alone is no reason, its request may be complete
        elif events & _FAILED and (code := _refusal(end)):
            self._note_failure(self._abandon(), code)
            self.connect()
        elif events & (select.EPOLLOUT | _FAILED):
            self._accepted(end, events)

    def watch_client(self) -> None:
        """Notice from now on when the client gives up: finding a backend takes its time."""
        if not self._client.mask:
            self._client.watch(WATCH)

    def timed_out(self) -> None:
        """Give the backend that is tried up, and try the next."""
        target = self._abandon()
        listener = self._listener
        reason = f"no answer within {listener.options.connect_seconds:g} s"
        listener.failed(target, reason, is_silent=True)
        self.connect()

    def redirect(self) -> None:
        """Give the backend that is tried up, because it was removed, and try the next."""
        self._listener.backends.spared(self._abandon())
        self.connect()

    def _note_failure(self, target: Target, code: int) -> None:
        listener = self._listener
        if code in _OWN_ERRORS:
            listener.backends.spared(target)
            listener.complain(OSError(code, os.strerror(code)))
        else:
            is_silent = code in (errno.ETIMEDOUT, errno.EHOSTUNREACH)  # the kernel asked for as long as it may
            listener.failed(target, os.strerror(code).lower(), is_silent=is_silent)

    def _abandon(self) -> Target:
        """Close the attempt that is under way and return whom it was for."""
        assert self._server is not None
        assert self.target is not None
        self._listener.connecting.pop(self, None)
        self._server.close()
        target, self._server, self.target = self.target, None, None
        return target

    def _accepted(self, server: End, events: int) -> None:
        assert self.target is not None
        listener, client = self._listener, self._client
        listener.connecting.pop(self, None)
        listener.answered(self.target)
        self._tried = ()
        self.is_up, self.active_at = True, listener.now
        client.other, server.other = server, client
        client.watch(WATCH)  # reports what is there already, also if that was reported before
        if not self.is_over:
            server.on_events(events & ~select.EPOLLOUT)  # a server that speaks first, or has left already

    def close(self) -> None:
        """End it: both directions have come to their end."""
        self._end(End.close)

    def reset(self) -> None:
        """End it with a RST to both sides: what was not delivered is lost, and they are told so."""
        self._end(End.reset)

    def hang_up(self) -> None:
        """Reset the client's side; nothing is relayed any more. `reset` has to follow."""
        self._client.reset()

    def _end(self, how: Callable[[End], None]) -> None:
        if self.is_over:
            return
        self.is_over = True
        listener = self._listener
        if not self.is_up:
            listener.connecting.pop(self, None)
            if self.target is not None:
                listener.backends.spared(self.target)
        how(self._client)
        if self._server is not None:
            how(self._server)
        listener.forget(self)


def _refusal(end: End) -> int:
    """Return the error with which a backend turned the connection down; 0 when it said something before it did.

    Then it is not another's turn: what it said is for the client, and its end as well.
    """
    try:
        return 0 if end.sock.recv(1, socket.MSG_PEEK) else errno.ECONNRESET
    except OSError as error:
        return error.errno or errno.ECONNRESET

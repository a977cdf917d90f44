"""Descriptors that the keeper has as well, so that this process can die fast.

A process is reaped when everything it alone had open is released, and before that nobody may say that it is dead. Of
some sockets (raw ones, those of nf_tables) the release takes the kernel tens of milliseconds. So a copy of each is on
its way through a socket to the keeper, which holds the other end, never takes anything out of it, and closes it when
the last wills are carried out. This process has that end as well: what it takes out is its own again.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("kubevip.keeper")

#: At most so many descriptors travel together (SCM_MAX_FD of net/scm.h); the rest is released as slowly as ever.
MOST_KEPT = 253


class Kept:
    """What of this process the keeper holds. In the event-loop thread only."""

    def __init__(self, sending_fd: int, held_fd: int) -> None:
        """Take over both ends of a pair of stream sockets, of which the keeper has a copy of the held one."""
        self._sending, self._held = socket.socket(fileno=sending_fd), socket.socket(fileno=held_fd)
        for end in (self._sending, self._held):
            end.setblocking(False)
        self._fds: dict[object, int] = {}

    def keep(self, fd: int) -> Callable[[], None]:
        """Have the keeper hold a descriptor; return how to end that, which is due before it is closed. Never blocks."""
        key = object()
        self._fds[key] = fd
        self._send()

        def let_go() -> None:
            if self._fds.pop(key, None) is not None:
                self._send()

        return let_go

    def close(self) -> None:
        """Close this process's ends; what is held stays so."""
        self._sending.close()
        self._held.close()

    def _send(self) -> None:
        """Take out what is on its way, and send all that is to be held, as one message."""
        try:
            while fds := socket.recv_fds(self._held, 1, MOST_KEPT)[1]:
                for fd in fds:
                    os.close(fd)
        except OSError:  # nothing more, or no keeper
            pass
        try:
            if fds := list(self._fds.values())[:MOST_KEPT]:
                socket.send_fds(self._sending, [b"\0"], fds)
        except OSError as error:
            logger.debug("descriptors cannot be held by the keeper: %s", error)

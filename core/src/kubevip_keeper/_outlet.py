"""Writing lines to stderr without ever waiting for whoever reads it: a keeper that waits keeps nothing."""

from __future__ import annotations

import os
import stat


class Outlet:
    """Writes to what a descriptor leads to: a pipe, the journal's socket, a terminal, a file.

    A pipe or terminal is opened once more, because the mode of a descriptor is shared with all who inherited it. Where
    that is refused it is asked each time whether there is room, and waited for if somebody else takes it first.
    """

    def __init__(self, fd: int) -> None:
        self._fd, self._rest = fd, b""
        try:
            mode = os.fstat(fd).st_mode
        except OSError:  # closed: each write will say so
            mode = 0
        self._is_socket, self._is_own = stat.S_ISSOCK(mode), False
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            try:
                self._fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
                self._is_own = True
            except OSError:
                pass

    def write(self, line: bytes) -> bool:
        """Write a line, the end of it perhaps before the next one; return False if there was no room for any of it."""
        self._rest = self._rest[self._send(self._rest) :] if self._rest else b""
        if self._rest:
            return False
        sent = self._send(line)
        self._rest = line[sent:] if sent else b""
        return sent > 0

    def _send(self, data: bytes) -> int:
        """Return how much was written; all of it where nobody will ever read it."""
        try:
            if self._is_socket:
                import _socket  # the half of the module socket that costs nothing

                peer = _socket.socket(fileno=self._fd)
                try:
                    return peer.send(data, _socket.MSG_DONTWAIT)
                finally:
                    peer.detach()
            return os.write(self._fd, data) if self._is_own or self._has_room() else 0
        except BlockingIOError:
            return 0
        except OSError:  # a closed terminal or a full disk must not end the keeper
            return len(data)

    def _has_room(self) -> bool:
        import select

        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(0))

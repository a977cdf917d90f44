"""Pipes for splice(2): how bytes go from one socket to another without being copied through this process."""

from __future__ import annotations

import contextlib
import fcntl
import os

#: Room asked for in a pipe. Measured against this: the default 64 KiB reaches 0.71-0.90 of the throughput, 256 KiB
#: 0.94. Past a limit per user (pipe-user-pages-soft) the kernel refuses, and the pipe stays as it is.
PIPE_BYTES = 1 << 20

#: Empty pipes that are kept for the next one to need one.
MOST_IDLE = 64


class Pipe:
    """One pipe, both ends non-blocking."""

    __slots__ = ("read_fd", "write_fd")

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.write_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def close(self) -> None:
        """Close both ends; what is inside is lost."""
        os.close(self.read_fd)
        os.close(self.write_fd)


class Pipes:
    """The empty pipes of a worker."""

    def __init__(self) -> None:
        self._idle: list[Pipe] = []

    def take(self) -> Pipe | None:
        """Return an empty pipe; None when the process may open no more files."""
        if self._idle:
            return self._idle.pop()
        try:
            return Pipe()
        except OSError:
            return None

    def give_back(self, pipe: Pipe) -> None:
        """Take back `pipe`, which is empty."""
        if len(self._idle) < MOST_IDLE:
            self._idle.append(pipe)
        else:
            pipe.close()

    def shrink(self) -> None:
        """Close all idle pipes: somebody needs the descriptors."""
        while self._idle:
            self._idle.pop().close()

"""Signals as something to wait for beside descriptors, so that none is lost between looking and waiting."""

from __future__ import annotations

import os
import select
import signal
from contextlib import contextmanager

TYPE_CHECKING = False  # the module typing is not worth its memory here
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT)
OBEYED = (*STOPPING, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT)


class Signals:
    """Collects the signals that the keeper obeys, and SIGCHLD. One object a process; only in the main thread."""

    def __init__(self) -> None:
        self._readable, written = os.pipe()
        self._arrived: list[int] = []
        os.set_blocking(self._readable, False)
        os.set_blocking(written, False)
        # When the pipe is full, thousands of signals are waiting already.
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        for number in (*OBEYED, signal.SIGCHLD):
            signal.signal(number, _wake)

    def wait(self, seconds: float | None, *fds: int) -> None:
        """Wait until a signal, or data in `fds` or its end, arrives, or `seconds` (None: for ever) are over.

        Signals stay until they are taken; those that were there before do not cut the waiting short.
        """
        poll = select.poll()
        for fd in (self._readable, *fds):
            poll.register(fd, select.POLLIN)
        poll.poll(None if seconds is None else max(0, int(seconds * 1000) + 1))
        try:
            self._arrived += os.read(self._readable, 4096)
        except BlockingIOError:
            pass

    def take(self) -> list[int]:
        """Return the numbers of the signals that arrived, in order, SIGCHLD left out."""
        arrived, self._arrived = self._arrived, []
        return [number for number in arrived if number != signal.SIGCHLD]


@contextmanager
def blocked() -> Generator[None]:
    """Hold back all signals around a fork, so that none meant for one process is taken by its copy as well."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore() -> None:
    """Ignore what the keeper obeys: in a process that does as the keeper says, and in what it executes."""
    signal.set_wakeup_fd(-1)
    for number in OBEYED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _wake(number: int, frame: FrameType | None) -> None:
    """Do nothing: a signal with a handler, however empty, is written to the wake-up descriptor."""

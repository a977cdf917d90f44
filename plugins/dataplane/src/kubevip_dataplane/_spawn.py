"""Starts and ends worker processes.

Not `anyio.open_process`: on one of its backends that starts children from a pool thread, and the kernel's notice of a
parent's death (PR_SET_PDEATHSIG) is about the thread that made the child.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from anyio import sleep, wait_readable

from kubevip_dataplane.worker import IGNORED_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How often a process is asked for where the kernel has no pidfd (before 5.3).
_POLL_SECONDS = 0.05


class WorkerProcess:
    """A running worker and this process's end of the connection to it. Started by making one.

    :param command: arguments of the interpreter before the descriptor and the parent's process id.
    :raises OSError: when no process can be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.channel, theirs = socket.socketpair()
        self.channel.setblocking(False)
        with theirs:
            # The worker has to ignore these, and cannot before its interpreter runs: block them, it inherits that.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED_SIGNALS)
            try:
                self._process = subprocess.Popen(
                    [sys.executable, *command, str(theirs.fileno()), str(os.getpid())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
            except BaseException:
                self.channel.close()
                raise
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._pidfd: int | None = None
        with contextlib.suppress(OSError):
            self._pidfd = os.pidfd_open(self._process.pid)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it at once; harmless when it has ended."""
        self._process.kill()  # asks first whether it was reaped, so the id is still its own

    async def wait(self) -> int:
        """Return its exit status once it has ended; minus the number of the signal that ended it."""
        while (status := self._process.poll()) is None:
            if self._pidfd is not None:
                await wait_readable(self._pidfd)
            else:
                await sleep(_POLL_SECONDS)
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        return status


def show_status(status: int) -> str:
    """Say how a process ended: "exit status 1", "SIGKILL"."""
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"

"""The worker process of a proxy: its main function and what its relay is built of. Standard library only.

A worker is started as `python -P -m <module> <descriptor> <parent>`, where the descriptor is its end of a socket pair
and the module calls `run`. It lives exactly as long as the control process keeps the other end: the terminal and
systemd send signals to the whole group, so it ignores those that ask for an end, and obeys its connection alone.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import sys
from typing import TYPE_CHECKING

from kubevip_dataplane._backends import RETRY_SECONDS, Backends, Target
from kubevip_dataplane._choice import RoundRobin
from kubevip_dataplane._loop import Loop, Source
from kubevip_dataplane._messages import Message
from kubevip_dataplane._session import Notices, Relay, RelayListener, Session

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "IGNORED_SIGNALS",
    "RETRY_SECONDS",
    "Backends",
    "Loop",
    "Message",
    "Notices",
    "Relay",
    "RelayListener",
    "RoundRobin",
    "Source",
    "Target",
    "run",
]

#: Signals that are meant for the control process when a whole group gets them.
IGNORED_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGPIPE,
)

#: Allocations between two runs of the collector: connections leave no cycles, so there is little for it to find.
_COLLECT_AFTER = 100_000

_PR_SET_PDEATHSIG = 1


def run(make_relay: Callable[[Loop], Relay]) -> None:
    """Be a worker until the control process ends the connection.

    Arguments of the command line: the descriptor of the connection, the process id of the control process.
    """
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED_SIGNALS)  # blocked until here, see `_spawn`
    channel = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(channel.fileno(), False)
    _die_with(int(sys.argv[2]))
    _raise_descriptor_limit()
    _step_back()
    loop = Loop()
    Session(loop, channel, make_relay(loop))
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 50, 100)
    loop.run()


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, should the connection not say so."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel was asked
        sys.exit(0)


def _raise_descriptor_limit() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _step_back() -> None:
    """Give up a priority that the control process has for its heartbeats and that was inherited."""
    with contextlib.suppress(OSError):
        if os.sched_getscheduler(0) != os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        if os.getpriority(os.PRIO_PROCESS, 0) < 0:
            os.setpriority(os.PRIO_PROCESS, 0, 0)

"""One process of an instance in a network namespace: two would share a fence, and take each other's for leftovers.

The lock of the state directory does not see a process that was given another directory. An abstract Unix socket does:
its name belongs to the network namespace, as addresses and tables do, and goes with the process.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from anyio import wait_readable

from kubevip.errors import AnnounceError

if TYPE_CHECKING:
    from collections.abc import Generator

_logger = logging.getLogger("kubevip.address")

_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid


@contextmanager
def only_one(instance: str) -> Generator[socket.socket]:
    """Be the one process of `instance` in this network namespace while the body runs; yields a socket for `answer`.

    :raises AnnounceError: when there is another one.
    """
    name = f"\0kubevip-address/{instance}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as presence:
        try:
            presence.bind(name)
            presence.listen(1)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise AnnounceError(f"instance {instance!r}: its name cannot be taken: {error.strerror}") from error
            pid, uid = _holder(name)
            if uid in (0, os.geteuid()):
                who = f"pid {pid}" if pid else "pid unknown"
                raise AnnounceError(
                    f"instance {instance!r} already runs in this network namespace ({who}), with another state "
                    "directory: stop it, or give this one a name of its own with --instance"
                ) from None
            # Anybody may take a name, and nobody else may manage addresses: not a reason to hold none.
            _logger.warning("user %d holds the name of instance=%s (pid %d)", uid, instance, pid)
        presence.setblocking(False)
        yield presence


async def answer(presence: socket.socket) -> None:
    """Let those who ask go, until cancelled: otherwise they would fill the queue, and the next one learns no pid."""
    while True:
        await wait_readable(presence)
        with suppress(OSError):
            presence.accept()[0].close()


def _holder(name: str) -> tuple[int, int]:
    """Return pid and user of whoever listens there; 0 and root where it ended meanwhile or does not listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        try:
            caller.connect(name)
            credentials = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return 0, 0
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return pid, uid

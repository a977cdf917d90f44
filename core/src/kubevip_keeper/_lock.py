"""The lock of a state directory: one keeper, or its orphaned control process, at a time."""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False  # the module typing is not worth its memory here
if TYPE_CHECKING:
    from collections.abc import Iterable


class LockHeldError(Exception):
    """Another process holds the lock; `pids` are those that it wrote down."""

    def __init__(self, path: str, pids: list[int]) -> None:
        self.pids = pids
        alive = [pid for pid in pids if _is_alive(pid)]
        who = f"pid {' and '.join(map(str, alive))}" if alive else "an unknown process"
        super().__init__(
            f"{path} is held by {who}: kubevip already runs in this state directory; stop it, or give this one a name "
            "of its own with --instance"
        )


class Lock:
    """The held lock; it belongs to the open descriptor, so whoever inherits `fd` holds it as well."""

    def __init__(self, path: str) -> None:
        """Take the lock.

        :raises LockHeldError: at once, when another process has it.
        """
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            pids = [int(word) for word in os.read(self.fd, 256).split() if word.isdigit()]
            os.close(self.fd)
            raise LockHeldError(path, pids) from exc

    def write_pids(self, pids: Iterable[int]) -> None:
        """Write down who holds it, for the message that a second process prints."""
        text = " ".join(map(str, pids)).encode() + b"\n"
        os.pwrite(self.fd, text, 0)
        os.ftruncate(self.fd, len(text))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # alive, and somebody else's
        return True
    return True

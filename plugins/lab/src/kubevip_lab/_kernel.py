"""The few system calls behind namespaces that Python 3.11 has no functions for. Linux only; all raise OSError."""

from __future__ import annotations

import ctypes
import os
import signal
from functools import cache

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

_MS_NOSUID_NODEV_NOEXEC = 0x2 | 0x4 | 0x8
_MS_REC = 0x4000
_MS_PRIVATE = 0x4_0000
_PR_SET_PDEATHSIG = 1


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def unshare(flags: int) -> None:
    """Move the calling process into new namespaces; `CLONE_NEWPID` is for its next children."""
    _check(_libc().unshare(ctypes.c_int(flags)))


def setns(fd: int, kind: int) -> None:
    """Move the calling process into the namespace that `fd` is open on; `kind` is its CLONE_ flag."""
    _check(_libc().setns(ctypes.c_int(fd), ctypes.c_int(kind)))


def make_mounts_private() -> None:
    """Keep what is mounted from now on in this mount namespace."""
    _check(_libc().mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))


def mount(kind: str, target: str) -> None:
    """Mount a file system that has no device ("proc", "sysfs") at `target`."""
    name = kind.encode()
    _check(_libc().mount(name, target.encode(), name, ctypes.c_ulong(_MS_NOSUID_NODEV_NOEXEC), None))


def die_with_parent() -> None:
    """Have the kernel send SIGKILL to this process when its parent ends, however it ends."""
    _check(_libc().prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0))

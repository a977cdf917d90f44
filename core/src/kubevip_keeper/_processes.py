"""Processes: start the one child, adopt what it loses, and end all that is left of it."""

from __future__ import annotations

import ctypes
import os
import signal
import time

from kubevip_keeper._signals import blocked, ignore

TYPE_CHECKING = False  # the module typing is not worth its memory here
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> bool:
    """Have descendants that lose their parent handed to this process; return whether the system can."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent dies."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> bool:
    try:
        prctl = ctypes.CDLL(None).prctl
    except AttributeError:  # not Linux
        return False
    unsigned_long = ctypes.c_ulong
    return bool(prctl(option, unsigned_long(value), *[unsigned_long(0)] * 3) == 0)


def spawn(command: Sequence[str], environment: Mapping[str, str], inherited: Sequence[int]) -> int:
    """Start `command` and return its pid; it inherits stdin, stdout, stderr and `inherited`.

    It ignores from its first instruction on what a terminal or service manager sends to the whole group: it obeys its
    pipe. When it cannot be executed it exits with status 127 and says why on stderr.
    """
    with blocked():
        pid = os.fork()
        if pid == 0:
            try:
                ignore()
                signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it; what it executes should decide
                for fd in inherited:
                    os.set_inheritable(fd, True)
                signal.pthread_sigmask(signal.SIG_SETMASK, ())
                os.execve(command[0], list(command), dict(environment))
            except BaseException as exc:  # whatever it is, the copy of the keeper must not go on
                os.write(2, f"cannot execute {command[0]}: {exc}\n".encode())
            finally:
                os._exit(127)
    return pid


def end_children(wait: Callable[[float], object], seconds: float) -> bool:
    """Kill and reap every child of this process, adopted ones included; return whether all are gone in time.

    :param wait: waits for a number of seconds, or less when a child ends.
    :param seconds: what to spend at most. A process that hangs in the kernel cannot be ended by anybody.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True
        if time.monotonic() >= deadline:
            return False
        for pid in _children():  # the children of each become ours when it dies: the loop goes on until none is left
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait(0.05)


def _children() -> list[int]:
    own = os.getpid()
    try:
        with open(f"/proc/{own}/task/{own}/children", encoding="ascii") as listed:
            return [int(pid) for pid in listed.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(pid) == own]


def _parent(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])  # after the name, which may hold anything
    except OSError:  # gone meanwhile
        return None

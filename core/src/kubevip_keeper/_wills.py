"""Last wills: what the control process wants done should it die, and the doing of it.

A will is a function of the standard library's reach, "package.module:function", and bytes for it. Each runs in a
process of its own, so that none can hurt the keeper, and is bounded in time.

Orders below 100 are deeds on this machine: closing a fence, deleting addresses. Orders from 100 on are statements to
others that rest on the deeds ("nothing of this node is up"), so they are left out when one of the deeds failed.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import time

from kubevip_keeper._processes import end_with_parent
from kubevip_keeper._signals import blocked, ignore

TYPE_CHECKING = False  # the module typing is not worth its memory here
if TYPE_CHECKING:
    from kubevip_keeper._log import Log

FIRST_STATEMENT = 100
COUNT_LIMIT = 256
TOTAL_LIMIT = 1 << 22  # bytes of all payloads
_REAP_SECONDS = 1.0


class Wills:
    """The wills of one control process."""

    def __init__(self) -> None:
        self._payloads: dict[tuple[int, str], bytes] = {}

    def leave(self, order: int, function: str, payload: bytes | None) -> None:
        """Keep a will, replace the one of the same order and function, or (None) drop it.

        :raises ValueError: when there are too many, or they are too large together.
        """
        kept = {key: value for key, value in self._payloads.items() if key != (order, function)}
        if payload is not None:
            kept[order, function] = payload
        if len(kept) > COUNT_LIMIT or sum(map(len, kept.values())) > TOTAL_LIMIT:
            raise ValueError(f"the will {function} is too much: {COUNT_LIMIT} wills, {TOTAL_LIMIT} bytes are kept")
        self._payloads = kept

    def carry_out(self, log: Log, seconds: float) -> bool:
        """Carry out all of them, lowest order first, and forget them; return whether each one worked.

        :param seconds: how long each may take; it is killed then.
        """
        has_failed = False
        for (order, function), payload in sorted(self._payloads.items()):
            if has_failed and order >= FIRST_STATEMENT:
                log.error("left out a will that rests on one that failed function=%s order=%d", function, order)
                continue
            began = time.monotonic()
            problem = _run(function, payload, seconds)
            took_ms = (time.monotonic() - began) * 1000
            if problem is None:
                log.info("carried out a will function=%s order=%d took=%.0fms", function, order, took_ms)
            else:
                has_failed = True
                log.error("a will failed: %s function=%s order=%d took=%.0fms", problem, function, order, took_ms)
        self._payloads = {}
        return not has_failed


def _run(function: str, payload: bytes, seconds: float) -> str | None:
    """Call the function in a process of its own; return what went wrong, or None."""
    received, reported = os.pipe()
    try:
        with blocked():
            pid = os.fork()
            if pid == 0:
                _call_and_exit(function, payload, reported)
    except OSError as exc:
        os.close(received)
        os.close(reported)
        return f"no process for it: {exc.strerror}"
    os.close(reported)
    report = _read_to_end(received, time.monotonic() + seconds)
    os.close(received)
    if report is None:
        os.kill(pid, signal.SIGKILL)
    status = _reap(pid)
    if report is None:
        return f"not done within {seconds:g} s"
    if report:
        return report.decode(errors="replace")
    return None if status == 0 else f"its process ended with status {status}"


def _call_and_exit(function: str, payload: bytes, reported: int) -> None:
    try:
        end_with_parent()
        ignore()  # it is bounded in time, and meant to be done whoever stops the daemon
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        module, _, name = function.partition(":")
        getattr(importlib.import_module(module), name)(payload)
    except BaseException as exc:  # whatever it is, the copy of the keeper must not go on
        os.write(reported, f"{type(exc).__name__}: {exc}".encode(errors="replace")[:4096])
        os._exit(1)
    os._exit(0)


def _read_to_end(fd: int, deadline: float) -> bytes | None:
    """Return what is written to the pipe until its other end is closed, or None when the time is over."""
    poll, text = select.poll(), b""
    poll.register(fd, select.POLLIN)
    while poll.poll(max(0, int((deadline - time.monotonic()) * 1000) + 1)):
        data = os.read(fd, 4096)
        if not data:
            return text
        text += data
    return None


def _reap(pid: int) -> int | None:
    """Return the exit status of a child that is ending, or None when it hangs in the kernel; it is reaped later."""
    deadline = time.monotonic() + _REAP_SECONDS
    while True:
        reaped, status = os.waitpid(pid, os.WNOHANG)
        if reaped:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            return None
        select.poll().poll(1)  # its pipe is closed, so it is a matter of microseconds

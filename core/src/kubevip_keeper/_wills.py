"""Last wills: what the control process wants done should it die, and the doing of it.

A will is a function of the standard library's reach, "package.module:function", and bytes for it. Each runs in a
process of its own, so that none can hurt the keeper, and is bounded in time. Its module is imported when the will is
left: every millisecond after a death is one without an answer, and an import may take ten of them.

Orders below 100 are deeds on this machine: closing a fence, deleting addresses. Orders from 100 on are statements to
others that rest on the deeds ("nothing of this node is up"), so they are left out when one of the deeds failed, or was
never understood. A statement may be a generator function: what it does before its first `yield` it does beside the
deeds, and it must tell nobody anything yet (connect, say who it is); it is gone on with when the deeds are done.
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
_GO, _DONE = b"+", b"\0"  # no text of an error begins with a zero
_IS_GENERATOR = 0x20  # CO_GENERATOR; the module inspect is not worth its memory here


class Wills:
    """The wills of one control process."""

    def __init__(self) -> None:
        self._payloads: dict[tuple[int, str], bytes] = {}
        self._is_complete = True

    def miss(self) -> None:
        """Note that a will was meant to be left and was not: it may have been a deed, so no statement is true."""
        self._is_complete = False

    def leave(self, order: int, function: str, payload: bytes | None) -> None:
        """Keep a will, replace the one of the same order and function, or (None) drop it.

        :raises ValueError: when there are too many, or they are too large together.
        """
        kept = {key: value for key, value in self._payloads.items() if key != (order, function)}
        if payload is not None:
            kept[order, function] = payload
        if len(kept) > COUNT_LIMIT or sum(map(len, kept.values())) > TOTAL_LIMIT:
            raise ValueError(f"the will {function} is too much: {COUNT_LIMIT} wills, {TOTAL_LIMIT} bytes are kept")
        if payload is not None and (order, function) not in self._payloads:
            _prepare(function)
        self._payloads = kept

    def carry_out(self, log: Log, seconds: float) -> bool:
        """Carry out all of them, lowest order first, and forget them; return whether every deed was done.

        A statement that nobody heard leaves nothing behind, and keeps no other from being made.

        :param seconds: how long each may take; it is killed then.
        """
        wills = sorted(self._payloads.items())
        self._payloads = {}
        deeds = [(key, payload) for key, payload in wills if key[0] < FIRST_STATEMENT]
        begun = [_Errand(*key, payload) for key, payload in deeds[:1]]  # before all forks but its own
        statements = [_Errand(*key, payload, is_statement=True) for key, payload in wills if key[0] >= FIRST_STATEMENT]
        done = [deed.finish(log, seconds) for deed in begun]
        done += [_Errand(*key, payload).finish(log, seconds) for key, payload in deeds[1:]]
        is_done = self._is_complete and all(done)
        for statement in statements if is_done else ():
            statement.go()
        for statement in statements:
            if is_done:
                statement.finish(log, seconds)
            else:
                statement.leave_out(log)
        return is_done


def _prepare(function: str) -> None:
    """Import the function's module; what is wrong with it is said when the will is carried out."""
    try:
        importlib.import_module(function.partition(":")[0])
    except (Exception, SystemExit):
        pass


class _Errand:
    """A will that is being carried out, by a process of its own."""

    def __init__(self, order: int, function: str, payload: bytes, *, is_statement: bool = False) -> None:
        """Start it; a statement waits for `go` before it tells anything."""
        self._function, self._order, self._began = function, order, time.monotonic()
        self._pid = 0
        self._problem: str | None = None
        fds = self._received, reported, allowed, self._allows = (*os.pipe(), *os.pipe())
        try:
            with blocked():
                self._pid = os.fork()
                if self._pid == 0:
                    _call_and_exit(function, payload, reported, allowed if is_statement else None)
        except OSError as exc:
            self._problem = f"no process for it: {exc.strerror}"
        for fd in fds[1:3]:
            os.close(fd)

    def go(self) -> None:
        """Let it tell what it has to tell."""
        try:
            os.write(self._allows, _GO)
        except OSError:  # it has ended, and has said why
            pass

    def finish(self, log: Log, seconds: float) -> bool:
        """Wait for what it reports, at most so long, and log it; return whether it worked."""
        if self._problem is None:
            self._problem = self._hear(time.monotonic() + seconds, seconds)
        self._end()
        took_ms = (time.monotonic() - self._began) * 1000
        if self._problem:
            log.error(
                "a will failed: %s function=%s order=%d took=%.0fms",
                self._problem,
                self._function,
                self._order,
                took_ms,
            )
        else:
            log.info("carried out a will function=%s order=%d took=%.0fms", self._function, self._order, took_ms)
        return not self._problem

    def leave_out(self, log: Log) -> None:
        """End it before it told anything."""
        self._end()
        log.error("left out a will that rests on one that failed function=%s order=%d", self._function, self._order)

    def _hear(self, deadline: float, seconds: float) -> str:
        report = _read_to_end(self._received, deadline)
        if report is None:
            return f"not done within {seconds:g} s"
        if report.startswith(_DONE):
            return ""
        return report.decode(errors="replace") or "its process ended without a word"

    def _end(self) -> None:
        """Let the process go: done or not, it has nothing more to do. It is reaped with all that is left over.

        Nobody waits for its end: the kernel takes tens of milliseconds to close a socket of nf_tables.
        """
        for fd in (self._received, self._allows):
            os.close(fd)
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)


def _call_and_exit(function: str, payload: bytes, reported: int, allowed: int | None) -> None:
    try:
        end_with_parent()
        ignore()  # it is bounded in time, and meant to be done whoever stops the daemon
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        module, _, name = function.partition(":")
        call = getattr(importlib.import_module(module), name)
        code = getattr(call, "__code__", None)
        steps = call(payload) if code is not None and code.co_flags & _IS_GENERATOR else None
        if steps is not None:
            next(steps, None)
        if allowed is not None and os.read(allowed, 1) != _GO:
            os._exit(1)
        if steps is None:
            call(payload)
        else:
            for _ in steps:
                pass
        os.write(reported, _DONE)
    except BaseException as exc:  # whatever it is, the copy of the keeper must not go on
        os.write(reported, f"{type(exc).__name__}: {exc}".encode(errors="replace")[:4096])
        os._exit(1)
    os._exit(0)


def _read_to_end(fd: int, deadline: float) -> bytes | None:
    """Return what is reported, at once when it is done; or None when the time is over."""
    poll, text = select.poll(), b""
    poll.register(fd, select.POLLIN)
    while poll.poll(max(0, int((deadline - time.monotonic()) * 1000) + 1)):
        data = os.read(fd, 4096)
        text += data
        if not data or text.startswith(_DONE):
            return text
    return None

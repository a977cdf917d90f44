"""One run of the control process, seen from its parent: its pipes, what it said, how it ended."""

from __future__ import annotations

import os
import time
from _socket import socketpair  # the half of the module socket that costs nothing

from kubevip_keeper import _protocol as protocol
from kubevip_keeper._lines import LineBuffer, LineError, decode, encode
from kubevip_keeper._processes import spawn
from kubevip_keeper._wills import Wills

TYPE_CHECKING = False  # the module typing is not worth its memory here
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kubevip_keeper._log import Log


class Child:
    """A running control process. `status` is None until it was reaped; negative: the signal that ended it."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], lock_fd: int, incarnation: int, log: Log
    ) -> None:
        heard, child_writes = os.pipe()
        child_reads, told = os.pipe()
        owed, child_owes = os.pipe()
        sending, self._kept = socketpair()
        self.incarnation = incarnation
        self.wills = Wills()
        self.is_ready = False
        self.status: int | None = None
        self.stop_asked_at: float | None = None
        self.started_at = time.monotonic()
        self._log = log
        self._heard: int | None = heard
        self._told, self._owed = told, owed
        self._lines = LineBuffer(protocol.LINE_LIMIT)
        for fd in (heard, told, owed):
            os.set_blocking(fd, False)
        variables = {
            **environment,
            protocol.KEEPER_VARIABLE: f"{child_reads},{child_writes},{owed},{child_owes}",
            protocol.KEPT_VARIABLE: f"{sending.fileno()},{self._kept.fileno()}",
            protocol.LOCK_VARIABLE: str(lock_fd),
            protocol.INCARNATION_VARIABLE: str(incarnation),
        }
        try:
            inherited = child_reads, child_writes, owed, child_owes, sending.fileno(), self._kept.fileno(), lock_fd
            self.pid = spawn(command, variables, inherited)
        except OSError:
            self.close()
            self.let_go()
            raise
        finally:
            sending.close()
            for fd in (child_reads, child_writes, child_owes):
                os.close(fd)

    @property
    def fds(self) -> tuple[int, ...]:
        """What to wait for: the pipe that it writes to, until it ends."""
        return () if self._heard is None else (self._heard,)

    def close(self) -> None:
        """Close the pipes; a child that still runs takes it for the death of its keeper."""
        self._stop_hearing()
        for fd in (self._told, self._owed):
            os.close(fd)

    def let_go(self) -> None:
        """Release the descriptors that it had this process hold. Takes the kernel tens of milliseconds."""
        self._kept.close()

    def tell(self, message: Mapping[str, object]) -> bool:
        """Send a message; return whether it took it. Never blocks: a frozen child has 64 KiB of room."""
        try:
            os.write(self._told, encode(message))
        except OSError:  # full, or the child is gone, which its end will say
            return False
        return True

    def ask_to_stop(self) -> None:
        """Ask it to withdraw, release and exit; once."""
        if self.stop_asked_at is None:
            self.stop_asked_at = time.monotonic()
            self.tell(protocol.STOP)

    def kill(self) -> None:
        """Kill it; nothing happens when it was reaped already."""
        if self.status is None:
            os.kill(self.pid, 9)

    def reap(self) -> None:
        """Reap it if it ended, and every adopted process that ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.status = os.waitstatus_to_exitcode(status)

    def hear(self, show: Callable[[bool, str | None], None]) -> bool:
        """Take in some of what it said; return whether there may be more.

        `show(became_ready, status text)` is called for what people are to see. A child that does not keep to the
        protocol is asked to stop, and replaced.
        """
        if self._heard is None:
            return False
        try:
            data = os.read(self._heard, 1 << 16)
        except BlockingIOError:
            return False
        try:
            for line in self._lines.feed(data):
                self._take(decode(line), show)
        except LineError as exc:
            self._log.error("replacing the control process, it breaks the protocol: %s pid=%d", exc, self.pid)
            data = b""
            self.wills.miss()
            self.ask_to_stop()
        if not data:
            if self._owes():
                self._log.error("the control process ended with something to say pid=%d", self.pid)
                self.wills.miss()
            elif self._lines.has_partial:  # it may have been a will
                self._log.error("the control process ended within a message pid=%d", self.pid)
                self.wills.miss()
            self._stop_hearing()
        return bool(data)

    def _take(self, message: dict[str, object], show: Callable[[bool, str | None], None]) -> None:
        if message.get("ready") is True:
            self.is_ready = True
            show(True, None)
        if isinstance(text := message.get("status"), str):
            show(False, text[: protocol.STATUS_LIMIT])
        if isinstance(will := message.get("will"), dict):
            try:
                self.wills.leave(*protocol.read_will(will))  # pyright: ignore[reportUnknownArgumentType]
            except ValueError as exc:  # one bad will must not cost the others
                self._log.error("a will is refused: %s", exc)
                self.wills.miss()

    def _owes(self) -> bool:
        """Return whether something that it said did not leave it."""
        try:
            return os.read(self._owed, 1) == protocol.OWES
        except BlockingIOError:  # nothing, and somebody still could: a process that it left behind
            return False

    def _stop_hearing(self) -> None:
        if self._heard is not None:
            os.close(self._heard)
            self._heard = None

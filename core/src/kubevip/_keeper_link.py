"""The control process's end of the pipes to its keeper.

What it promises: a will has left this process when `will` returns, so it survives whatever kills this process next. If
the keeper is stuck with a full pipe, what cannot leave waits, and the keeper finds that something did: should this
process die before it left, the keeper makes no statement on its behalf, as it may lack a deed that comes first. What
the keeper says, and its death, arrive as commands.
"""

from __future__ import annotations

import enum
import logging
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import Event, create_task_group, wait_readable, wait_writable

from kubevip._kept import Kept
from kubevip_keeper import _protocol as protocol
from kubevip_keeper._lines import LineBuffer, LineError, decode, encode
from kubevip_keeper._signals import OBEYED

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, MutableMapping

_logger = logging.getLogger("kubevip.keeper")


class Command(enum.Enum):
    """What the keeper asks for."""

    STOP = "stop"
    """Withdraw, release, exit with status 0. Also when the keeper is gone."""
    RELOAD = "reload"
    """Read the configuration again."""
    DUMP_STATUS = "dump status"
    """Write the status to the log."""
    DUMP_TASKS = "dump tasks"
    """Write the names of all tasks to the log."""


class NoKeeper:
    """The link of a process that has no keeper, as in tests: it hears nothing and what it says goes nowhere."""

    incarnation = 0

    @asynccontextmanager
    async def serve(self, obey: Callable[[Command], None]) -> AsyncGenerator[None]:
        """Do nothing while the body runs."""
        yield

    def ready(self) -> None:
        """Do nothing."""

    def status_text(self, text: str) -> None:
        """Do nothing."""

    def will(self, order: int, function: str, payload: bytes | None) -> None:
        """Check the arguments as a keeper would, so that tests find a wrong one.

        :raises ValueError: as `KeeperLink.will`.
        """
        protocol.will_message(order, function, payload)

    def keep_open(self, fd: int) -> Callable[[], None]:
        """Do nothing, and return how to end that."""
        return lambda: None


class KeeperLink:
    """The link to a living keeper; `will` is the `Will` of every `Host`. Use it in the event-loop thread only."""

    def __init__(
        self,
        read_fd: int,
        write_fd: int,
        owed_fds: tuple[int, int],
        incarnation: int = 0,
        kept: Kept | None = None,
    ) -> None:
        """Take over the descriptors; they are closed when `serve` is left.

        :param owed_fds: both ends of the pipe that says that something waits.
        :param kept: what the keeper holds descriptors with; None: it is of a version that cannot.
        """
        self._kept = kept
        self.incarnation = incarnation
        self._read_fd, self._write_fd, self._owed_fds = read_fd, write_fd, owed_fds
        for fd in self._fds:
            os.set_inheritable(fd, False)
            os.set_blocking(fd, False)
        self._unsent = b""  # the rest of a line that the pipe took in part
        self._waiting: dict[object, bytes] = {}  # the newest line on each matter, so it cannot grow without bound
        self._has_waiting = Event()

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] | None = None) -> KeeperLink | None:
        """Return the link that the environment names, or None without a keeper.

        The variables are taken out of the environment, and the descriptors are closed in whatever this process
        executes, so that no child of it takes itself for the control process.
        """
        environment = os.environ if environment is None else environment
        fds = environment.pop(protocol.KEEPER_VARIABLE, None)
        lock_fd = environment.pop(protocol.LOCK_VARIABLE, None)
        incarnation = environment.pop(protocol.INCARNATION_VARIABLE, "0")
        kept_fds = environment.pop(protocol.KEPT_VARIABLE, None)
        if lock_fd is not None:
            os.set_inheritable(int(lock_fd), False)  # stays open to the end: the lock outlives a killed keeper
        if fds is None:
            return None
        read_fd, write_fd, *owed_fds = map(int, fds.split(","))
        kept = Kept(*map(int, kept_fds.split(","))) if kept_fds is not None else None
        return cls(read_fd, write_fd, (owed_fds[0], owed_fds[1]), int(incarnation), kept)

    @property
    def _fds(self) -> frozenset[int]:
        return frozenset((self._read_fd, self._write_fd, *self._owed_fds))

    @asynccontextmanager
    async def serve(self, obey: Callable[[Command], None]) -> AsyncGenerator[None]:
        """Pass on what the keeper says, and send what the pipe could not take at once, while the body runs.

        From here on this process ignores the signals that a terminal sends to the whole group. `obey` is called in the
        event-loop thread and must neither block nor raise.
        """
        for number in OBEYED:
            signal.signal(number, signal.SIG_IGN)
        try:
            async with create_task_group() as tg:
                tg.start_soon(self._hear, obey)
                tg.start_soon(self._send_waiting)
                yield
                tg.cancel_scope.cancel()
        finally:
            for fd in self._fds:
                os.close(fd)
            if self._kept is not None:
                self._kept.close()
            self._write_fd = self._read_fd = -1  # what is said from now on goes nowhere

    def ready(self) -> None:
        """Say that this node has joined, though it may not lead yet."""
        self._say("ready", protocol.READY)

    def status_text(self, text: str) -> None:
        """Have the service manager show one line."""
        self._say("status", protocol.status_message(text))

    def will(self, order: int, function: str, payload: bytes | None) -> None:
        """Leave a last will, replace it, or (None) withdraw it; see `kubevip_keeper._wills`. Never blocks.

        :raises ValueError: when `function` is not "package.module:function", or `payload` exceeds 512 KiB.
        """
        self._say((order, function), protocol.will_message(order, function, payload))

    def keep_open(self, fd: int) -> Callable[[], None]:
        """Have the keeper hold a descriptor, too, until it has carried out the wills; see `Host.keep_open`."""
        return self._kept.keep(fd) if self._kept is not None else lambda: None

    def _say(self, matter: object, message: Mapping[str, object]) -> None:
        line = encode(message)
        if self._unsent or self._waiting:  # in order: nothing overtakes what waits, but on the same matter
            self._waiting[matter] = line
            return
        self._unsent = self._write(line)
        if self._unsent:
            os.write(self._owed_fds[1], protocol.OWES)
            self._has_waiting.set()

    def _write(self, line: bytes) -> bytes:
        """Write as much as the pipe takes; return the rest."""
        try:
            return line[os.write(self._write_fd, line) :]
        except BlockingIOError:
            return line
        except OSError:  # the keeper is gone, which the other pipe says
            return b""

    async def _send_waiting(self) -> None:
        while True:
            await self._has_waiting.wait()
            while self._unsent:
                await wait_writable(self._write_fd)
                self._unsent = self._write(self._unsent) or self._next_waiting()
            os.read(self._owed_fds[0], 1)
            self._has_waiting = Event()

    def _next_waiting(self) -> bytes:
        return self._waiting.pop(next(iter(self._waiting))) if self._waiting else b""

    async def _hear(self, obey: Callable[[Command], None]) -> None:
        lines = LineBuffer(protocol.LINE_LIMIT)
        try:
            while data := await self._read():
                for line in lines.feed(data):
                    if (command := _command(decode(line))) is not None:
                        obey(command)
            _logger.warning("the keeper is gone: handing over and ending")
        except LineError as exc:
            _logger.error("what the keeper says is not understood: %s; handing over and ending", exc)
        obey(Command.STOP)

    async def _read(self) -> bytes:
        while True:
            await wait_readable(self._read_fd)
            try:
                return os.read(self._read_fd, 1 << 16)
            except BlockingIOError:
                continue


def _command(message: Mapping[str, object]) -> Command | None:
    """Return what a message asks for; None for what this version does not know."""
    match message:
        case {"stop": True}:
            return Command.STOP
        case {"reload": True}:
            return Command.RELOAD
        case {"dump": "status"}:
            return Command.DUMP_STATUS
        case {"dump": "tasks"}:
            return Command.DUMP_TASKS
        case _:
            return None

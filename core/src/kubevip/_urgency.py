"""How urgent this process is to the kernel's scheduler: before everything ordinary, but never for long at a time.

An election whose heartbeat waits behind other people's work loses what it holds although nothing is wrong. So one that
counts in milliseconds has the control process scheduled in real time, at the lowest priority that is before everything
ordinary, where the machine permits it. Three things are not as they seem:

- All threads count, as they share the interpreter's lock: one that has it and waits for a processor holds up the rest.
  A thread inherits nothing of what is reset on fork, so those that are there get it, and are looked for again.
- Nothing that this process starts inherits it (SCHED_RESET_ON_FORK).
- What is before everything else could take a machine of one processor away from everybody: reading 5,000 Services is
  seconds of work. So the kernel is to tell (RLIMIT_RTTIME) when a thread was at work for BURST_SECONDS without waiting
  for anything; then the process is ordinary until the next look. SCHED_RR would not help: it shares with its equals.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from anyio import create_task_group, sleep

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import FrameType

logger = logging.getLogger("kubevip.app")

#: What a control process has to do for a heartbeat takes some milliseconds, whatever it holds.
BURST_SECONDS = 0.1

#: How often to look for new threads, and to be urgent again after too much work.
LOOK_SECONDS = 2.0

#: Where real time is refused this may be granted (RLIMIT_NICE): a processor sooner, though not at once.
FAVOURED_NICENESS = -10


class Urgency:
    """The scheduling of this process. One object a process, of its main thread."""

    def __init__(self) -> None:
        self._priorities: list[int] = []
        self._is_over = False
        self._is_resting = False

    @asynccontextmanager
    async def held(self, priority: int) -> AsyncGenerator[bool]:
        """Be urgent while the body runs; yields whether that is real time. The body runs in any case.

        :param priority: of SCHED_FIFO, 1 to 99; 1 is before everything ordinary.
        """
        if self._is_over or (not self._priorities and _is_real_time()):
            yield not self._is_over  # whoever started it in real time has decided
            return
        self._priorities.append(priority)
        try:
            async with create_task_group() as tg:
                is_real_time = self._be_real_time()
                if is_real_time:
                    logger.info("scheduled in real time priority=%d", max(self._priorities))
                    tg.start_soon(self._keep, self._be_real_time)
                elif _be_favoured():
                    logger.info("scheduled with niceness=%d", FAVOURED_NICENESS)
                    tg.start_soon(self._keep, _be_favoured)
                yield is_real_time
                tg.cancel_scope.cancel()
        finally:
            self._priorities.remove(priority)
            if not self._priorities:
                _be_ordinary()

    def end(self) -> None:
        """Be ordinary from now on, for good."""
        self._is_over = True
        _be_ordinary()

    async def _keep(self, be_urgent: Callable[[], bool]) -> None:
        while True:
            await sleep(LOOK_SECONDS)
            if self._is_over:
                return
            if self._is_resting:
                logger.debug("was at work for %g s without a pause, and ordinary since", BURST_SECONDS)
                self._is_resting = False
            be_urgent()

    def _be_real_time(self) -> bool:
        try:
            self._limit_bursts()
            for thread in _threads():
                _schedule(thread, priority=max(self._priorities))
        except (OSError, ValueError) as error:
            logger.debug("not scheduled in real time: %s", error)
            return False
        return _is_real_time()

    def _limit_bursts(self) -> None:
        """Have the kernel tell of too long a burst; it adds a second to the limit when it does.

        :raises ValueError: when the limit is refused.
        """
        if sys.platform == "linux":
            import resource

            signal.signal(signal.SIGXCPU, self._rest)  # first: its default action ends the process
            _, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
            burst = int(BURST_SECONDS * 1e6)
            soft = burst if hard == resource.RLIM_INFINITY else min(burst, hard)
            resource.setrlimit(resource.RLIMIT_RTTIME, (soft, hard))

    def _rest(self, number: int, frame: FrameType | None) -> None:
        """Be ordinary until the next look. Runs between two instructions of whatever takes so long."""
        self._is_resting = True
        _be_ordinary()


def _is_real_time() -> bool:
    return sys.platform == "linux" and os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK in (
        os.SCHED_FIFO,
        os.SCHED_RR,
    )


def _be_favoured() -> bool:
    """Have all threads favoured among what is ordinary; return whether that is permitted."""
    try:
        for thread in _threads():
            _schedule(thread, niceness=FAVOURED_NICENESS)
    except OSError as error:
        logger.debug("not favoured: %s", error)
        return False
    return True


def _be_ordinary() -> None:
    with suppress(OSError):  # nothing of it is ever refused; where there is no /proc there was nothing
        for thread in _threads():
            _schedule(thread)


def _threads() -> list[int]:
    """Return the kernel's numbers of the threads of this process.

    :raises OSError: where the system is not Linux.
    """
    return [int(name) for name in os.listdir("/proc/self/task")]


def _schedule(thread: int, *, priority: int = 0, niceness: int = 0) -> None:
    """Schedule a thread so, if it is still there.

    :param priority: of SCHED_FIFO; 0: of what is ordinary, with this niceness.
    :raises PermissionError: when it may not be.
    """
    if sys.platform == "linux":
        policy = os.SCHED_FIFO if priority else os.SCHED_OTHER
        with suppress(ProcessLookupError):
            os.sched_setscheduler(thread, policy | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
            if niceness or (not priority and os.getpriority(os.PRIO_PROCESS, thread) < 0):
                os.setpriority(os.PRIO_PROCESS, thread, niceness)

"""The keeper itself: one control process after the other, until it is told to stop.

What it promises:
1. A new control process starts only after the last one was reaped, everything it left behind was killed and reaped,
   and its wills were carried out.
2. A will is carried out only for a control process that this keeper reaped, and not for one that stopped as asked.
3. Each start has an incarnation that is on the disk before the process exists.
4. It ends by itself at most `stop_seconds`, and the time of the wills, after it was asked to; a second signal saves it
   the first wait.
"""

from __future__ import annotations

import os
import signal
import time

from kubevip_keeper import _protocol as protocol
from kubevip_keeper._backoff import Backoff
from kubevip_keeper._child import Child
from kubevip_keeper._incarnation import next_incarnation
from kubevip_keeper._place import describe_trouble
from kubevip_keeper._processes import become_subreaper, end_children
from kubevip_keeper._signals import STOPPING, Signals

TYPE_CHECKING = False  # the module typing is not worth its memory here
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kubevip_keeper._lock import Lock
    from kubevip_keeper._log import Log
    from kubevip_keeper._notify import Notify

FINAL_STATUSES = (2, 77, 78)  # usage, machine, configuration: the next start would end in the same way
STOP_SECONDS = 10.0  # below the unit's TimeoutStopSec, with time left for the wills
WILL_SECONDS = 3.0
_LEFTOVER_SECONDS = 5.0  # between complaints about processes that hang in the kernel


class Keeper:
    """Keeps `command` running. One object a process: it owns the process's signals and children."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        state_dir: str,
        lock: Lock,
        log: Log,
        notify: Notify,
        *,
        stop_seconds: float = STOP_SECONDS,
        will_seconds: float = WILL_SECONDS,
    ) -> None:
        """Prepare; nothing is started.

        :param command: the control process: an absolute path and its arguments.
        :param environment: its environment, without the variables of the protocol.
        :param stop_seconds: how long a graceful stop may take before the control process is killed.
        :param will_seconds: how long each will may take.
        """
        self._command, self._environment = command, environment
        self._state_dir, self._lock = state_dir, lock
        self._log, self._notify = log, notify
        self._stop_seconds, self._will_seconds = stop_seconds, will_seconds
        self._signals = Signals()
        self._stops = 0  # how often it was asked to stop
        self._child: Child | None = None

    def run(self) -> int:
        """Keep it running until asked to stop; return the exit status.

        Once it ran, a disk that takes no new incarnation, or a machine that starts no process, is waited for.

        :raises OSError: when no process can be started for the first time, or the incarnation cannot be written then.
        """
        if not become_subreaper():
            self._log.warning("this system has no subreaper: what a dead control process left cannot be found")
        backoff = Backoff()
        child: Child | None = self._start()
        while child is not None:
            self._watch(child)
            has_ended_well = self._settle(child)
            if self._stops or (child.status in FINAL_STATUSES and not child.is_ready):
                return self._exit_status(child, has_ended_well)
            ran_seconds = time.monotonic() - child.started_at
            delay = backoff.after(ran_seconds, _chance())
            self._log.warning("starting the control process again in %.1f s", delay)
            self._notify.send(STATUS=f"control process {_describe(child)}; starting again")
            child = None if self._is_stopped_within(delay) else self._start_again(backoff)
        return 0

    def _start_again(self, backoff: Backoff) -> Child | None:
        """Start the next one as soon as the machine lets it; None when asked to stop meanwhile."""
        while True:
            try:
                return self._start()
            except OSError as error:
                delay = backoff.after(0, _chance())
                why = f"cannot start the control process: {describe_trouble(self._state_dir, error)}"
                self._log.error("%s; trying again in %.1f s", why, delay)
                self._notify.send(STATUS=why)
                if self._is_stopped_within(delay):
                    return None

    def _start(self) -> Child:
        incarnation = next_incarnation(self._state_dir)
        child = Child(self._command, self._environment, self._lock.fd, incarnation, self._log)
        self._child = child
        try:
            self._lock.write_pids((os.getpid(), child.pid))
        except OSError as error:  # a message of a second process says less; the lock is held all the same
            self._log.warning("pids are not in the lock: %s", describe_trouble(self._state_dir, error))
        self._log.info("started the control process pid=%d incarnation=%d", child.pid, incarnation)
        return child

    def _watch(self, child: Child) -> None:
        """Obey signals and listen to the child until it is reaped."""
        while child.status is None:
            self._signals.wait(self._seconds_to_kill(child), *child.fds)
            self._obey_signals(child)
            child.hear(self._show)
            seconds = self._seconds_to_kill(child)
            if seconds is not None and seconds <= 0:
                self._log.error("not stopped within %g s: killing it pid=%d", self._stop_seconds, child.pid)
                child.kill()
                self._signals.wait(_LEFTOVER_SECONDS)
            child.reap()
        self._child = None

    def _settle(self, child: Child) -> bool:
        """Make sure that nothing of the child is left, carry out its wills; return whether all is as it should be."""
        has_stopped = self._stops > 0 and child.status == 0
        if not has_stopped:
            self._log.error(
                "the control process %s pid=%d incarnation=%d", _describe(child), child.pid, child.incarnation
            )
        while not end_children(self._signals.wait, _LEFTOVER_SECONDS):
            self._obey_signals(None)
            self._log.error("something that it left hangs in the kernel, waiting for its end pid=%d", child.pid)
            if self._stops > 1:
                return False  # which ends this process
        while child.hear(self._show):  # what it said last; nobody else holds the pipe now
            pass
        child.close()
        if has_stopped:
            child.let_go()
            return True
        has_worked = child.wills.carry_out(self._log, self._will_seconds)
        child.let_go()
        end_children(self._signals.wait, _LEFTOVER_SECONDS)  # what the wills left
        self._obey_signals(None)
        return has_worked

    def _exit_status(self, child: Child, has_ended_well: bool) -> int:
        if child.status in FINAL_STATUSES and not child.is_ready:
            return child.status
        was_hurried = self._stops > 1  # killed because the user asked for it
        return 0 if has_ended_well and (child.status == 0 or was_hurried) else 1

    def _is_stopped_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self._stops and (left := deadline - time.monotonic()) > 0:
            self._signals.wait(left)
            self._obey_signals(None)
        return self._stops > 0

    def _seconds_to_kill(self, child: Child) -> float | None:
        if child.stop_asked_at is None:
            return None
        return child.stop_asked_at + self._stop_seconds - time.monotonic()

    def _obey_signals(self, child: Child | None) -> None:
        for number in self._signals.take():
            if number in STOPPING:
                self._obey_stop(child, signal.Signals(number).name)
            elif child is None:
                continue
            elif number == signal.SIGHUP:
                child.tell(protocol.RELOAD)
                if child.is_ready:  # handed on is done: a bad configuration is refused without ending anything
                    self._notify.send(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1000))
                    self._notify.send(READY="1")
            elif number == signal.SIGUSR1:
                child.tell(protocol.DUMP_STATUS)
            elif number == signal.SIGQUIT:
                child.tell(protocol.DUMP_TASKS)

    def _obey_stop(self, child: Child | None, name: str) -> None:
        self._stops += 1
        if self._stops == 1:
            self._log.info("stopping signal=%s", name)
            self._notify.send(STOPPING="1", STATUS="stopping")
            if child is not None:
                child.ask_to_stop()
        elif child is not None:
            self._log.warning("stopping at once signal=%s", name)
            child.kill()

    def _show(self, has_become_ready: bool, text: str | None) -> None:
        if has_become_ready:
            self._notify.send(READY="1")
        if text is not None:
            self._notify.send(STATUS=text)


def _chance() -> float:
    return int.from_bytes(os.urandom(2), "big") / 0xFFFF


def _describe(child: Child) -> str:
    if child.status is not None and child.status < 0:
        return f"was ended by signal {-child.status} ({signal.strsignal(-child.status)})"
    return f"exited with status {child.status}"

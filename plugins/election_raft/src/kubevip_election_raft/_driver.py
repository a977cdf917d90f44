"""Input and output of a node, in the order that it demands: what may leave early, the disk, the rest.

It decides nothing.

Whatever happens is put to the node at once, in the task in which it happened, unless the disk is at work: then it
waits its turn. So an answer to a heartbeat leaves before the task that read it goes back to sleep.

What waits is bounded, however long the disk takes: of one key only the newest is kept, in the place of the older, as
any message may be lost and a newer one says more. Afterwards it is put to the node one by one, and the other tasks run
in between.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from functools import partial
from typing import Protocol

import anyio.lowlevel
from anyio import CancelScope, CapacityLimiter, Event, create_task_group, current_time, move_on_after, to_thread

from kubevip_election_raft._consensus.node import Node
from kubevip_election_raft._consensus.ready import Outgoing, Ready, SoftState

logger = logging.getLogger("kubevip.raft")

#: Longest sleep of the timer task; only a member that stands for nothing has no deadline.
LONGEST_SLEEP_SECONDS = 3600.0

#: The timer is put off when it would go off within so many heartbeats: not at each of them.
PUT_OFF = 1.5

#: A save that takes longer than this part of a promise makes votes late.
LATE_SAVE = 0.5

#: A timer that is later than this part of a heartbeat was kept waiting, and so were others. Timers are in milliseconds.
LATE_PART = 0.2

Action = Callable[[Node, float], Ready]


class Clock(Protocol):
    """What tells the time of the protocol."""

    def now(self) -> float:
        """Return seconds on a clock that never stops."""
        ...

    def has_slept(self) -> bool:
        """Return whether the machine slept since the last call."""
        ...


class Disk(Protocol):
    """What keeps what a node wants to persist."""

    def save(self, ready: Ready) -> float:
        """Save and sync; return how long it took in seconds. May block, and is called in a thread."""
        ...


class Driver:
    """Runs one node."""

    def __init__(
        self,
        node: Node,
        *,
        clock: Clock,
        disk: Disk,
        send: Callable[[tuple[Outgoing, ...]], None],
        changed: Callable[[SoftState], None],
    ) -> None:
        """Prepare; nothing happens before `run`.

        :param send: called with what may leave now; must not block.
        :param changed: called after everything that happened, with what the node is then.
        """
        self.node = node
        self._clock, self._disk, self._send, self._changed = clock, disk, send, changed
        self._inbox: dict[Hashable, Action] = {}
        self._unsaved: Ready | None = None
        self._catches_up = False  # with what waited for the disk
        self._save_wanted, self._deadline_moved, self._saved = Event(), Event(), Event()
        self._sleeping_until = 0.0
        self._timer = CancelScope()  # of that sleep

    def do(self, key: Hashable, action: Action) -> None:
        """Put something to the node: now, or when the disk has done its work.

        :param key: what it is about; it replaces what waits with the same key. There are few: the sender and kind of a
            message, or the name of what happened here.
        """
        self._inbox[key] = action
        while self._inbox and self._unsaved is None and not self._catches_up:
            self._take_oldest()

    async def run(self) -> None:
        """Keep time and disk until cancelled.

        :raises ElectionError: when the disk refuses to save.
        """
        limiter = CapacityLimiter(1)
        async with create_task_group() as tg:
            tg.start_soon(self._save, limiter)
            tg.start_soon(self._keep_time)

    def _take_oldest(self) -> None:
        if self._clock.has_slept():
            logger.warning("the machine was suspended; leadership ends with it")
            self._perform(_suspended)
        if self._inbox and self._unsaved is None:
            self._perform(self._inbox.pop(next(iter(self._inbox))))

    def _perform(self, action: Action) -> None:
        ready = action(self.node, self._clock.now())
        needs_disk = ready.needs_disk
        if messages := ready.early if needs_disk else ready.early + ready.messages:
            self._send(messages)
        if needs_disk:
            self._unsaved = ready
            self._save_wanted.set()
        self._changed(self.node.state)
        if self._sleeping_until:
            self._follow_deadline()

    def _follow_deadline(self) -> None:
        """Have the timer task wake up sooner, or before it would wake up in vain: each heartbeat puts it off."""
        deadline, now = self.node.deadline, self._clock.now()
        if deadline < self._sleeping_until:
            self._deadline_moved.set()
        elif now < self._sleeping_until < min(deadline, now + PUT_OFF * self.node.timing.heartbeat_seconds):
            self._timer.deadline = current_time() + min(deadline - now, LONGEST_SLEEP_SECONDS)
            self._sleeping_until = deadline

    async def _save(self, limiter: CapacityLimiter) -> None:
        while True:
            await self._save_wanted.wait()
            self._save_wanted = Event()
            ready = self._unsaved
            assert ready is not None
            seconds = await to_thread.run_sync(partial(self._disk.save, ready), limiter=limiter)
            if seconds > LATE_SAVE * self.node.timing.promise_seconds:
                logger.warning(
                    "saving the vote took %.0f ms; a slower timing profile would suit this disk", seconds * 1e3
                )
            self._unsaved, self._catches_up = None, True
            if ready.messages:
                self._send(ready.messages)
            self._perform(partial(_saved, ready))
            self._saved.set()
            while self._inbox and self._unsaved is None:
                self._take_oldest()
                await anyio.lowlevel.checkpoint()
            self._catches_up = False

    async def _keep_time(self) -> None:
        while True:
            if self._unsaved is not None:
                self._saved = Event()
                await self._saved.wait()
            deadline = await self._sleep_until_deadline()
            if self._clock.now() - deadline >= LATE_PART * self.node.timing.heartbeat_seconds:
                # A late loop is also a late reader: what arrived meanwhile may be the heartbeat that is missed.
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()
            if self._unsaved is None and self._clock.now() >= self.node.deadline:
                self.do("tick", _tick)

    async def _sleep_until_deadline(self) -> float:
        """Sleep until the deadline, wherever it moves meanwhile; return when it was."""
        self._deadline_moved = Event()
        self._sleeping_until = self.node.deadline
        left = min(self._sleeping_until - self._clock.now(), LONGEST_SLEEP_SECONDS)
        if left > 0:
            with move_on_after(left) as self._timer:
                await self._deadline_moved.wait()
        else:
            await anyio.lowlevel.checkpoint()
        deadline, self._sleeping_until = self._sleeping_until, 0.0
        return deadline


def _tick(node: Node, now: float) -> Ready:
    return node.tick(now)


def _suspended(node: Node, now: float) -> Ready:
    return node.suspended(now)


def _saved(ready: Ready, node: Node, now: float) -> Ready:
    return node.saved(ready, now)

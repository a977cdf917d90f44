"""Input and output of a node, in the order that it demands: persist, then send, then tell. It decides nothing.

Whatever happens is put to the node at once, in the task in which it happened, unless the disk is at work: then it
waits its turn. So an answer to a heartbeat leaves before the task that read it goes back to sleep.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

import anyio.lowlevel
from anyio import CapacityLimiter, Event, create_task_group, move_on_after, to_thread

from kubevip_election_raft._messages import HardState
from kubevip_election_raft._node import Node
from kubevip_election_raft._ready import Outgoing, Ready, SoftState

logger = logging.getLogger("kubevip.raft")

#: Longest sleep of the timer task; only a member that stands for nothing has no deadline.
LONGEST_SLEEP_SECONDS = 3600.0

#: A save that takes longer than this part of a promise makes votes late.
LATE_SAVE = 0.5

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
    """What keeps the hard state."""

    def save(self, state: HardState) -> float:
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
        self._inbox: deque[Action] = deque()
        self._unsaved: Ready | None = None
        self._save_wanted, self._deadline_moved, self._saved = Event(), Event(), Event()
        self._sleeping_until = 0.0

    def do(self, action: Action) -> None:
        """Put something to the node: now, or when the disk has done its work."""
        self._inbox.append(action)
        self._pump()

    async def run(self) -> None:
        """Keep time and disk until cancelled.

        :raises ElectionError: when the disk refuses to save.
        """
        limiter = CapacityLimiter(1)
        async with create_task_group() as tg:
            tg.start_soon(self._save, limiter)
            tg.start_soon(self._keep_time)

    def _pump(self) -> None:
        while self._inbox and self._unsaved is None:
            action = self._inbox.popleft()
            if self._clock.has_slept():
                logger.warning("the machine was suspended; leadership ends with it")
                self._inbox.appendleft(action)
                action = _suspended
            ready = action(self.node, self._clock.now())
            if ready.hard_state is None:
                self._emit(ready)
            else:
                self._unsaved = ready
                self._save_wanted.set()

    def _emit(self, ready: Ready) -> None:
        if ready.messages:
            self._send(ready.messages)
        self._changed(self.node.state)
        if self.node.deadline < self._sleeping_until:
            self._deadline_moved.set()

    async def _save(self, limiter: CapacityLimiter) -> None:
        while True:
            await self._save_wanted.wait()
            self._save_wanted = Event()
            ready = self._unsaved
            assert ready is not None
            assert ready.hard_state is not None
            seconds = await to_thread.run_sync(partial(self._disk.save, ready.hard_state), limiter=limiter)
            if seconds > LATE_SAVE * self.node.timing.promise_seconds:
                logger.warning(
                    "saving the vote took %.0f ms; a slower timing profile would suit this disk", seconds * 1e3
                )
            self._unsaved = None
            self._emit(ready)
            self._pump()
            self._saved.set()

    async def _keep_time(self) -> None:
        while True:
            if self._unsaved is not None:
                self._saved = Event()
                await self._saved.wait()
            if not await self._sleep_until_deadline():
                continue
            # A late loop is also a late reader: what arrived meanwhile may be the heartbeat that is missed.
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            if self._unsaved is None and self._clock.now() >= self.node.deadline:
                self.do(_tick)

    async def _sleep_until_deadline(self) -> bool:
        """Sleep; return whether the deadline has come and did not move meanwhile."""
        self._deadline_moved = Event()
        self._sleeping_until = self.node.deadline
        left = min(self._sleeping_until - self._clock.now(), LONGEST_SLEEP_SECONDS)
        if left > 0:
            with move_on_after(left):
                await self._deadline_moved.wait()
        self._sleeping_until = 0.0
        return self._clock.now() >= self.node.deadline


def _tick(node: Node, now: float) -> Ready:
    return node.tick(now)


def _suspended(node: Node, now: float) -> Ready:
    return node.suspended(now)

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
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from typing import Protocol

import anyio.lowlevel
from anyio import CapacityLimiter, Event, create_task_group, to_thread

from kubevip_election_raft._callbacks import Alarm
from kubevip_election_raft._consensus.node import Node
from kubevip_election_raft._consensus.ready import Outgoing, Ready, SoftState

logger = logging.getLogger("kubevip.raft")

#: The alarm is put off when it would ring within so many heartbeats: not at each of them.
PUT_OFF = 1.5

#: A save that takes longer than this part of a promise makes votes late.
LATE_SAVE = 0.5

#: An alarm that is later than this part of a heartbeat was kept waiting, and so were others. The kernel's timers are in
#: milliseconds.
LATE_PART = 0.2

#: A late loop is also a late reader: what arrived meanwhile, which it takes in so many turns, may be the heartbeat that
#: is missed.
TURNS_TO_READ = 2

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
        send: Callable[[Sequence[Outgoing]], None],
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
        self._save_wanted = Event()
        self._alarm = Alarm(self._ring)
        self._rings_at = math.inf
        self._turns_left = 0  # before a late alarm counts

    def do(self, key: Hashable, action: Action) -> None:
        """Put something to the node: now, or when the disk has done its work.

        :param key: what it is about; it replaces what waits with the same key. There are few: the sender and kind of a
            message, or the name of what happened here.
        """
        self.do_all([(key, action)])

    def do_all(self, actions: Iterable[tuple[Hashable, Action]]) -> None:
        """The same for what happened in one moment: what the node has to send because of it leaves together."""
        if self._unsaved is None and not self._catches_up:
            self._perform(self._in_turn(actions))
        else:
            self._inbox.update(actions)

    async def run(self) -> None:
        """Keep time and disk until cancelled.

        :raises ElectionError: when the disk refuses to save.
        """
        limiter = CapacityLimiter(1)
        async with create_task_group() as tg:
            tg.start_soon(self._save, limiter)
            self._set_alarm(self.node.deadline)
            await self._alarm.run()

    def _in_turn(self, actions: Iterable[tuple[Hashable, Action]]) -> Iterator[Action]:
        """Give each; what comes after one for which the disk has to work waits."""
        if self._clock.has_slept():
            logger.warning("the machine was suspended; leadership ends with it")
            yield _suspended
        for key, action in actions:
            if self._unsaved is None:
                yield action
            else:
                self._inbox[key] = action

    def _perform(self, actions: Iterable[Action]) -> None:
        messages: list[Outgoing] = []
        for action in actions:
            ready = action(self.node, self._clock.now())
            messages += ready.early
            if ready.needs_disk:
                self._unsaved = ready
                self._save_wanted.set()
            else:
                messages += ready.messages
        if messages:
            self._send(messages)
        self._changed(self.node.state)
        self._follow_deadline()

    def _follow_deadline(self) -> None:
        """Have the alarm ring sooner, or not in vain: each heartbeat puts it off."""
        deadline = self.node.deadline
        soon = self._clock.now() + PUT_OFF * self.node.timing.heartbeat_seconds
        if deadline < self._rings_at or self._rings_at < min(deadline, soon):
            self._set_alarm(deadline)

    def _set_alarm(self, deadline: float) -> None:
        self._rings_at, self._turns_left = deadline, 0
        if self._rings_at < math.inf:  # a member that stands for nothing may have no deadline
            self._alarm.set(self._rings_at - self._clock.now())

    def _ring(self) -> None:
        now = self._clock.now()
        if self._turns_left:
            self._turns_left -= 1
        elif now - self._rings_at >= LATE_PART * self.node.timing.heartbeat_seconds:
            self._turns_left = TURNS_TO_READ
        if self._turns_left:
            self._alarm.set(0)
            return
        self._rings_at = math.inf
        if self._unsaved is not None:
            return  # what is due then is done when the disk has done its work
        if now >= (deadline := self.node.deadline):
            self.do("tick", _tick)
        else:
            self._set_alarm(deadline)

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
            self._perform([partial(_saved, ready)])
            while self._inbox and self._unsaved is None:
                key = next(iter(self._inbox))
                self._perform(self._in_turn([(key, self._inbox.pop(key))]))
                await anyio.lowlevel.checkpoint()
            self._catches_up = False


def _tick(node: Node, now: float) -> Ready:
    return node.tick(now)


def _suspended(node: Node, now: float) -> Ready:
    return node.suspended(now)


def _saved(ready: Ready, node: Node, now: float) -> Ready:
    return node.saved(ready, now)

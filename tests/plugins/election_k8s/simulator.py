"""Plays candidates for one Lease on clocks of their own, over a network that delays, loses and reorders.

A schedule is a seed. Checked at every step: at most one of them holds, frozen ones included, whose addresses the
kernel keeps up until then. `python -m tests.plugins.election_k8s.simulator --seeds 100000` plays many.
"""

from __future__ import annotations

import argparse
import heapq
import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from itertools import count
from random import Random
from typing import Any

from kubevip_election_k8s._candidate import Candidate, Read, Wait, Write
from kubevip_election_k8s._record import Record, micro_time, write_record
from kubevip_election_k8s._timing import Timing

SECONDS = 120.0
TIMING = Timing()
#: Clocks run apart by so much at most; the margin between deadline and duration allows for far more.
DRIFT = 0.05
SOME_DAY = 1_700_000_000


class Broken(AssertionError):
    """An invariant does not hold."""


class Machine:
    """A clock, a link, and a candidate that may be replaced by a new process, or frozen."""

    def __init__(self, name: str, world: World, rng: Random) -> None:
        self.name, self.world = name, world
        self.rate, self.offset = 1 + rng.uniform(-DRIFT, DRIFT), rng.uniform(0, 1e5)
        self.is_frozen = self.is_cut = False
        self._processes = count(1)
        self.stream = Stream(self)
        self._deferred: list[Callable[[], None]] = []
        self.start()

    def start(self) -> None:
        since = self.stream.absent_since if self.world.rng.random() < 0.5 else math.inf
        self.candidate = Candidate(f"{self.name}_{next(self._processes)}", TIMING, since)
        self.request = 0
        self.is_busy = False
        self.step()

    def now(self) -> float:
        return self.world.now * self.rate + self.offset

    def holds(self) -> bool:
        return self.candidate.holds(self.now())

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do it after so many seconds of this machine's clock; when it is frozen then, when it thaws."""
        self.world.at(self.world.now + max(seconds, 0.0) / self.rate, lambda: self.do(action))

    def do(self, action: Callable[[], None]) -> None:
        if self.is_frozen:
            self._deferred.append(action)
        else:
            action()

    def thaw(self) -> None:
        self.is_frozen = False
        deferred, self._deferred = self._deferred, []
        self.world.rng.shuffle(deferred)
        for action in deferred:
            action()

    def hear(self, lease: Any, version: str, absent_since: float = math.inf) -> None:
        self.candidate.told(lease, version, self.now(), absent_since)
        self.step()

    def step(self) -> None:
        if self.is_busy:
            return
        world, now = self.world, self.now()
        decision = self.candidate.decide(now, world.rng.uniform(0, 0.02), world.stamp(self.offset))
        if isinstance(decision, Wait):
            process = self.candidate
            self.later(decision.until - now, lambda: self.step() if self.candidate is process else None)
            return
        self.is_busy = True
        self.request += 1
        number, process, sent_at = self.request, self.candidate, now

        def answered(status: int, lease: Any) -> None:
            if self.candidate is process and self.request == number and self.is_busy:
                self.is_busy = False
                self._take(decision, sent_at, status, lease)
                self.step()

        def gave_up() -> None:
            answered(0, None)

        self.later(decision.timeout_seconds, gave_up)
        world.send(self, decision, answered)

    def _take(self, decision: Read | Write, sent_at: float, status: int, lease: Any) -> None:
        candidate, now, stretch = self.candidate, self.now(), self.world.rng.uniform(0.5, 1)
        if status == 200:
            if isinstance(decision, Read):
                candidate.has_read(lease, now)
            else:
                candidate.has_written(lease, sent_at, now)
        elif status == 404:
            candidate.is_missing(now)
        elif status == 409:
            candidate.conflicted(now, stretch)
        else:
            candidate.failed(now, stretch, is_uncertain=True)


class Stream:
    """A machine's watch: what it tells comes late and in order, and after a loss it begins anew with a list."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._is_up, self._news = machine, False, list[tuple[str, Any, str]]()
        self.absent_since = math.inf

    def open(self) -> None:
        """List and follow, or try again later."""
        world = self._machine.world
        if self._machine.is_cut:
            world.at(world.now + 1, self.open)
        elif not self._is_up:
            self._is_up = True
            self._send("LISTED", deepcopy(world.lease), str(world.version))

    def change(self, lease: Any, version: str) -> None:
        """Tell of a change, or break."""
        world = self._machine.world
        if self._is_up and world.is_lost(self._machine):
            self._is_up = False
            self._send("BROKEN", None, "")
            world.at(world.now + world.rng.uniform(0, 1), self.open)
        elif self._is_up:
            self._send("CHANGED", lease, version)

    def _send(self, kind: str, lease: Any, version: str) -> None:
        self._news.append((kind, lease, version))
        world = self._machine.world
        world.at(world.now + world.travel(), lambda: self._machine.do(self._arrive))

    def _arrive(self) -> None:
        kind, lease, version = self._news.pop(0)  # whichever arrives, the oldest is told first
        if kind == "BROKEN":
            self.absent_since = math.inf
            return
        before = self.absent_since
        self.absent_since = self._machine.now() if lease is None else math.inf
        self._machine.hear(lease, version, before if kind == "CHANGED" else math.inf)


class World:
    """The server, the network, and what goes wrong."""

    def __init__(self, seed: int, machines: int) -> None:
        self.rng, self.now, self.version = Random(seed), 0.0, 100
        self.lease: dict[str, Any] | None = None
        self._past: list[dict[str, Any] | None] = [None]
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self.loss, self.delay = self.rng.choice([0.0, 0.05, 0.3]), self.rng.choice([0.01, 0.3, 2.0])
        self.takeovers = 0
        self._holder = ""
        self.has_replicas = self.rng.random() < 0.3  # that answer a read with what was a while ago
        self.has_streams = self.rng.random() < 0.7  # else what is told comes in any order, and proves nothing
        self.machines = [Machine(f"n{number}", self, self.rng) for number in range(1, machines + 1)]
        for machine in self.machines if self.has_streams else ():
            machine.stream.open()

    def at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (time, next(self._numbers), action))

    def stamp(self, offset: float) -> str:
        from datetime import UTC, datetime

        return micro_time(datetime.fromtimestamp(SOME_DAY + offset + self.now, UTC))

    def run(self) -> None:
        self.at(self.rng.expovariate(0.5), self._mischief)
        while self._queue and self._queue[0][0] < SECONDS:
            self.now, _, action = heapq.heappop(self._queue)
            self.check()
            action()
            self.check()

    def check(self) -> None:
        holding = [machine.candidate.identity for machine in self.machines if machine.holds()]
        if len(holding) > 1:
            raise Broken(f"{' and '.join(holding)} hold at {self.now:.3f}")
        if holding and holding[0] != self._holder:
            self._holder = holding[0]
            self.takeovers += 1

    def send(self, machine: Machine, decision: Read | Write, answered: Callable[[int, Any], None]) -> None:
        def arrive() -> None:
            status, lease = self._carry_out(decision)
            if not self.is_lost(machine):
                self.at(self.now + self.travel(), lambda: machine.do(lambda: answered(status, deepcopy(lease))))

        if not self.is_lost(machine):
            self.at(self.now + self.travel(), arrive)

    def put(self, lease: dict[str, Any] | None) -> None:
        self.version += 1
        if lease is not None:
            lease["metadata"] = {"name": "lock", "resourceVersion": str(self.version)}
        self.lease = lease
        self._past = [*self._past[-5:], deepcopy(lease)]
        told, version = deepcopy(lease), str(self.version)
        for machine in self.machines:
            if self.has_streams:
                machine.stream.change(deepcopy(told), version)
            elif not self.is_lost(machine):
                self.at(self.now + self.travel(), _telling(machine, told, version))

    def _carry_out(self, decision: Read | Write) -> tuple[int, Any]:
        if isinstance(decision, Read):
            lease = self.rng.choice(self._past) if self.has_replicas and self.rng.random() < 0.3 else self.lease
            return (200, lease) if lease is not None else (404, None)
        if decision.lease is None:
            if self.lease is not None:
                return 409, None
            self.put(write_record({}, decision.record))
            return 200, self.lease
        if self.lease is None:
            return 404, None
        if _version(decision.lease) != _version(self.lease):
            return 409, None
        self.put(write_record(decision.lease, decision.record))
        return 200, self.lease

    def is_lost(self, machine: Machine) -> bool:
        return machine.is_cut or self.rng.random() < self.loss

    def travel(self) -> float:
        return self.rng.uniform(0.0005, self.delay)

    def _mischief(self) -> None:
        machine = self.rng.choice(self.machines)
        kind = self.rng.randrange(5)
        if kind == 0:
            machine.is_cut = not machine.is_cut
        elif kind == 1 and not machine.is_frozen:
            machine.is_frozen = True
            self.at(self.now + self.rng.expovariate(0.3), machine.thaw)
        elif kind == 2 and not machine.holds():
            machine.start()
        elif kind == 3 and self.lease is not None:
            self.put(None)
        elif kind == 4 and self.lease is not None:
            duration = self.rng.choice([None, TIMING.lease_seconds])
            self.put(write_record(self.lease, Record(duration_seconds=duration)))
        self.at(self.now + self.rng.expovariate(0.5), self._mischief)


def _telling(machine: Machine, lease: Any, version: str) -> Callable[[], None]:
    return lambda: machine.do(lambda: machine.hear(deepcopy(lease), version))


def _version(lease: Mapping[str, Any]) -> Any:
    return lease["metadata"]["resourceVersion"]


def play(seed: int) -> World:
    """Play a schedule.

    :raises Broken: naming the seed.
    """
    world = World(seed, machines=2 + seed % 3)
    try:
        world.run()
    except Broken as error:
        raise Broken(f"seed {seed}: {error}") from None
    return world


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    takeovers = sum(play(seed).takeovers for seed in range(args.first, args.first + args.seeds))
    print(f"{args.seeds} schedules, {takeovers} takeovers")


if __name__ == "__main__":
    main()

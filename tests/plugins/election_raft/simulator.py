"""Deterministic simulation of a raft group: virtual time, one seed a schedule, invariants after every step.

What it does to the group: messages dropped, delayed, reordered and duplicated; links cut in one or both directions;
crashes that lose what was not synced; pauses; clocks at rates up to 8.3 % off; slow disks; members with other timings;
false and true hints that a connection ended; keepers that say goodbye; graceful stops, moves, resignations, changes of
fitness; members that vote and hold nothing; one that never comes back; members that start late, and one whose disk is
lost while the group lives, and which an operator replaces.

What must hold after every step:
- election safety: at most one leader a term (Raft thesis 3.2);
- log matching: entries of one index and term are the same everywhere, and so is what precedes them;
- leader completeness: a leader has every entry that any member knows to be committed;
- state-machine safety: no two members take different entries of one index as committed;
- **at most one holder of a group at any instant of real time**, where whoever was told that it holds counts as a holder
  to the very end of its lease, even when it was killed, frozen or deposed, unless it released or its keeper spoke;
- no term is taken back by a restart; and once the network is good again, every group is soon held;
- nobody is disturbed for nothing: a new term begins only after a majority said that it would vote (9.6), or after the
  leader's own word or its keeper's (3.10); nobody leads on that a majority does not answer (6.2).

In two schedules of five the members are reckless: they vote and stand without PreVote and stickiness, because safety
must not depend on these.

    python -m tests.plugins.election_raft.simulator --seeds 100000      # prints each failing seed
    python -m tests.plugins.election_raft.simulator --replay 4711       # with a trace of everything that happened
"""

from __future__ import annotations

import argparse
import heapq
import math
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import Any

from attrs import define, evolve, field, frozen

from kubevip_election_raft._consensus.entries import Command, MemberRecord, Process, Saved
from kubevip_election_raft._consensus.epoch import members_of
from kubevip_election_raft._consensus.messages import (
    AppendResponse,
    Goodbye,
    Message,
    Offer,
    PreVoteResponse,
    TimeoutNow,
    VoteRequest,
)
from kubevip_election_raft._consensus.node import Node
from kubevip_election_raft._consensus.ready import Outgoing, Ready, Role
from kubevip_election_raft._consensus.timing import FAST, RELAXED, Timing
from kubevip_election_raft._consensus.voter import Voter

#: How far a clock may be slewed to either side.
LARGEST_RATE_ERROR = 0.083

#: What the conversion between real and local time may be off.
ROUNDING_SECONDS = 1e-8

#: How long after the last fault somebody must hold: a few rounds with random timeouts.
LIVENESS_SECONDS = 4.0


#: What is done to machines; what is there twice is twice as likely.
HARMS = (
    *("crash", "crash", "crash_quickly", "pause", "pause"),
    *("cut", "cut_off", "mute", "mute", "mend"),
    *("stop", "move", "move", "resign", "change_fitness"),
    *("hint", "suspend", "stand", "stand", "die", "die"),
    *("reshape", "reshape", "reshape"),
)


class ViolationError(AssertionError):
    """An invariant does not hold."""


@frozen(kw_only=True)
class Weather:
    """How bad a schedule is; probabilities per message or per second."""

    members: int = 3
    seconds: float = 4.0
    loss: float = 0.02
    duplication: float = 0.02
    slow: float = 0.05  # of messages
    slowest: float = 0.25  # how late they are at most
    faults_per_second: float = 6.0
    skew: float = LARGEST_RATE_ERROR
    mixed_timing: bool = False
    is_reckless: bool = False
    groups: int = 2
    disk: tuple[float, ...] = (0.0002, 0.001, 0.001, 0.03)  # how long a save takes
    harms: tuple[str, ...] = HARMS
    bystanders: int = 0  # members that vote and stand for nothing, as witnesses do
    loses_one: bool = False  # for good; not the bystander
    latest_start: float = 0.0  # of a machine


def draw_weather(rng: Random) -> Weather:
    """Draw how bad a schedule is to be."""
    weather = Weather(
        members=rng.choice((3, 3, 3, 5)),
        seconds=rng.uniform(1.5, 4.0),
        loss=rng.choice((0.0, 0.02, 0.2)),
        duplication=rng.choice((0.0, 0.05)),
        slow=rng.choice((0.0, 0.05, 0.3)),
        slowest=rng.choice((0.25, 1.0)),
        faults_per_second=rng.choice((2.0, 6.0, 12.0)),
        skew=rng.choice((0.0, LARGEST_RATE_ERROR)),
        mixed_timing=rng.random() < 0.2,
        is_reckless=rng.random() < 0.4,
        groups=rng.choice((1, 2, 3)),
        bystanders=rng.choice((0, 0, 1)),
        latest_start=rng.choice((0.0, 0.0, 1.5)),
    )
    if rng.random() < 0.25 and not weather.mixed_timing:
        return evolve(weather, harms=(*(harm for harm in HARMS if harm != "reshape"), "wipe", "wipe", "wipe"))
    if weather.bystanders and not weather.mixed_timing and rng.random() < 0.5:  # a majority of the members is left
        return evolve(weather, loses_one=True, harms=tuple(harm for harm in HARMS if harm != "reshape"))
    return weather


class RecklessNode(Node):
    """A member without the rules that only keep the peace: it asks nobody before it stands, and sticks to no leader."""

    def __init__(self, **options: Any) -> None:  # Any: those of Node
        super().__init__(**options)
        self._voter = _RecklessVoter(
            hard_state=options["saved"].hard_state,
            log=self._log,
            promise_seconds=self.timing.promise_seconds,
            now=options["now"],
        )

    def _stand(self, now: float) -> None:
        self._campaign(now)


class _RecklessVoter(Voter):
    def free_at(self, name: str) -> float:
        return -math.inf


@define(kw_only=True, eq=False)
class Machine:
    """One member's machine: its clock, its disk, and the process that runs on it, if one does."""

    name: str
    timing: Timing
    rate: float
    offset: float
    disk: Saved = field(factory=Saved)
    incarnation: int = 0
    node: Node | None = None
    frozen_until: float = 0.0
    is_syncing: bool = False
    queue: deque[Callable[[Node, float], Ready]] = field(factory=deque)
    tick_at: float = math.inf
    holds_until: dict[str, float] = field(
        factory=dict[str, float]
    )  # by group and its own clock: the latest that it was told
    withdrawing: set[str] = field(factory=set[str])
    fitness: int = 100
    is_bystander: bool = False
    is_lost: bool = False

    @property
    def birth(self) -> int:
        """What its state file was made with; 0 without one."""
        return self.disk.hard_state.birth

    @property
    def is_born(self) -> bool:
        """Whether what it has on its disk names it as a member with this very disk."""
        return any(record.name == self.name and record.birth == self.birth != 0 for record in members_of(self.disk))

    def local(self, real: float) -> float:
        """Return what the clock of this machine shows."""
        return self.offset + self.rate * real

    def real(self, local: float) -> float:
        """Return when the clock of this machine shows `local`."""
        return (local - self.offset) / self.rate


class World:
    """A group and everything that happens to it."""

    def __init__(
        self,
        seed: int,
        *,
        weather: Weather | None = None,
        prepare: Callable[[Node], None] | None = None,
        syncs: bool = True,
        trace: bool = False,
    ) -> None:
        """Draw a schedule.

        :param weather: how bad it is; drawn if it is None.
        :param prepare: called with each node as it starts, to break something in it.
        :param syncs: whether a member waits for its disk before it sends; without, a crash loses what it wrote.
        """
        self.seed, self.rng, self.now = seed, Random(seed), 0.0
        self.weather = weather or draw_weather(self.rng)
        self.trace: list[str] | None = [] if trace else None
        self._prepare, self._syncs = prepare, syncs
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._blocked: set[tuple[str, str]] = set()
        self._leaders: dict[int, Process] = {}
        self._entries: dict[tuple[int, int], tuple[Command, int | None]] = {}  # by term and index, with the term before
        self._committed: dict[int, tuple[int, Command]] = {}  # by index
        self._led_since: dict[tuple[str, int], tuple[tuple[str, ...], float]] = {}  # with which members
        self._given_up: set[int] = set()  # terms whose leader resigned or died
        self._agreed_to: defaultdict[tuple[str, int], set[str]] = defaultdict(set)  # by member and term: pre-votes
        self._answered_at: defaultdict[str, dict[str, float]] = defaultdict(dict)  # by leader and follower
        self.groups = tuple(f"g{number + 1}" for number in range(self.weather.groups))
        self.has_good_network = self._has_wiped = False
        self.terms_led = 0
        names = [f"n{number + 1}" for number in range(self.weather.members)]
        self.machines = {name: self._new_machine(name) for name in names}
        for name in names[len(names) - self.weather.bystanders :]:
            self.machines[name].is_bystander = True

    def _new_machine(self, name: str) -> Machine:
        timing = self.rng.choice((Timing(), FAST, RELAXED)) if self.weather.mixed_timing else Timing()
        rate = 1.0 + self.rng.choice((-1.0, 1.0, self.rng.uniform(-1.0, 1.0))) * self.weather.skew
        return Machine(name=name, timing=timing, rate=rate, offset=self.rng.uniform(0.0, 1e6))

    # Running

    def run(self) -> None:
        """Play the schedule to its end.

        :raises ViolationError: naming the seed and what does not hold.
        """
        self._play_all(self.weather.seconds + LIVENESS_SECONDS)

    def _play_all(self, until: float) -> None:
        """Start all machines, do harm for a while, heal everything, and see in the end that every group is held."""
        for machine in self.machines.values():
            self.at(self.rng.uniform(0.0, self.weather.latest_start), partial(self._start, machine))
        moment = 0.0
        while (moment := moment + self.rng.expovariate(self.weather.faults_per_second)) < self.weather.seconds:
            self.at(moment, self._do_harm)
        self.at(self.weather.seconds, self.heal)
        self._play(until)
        for group in self.groups if not self.weather.is_reckless else ():
            if not any(self._holds(machine, group) for machine in self.machines.values()):
                self._fail(f"nobody holds {group} although the network is good")

    def at(self, moment: float, action: Callable[[], None]) -> None:
        """Do `action` at `moment` in real time."""
        self._count += 1
        heapq.heappush(self._events, (moment, self._count, action))

    def _play(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = until

    # Processes

    def _start(self, machine: Machine) -> None:
        if machine.node is not None or machine.is_lost:
            return
        machine.incarnation += 1
        machine.is_syncing = False
        machine.queue.clear()
        if not machine.birth:  # saved before anything else
            born = evolve(machine.disk.hard_state, birth=self.rng.getrandbits(40) + 1)
            machine.disk = evolve(machine.disk, hard_state=born)
        machine.node = (RecklessNode if self.weather.is_reckless else Node)(
            process=Process(name=machine.name, incarnation=machine.incarnation, birth=machine.birth),
            members=tuple(self.machines),
            timing=machine.timing,
            saved=machine.disk,
            rng=Random(self.rng.random()),
            now=machine.local(self.now),
            asks=True,
        )
        machine.withdrawing.clear()
        if self._prepare is not None:
            self._prepare(machine.node)
        self._note(machine, "starts with %s", machine.disk.hard_state)
        self._do(machine, self._become(machine))
        for name in self.machines:
            if name != machine.name:
                self.at(self.now + self._delay(), partial(self._greet, machine, machine.incarnation, name, 0))

    def _become(self, machine: Machine) -> Callable[[Node, float], Ready]:
        offers = tuple(Offer(group=group, fitness=machine.fitness) for group in self.groups if not machine.is_bystander)
        return lambda node, now: node.offer(offers, now)

    def _crash(self, machine: Machine) -> None:
        if machine.node is None:
            return
        self._note(machine, "crashes")
        machine.node, machine.tick_at, machine.frozen_until = None, math.inf, 0.0
        for other in self.machines.values():  # its kernel ends its connections
            if other is not machine and (machine.name, other.name) not in self._blocked and self.rng.random() < 0.8:
                self.at(self.now + self._delay(), partial(self._do, other, _hint(machine.name)))

    def _freeze(self, machine: Machine, seconds: float) -> None:
        if machine.node is not None:
            self._note(machine, "is frozen for %.3f s", seconds)
            machine.frozen_until = max(machine.frozen_until, self.now + seconds)
            self.at(machine.frozen_until, partial(self._drain, machine))

    def _do(self, machine: Machine, action: Callable[[Node, float], Ready]) -> None:
        """Let the process of `machine` do something, as soon as it runs and its disk is not at work."""
        if machine.node is not None:
            machine.queue.append(action)
            self._drain(machine)

    def _drain(self, machine: Machine) -> None:
        while machine.queue and machine.node is not None and not machine.is_syncing:
            if machine.frozen_until > self.now:
                return
            self._perform(machine, machine.queue.popleft())
        self._schedule(machine)

    def _perform(self, machine: Machine, action: Callable[[Node, float], Ready]) -> None:
        assert machine.node is not None
        ready = action(machine.node, machine.local(self.now))
        self._check_entries(machine, ready)
        self._emit(machine, ready.early)
        self._check(machine)
        if not ready.needs_disk:
            self._emit(machine, ready.messages)
            return
        if not self._syncs:  # as if it were saved: the disk has it later, and only if the process lives on
            self.at(self.now + 1.0, partial(self._write, machine, machine.incarnation, ready))
            self._report_saved(machine, ready)
            return
        machine.is_syncing = True
        seconds = self.rng.choice(self.weather.disk)
        if self.rng.random() < 0.3:  # it may be on disk although nobody was told yet
            self.at(self.now + seconds * 0.9, partial(self._write, machine, machine.incarnation, ready))
        self.at(self.now + seconds, partial(self._synced, machine, machine.incarnation, ready))

    def _write(self, machine: Machine, incarnation: int, ready: Ready) -> None:
        if machine.incarnation == incarnation and machine.node is not None:
            disk = machine.disk.after(ready.hard_state, ready.snapshot, ready.entries)
            if disk.hard_state.term < machine.disk.hard_state.term:
                self._fail(f"{machine.name} takes back its term")
            machine.disk = disk

    def _synced(self, machine: Machine, incarnation: int, ready: Ready) -> None:
        self._write(machine, incarnation, ready)
        if machine.incarnation == incarnation and machine.node is not None:
            machine.is_syncing = False
            machine.queue.appendleft(partial(self._saved, machine, ready))
            self._drain(machine)

    def _saved(self, machine: Machine, ready: Ready, node: Node, now: float) -> Ready:
        self._emit(machine, ready.messages)
        return node.saved(ready, now)

    def _report_saved(self, machine: Machine, ready: Ready) -> None:
        machine.queue.appendleft(partial(self._saved, machine, ready))

    def _schedule(self, machine: Machine) -> None:
        is_able = machine.node is not None and not machine.is_syncing and machine.frozen_until <= self.now
        if machine.node is None or not is_able or machine.node.deadline == math.inf:
            return
        moment = max(machine.real(machine.node.deadline), self.now)
        if moment < machine.tick_at or machine.tick_at < self.now:
            machine.tick_at = moment
            self.at(moment, partial(self._tick, machine, machine.incarnation, moment))

    def _tick(self, machine: Machine, incarnation: int, moment: float) -> None:
        if machine.incarnation != incarnation or machine.node is None or machine.tick_at != moment:
            return
        machine.tick_at = math.inf
        if machine.local(self.now) + ROUNDING_SECONDS >= machine.node.deadline:
            self._do(machine, _tick)
        else:
            self._schedule(machine)

    # The network

    def _emit(self, machine: Machine, messages: tuple[Outgoing, ...]) -> None:
        assert machine.node is not None
        for outgoing in messages:
            self._check_sent(machine, outgoing.message)
            self._send(machine.node.process, outgoing.to, outgoing.message)

    def _send(self, sender: Process, to: str, message: Message) -> None:
        if (sender.name, to) in self._blocked or self.rng.random() < self._loss:
            return
        for _ in range(1 + (not self.has_good_network and self.rng.random() < self.weather.duplication)):
            self.at(self.now + self._delay(), partial(self._deliver, sender, to, message))

    def _deliver(self, sender: Process, to: str, message: Message) -> None:
        if (sender.name, to) not in self._blocked:
            machine = self.machines[to]
            if self.trace is not None:
                self._note(machine, "<- %s: %s", sender, message)
            if isinstance(message, PreVoteResponse) and message.is_granted:
                self._agreed_to[to, message.asked].add(sender.name)
            if isinstance(message, AppendResponse):
                self._answered_at[to][sender.name] = self.now
            self._do(machine, lambda node, now: node.step(sender, message, now))

    def _greet(self, machine: Machine, incarnation: int, name: str, connected: int) -> None:
        """Let a machine and another one introduce themselves when it connects: again and again until it is welcome.

        `connected`: the incarnation of the other one that it is connected to; 0 for none.
        """
        if machine.incarnation != incarnation or machine.node is None:
            return
        other, pause = self.machines[name], self.rng.uniform(0.03, 0.12)
        is_welcome = other.node is not None and machine.name in other.node.peers
        if not is_welcome or connected != other.incarnation:
            connected = 0
        is_cut = bool({(machine.name, name), (name, machine.name)} & self._blocked)
        if other.node is None or is_cut or name not in machine.node.peers or other.frozen_until > self.now:
            pass
        elif connected:
            pause = 0.3
        else:
            self._introduce(machine, other)
            self._introduce(other, machine)
            connected = other.incarnation if is_welcome else 0
        self.at(self.now + pause, partial(self._greet, machine, incarnation, name, connected))

    def _introduce(self, machine: Machine, other: Machine) -> None:
        """Let one machine hear how another one introduces itself now, a little later."""
        assert machine.node is not None
        process, introduction, incarnation = machine.node.process, machine.node.introduction, other.incarnation

        def meet() -> None:
            if other.incarnation == incarnation:
                self._note(other, "meets %s: %s", process, introduction)
                self._do(other, lambda node, now: node.meet(process, introduction, now))

        self.at(self.now + self._delay(), meet)

    @property
    def _loss(self) -> float:
        return 0.0 if self.has_good_network else self.weather.loss

    def _delay(self) -> float:
        if not self.has_good_network and self.rng.random() < self.weather.slow:
            return self.rng.uniform(0.0, self.weather.slowest)
        return self.rng.uniform(0.0001, 0.002)

    # Faults

    def _do_harm(self) -> None:
        machine = self.rng.choice(list(self.machines.values()))
        leaders = [other for other in self.machines.values() if other.node and other.node.state.role is Role.LEADER]
        if leaders and self.rng.random() < 0.5:  # what happens to a leader tells most
            machine = self.rng.choice(leaders)
        harm: Callable[[Machine], None] = getattr(self, f"_{self.rng.choice(self.weather.harms)}")
        harm(machine)

    def heal(self) -> None:
        """End all faults: from now on the network is good and every member runs, but for the one that is lost."""
        self.has_good_network = True
        lost = self.rng.choice([machine for machine in self.machines.values() if not machine.is_bystander])
        if self.weather.loses_one and self._can_spare(lost):
            self._crash(lost)
            lost.is_lost = True
        self._blocked.clear()
        for machine in self.machines.values():
            machine.frozen_until = min(machine.frozen_until, self.now)
            machine.fitness = max(machine.fitness, 0)
            self._start(machine)
            self._do(machine, self._become(machine))

    def _pause(self, machine: Machine) -> None:
        self._freeze(machine, self.rng.choice((0.02, 0.1, 0.16, 0.2, 0.5)) * self.rng.uniform(0.5, 1.5))

    def _crash_quickly(self, machine: Machine) -> None:
        self._crash(machine)
        self.at(self.now + self.rng.uniform(0.0, 0.05), partial(self._start, machine))

    def _cut(self, machine: Machine) -> None:
        """Cut one direction of one link."""
        other = self.rng.choice([name for name in self.machines if name != machine.name])
        self._blocked.add((machine.name, other))
        self._note(machine, "is not heard by %s", other)

    def _cut_off(self, machine: Machine) -> None:
        """Cut off a machine from all others, perhaps for a moment only."""
        pairs = {pair for name in self.machines for pair in ((machine.name, name), (name, machine.name))}
        self._blocked |= pairs
        self._note(machine, "is cut off")
        if self.rng.random() < 0.5:
            self.at(self.now + self.rng.uniform(0.05, 0.5), partial(self._blocked.difference_update, pairs))

    def _mute(self, machine: Machine) -> None:
        """Let a machine hear, and not be heard, for a while."""
        pairs = {(machine.name, name) for name in self.machines}
        self._blocked |= pairs
        self._note(machine, "is mute")
        self.at(self.now + self.rng.uniform(0.2, 1.0), partial(self._blocked.difference_update, pairs))

    def _mend(self, machine: Machine) -> None:
        self._blocked.clear()
        for other in self.machines.values():
            self._start(other)
        self._note(machine, "and all others run, and all links work")

    def _can_spare(self, machine: Machine) -> bool:
        """Return whether the group can do without what a machine has on its disk."""
        others = [other for other in self.machines.values() if other is not machine and other.is_born]
        return len(others) > len(self.machines) // 2

    def _wipe(self, machine: Machine) -> None:
        """Lose the disk of a machine while most others have theirs; an operator has it replaced then."""
        if not self._can_spare(machine) or self._has_wiped:
            return
        self._has_wiped = True
        self._crash(machine)
        self._note(machine, "loses its disk")
        machine.disk = Saved()
        self.at(self.now + self.rng.uniform(0.0, 0.1), partial(self._start, machine))
        began = self.now + self.rng.uniform(0.2, 1.0)
        for turn in range(12):
            self.at(began + turn * 0.25, partial(self._replace, machine))

    def _replace(self, machine: Machine) -> None:
        """Have whoever leads take the next step towards a machine with its new disk."""

        def change(node: Node, now: float) -> Ready:
            births = {record.name: record.birth for record in node.records}
            if births.get(machine.name, -1) in (0, machine.birth):
                return node.tick(now)
            is_removal = machine.name in births
            answer = node.change_members(MemberRecord(name=machine.name), is_removal=is_removal, now=now)
            self._note(machine, "is to be replaced (removal: %s): %s", is_removal, answer.refusal or "yes")
            return node.tick(now)

        for leader in self.machines.values():
            if leader.node is not None and leader.node.state.role is Role.LEADER and machine.node is not None:
                self._do(leader, change)

    def _stop(self, machine: Machine) -> None:
        """Stop gracefully: be relieved, withdraw what is left, release, give leadership away, end; come back."""
        offers = () if machine.is_bystander else tuple(Offer(group=group) for group in self.groups)
        self._note(machine, "stops gracefully")
        self._do(machine, lambda node, now: node.offer(offers, now, is_leaving=True))
        leave_at = self.now + self.rng.choice((0.0, 0.02, 0.05))
        self.at(leave_at, partial(self._do, machine, partial(self._leave, machine)))
        self.at(leave_at + 0.1, partial(self._crash, machine))
        self.at(leave_at + self.rng.uniform(0.1, 0.5), partial(self._start, machine))

    def _leave(self, machine: Machine, node: Node, now: float) -> Ready:
        machine.holds_until.clear()  # withdrawn before the release
        machine.queue.appendleft(lambda node, now: node.resign(now))
        machine.queue.appendleft(lambda node, now: node.offer((), now))
        return node.release(self.groups, now)

    def _die(self, machine: Machine) -> None:
        """The process dies; its keeper makes sure that nothing is up, and says so."""
        if machine.node is None:
            return
        process = machine.node.process
        self._crash(machine)
        self.at(self.now + self.rng.uniform(0.001, 0.02), partial(self._say_goodbye, machine, process))
        self.at(self.now + self.rng.uniform(0.0, 0.5), partial(self._start, machine))

    def _say_goodbye(self, machine: Machine, process: Process) -> None:
        if machine.incarnation == process.incarnation:  # a keeper starts the next one only after that
            machine.holds_until.clear()
            self._given_up |= {
                term
                for term, leader in self._leaders.items()
                if leader.name == process.name and leader.incarnation <= process.incarnation  # earlier runs are over
            }
            self._note(machine, "is spoken for by its keeper")
            for name in self.machines:
                if name != machine.name:
                    self._send(process, name, Goodbye())

    def _move(self, machine: Machine) -> None:
        to, group = self.rng.choice(list(self.machines)), self.rng.choice(self.groups)

        def move(node: Node, now: float) -> Ready:
            refusal = node.move(group, to, now)
            self._note(machine, "is to move %s to %s: %s", group, to, refusal or "yes")
            return node.tick(now)

        self._do(machine, move)

    def _reshape(self, machine: Machine) -> None:
        """Add or remove a member, as the leader is asked to again and again until it is done."""
        name = self.rng.choice(list(self.machines))

        def change(node: Node, now: float) -> Ready:
            is_removal = name in node.members
            answer = node.change_members(MemberRecord(name=name), is_removal=is_removal, now=now)
            verb = "remove" if is_removal else "add"
            self._note(machine, "is to %s %s: %s", verb, name, answer.refusal or "yes")
            return node.tick(now)

        for leader in self.machines.values():
            if leader.node is not None and leader.node.state.role is Role.LEADER:
                for delay in (0.0, 0.2, 0.4, 0.6):
                    self.at(self.now + delay, partial(self._do_as_leader, leader, change, name))

    def _do_as_leader(self, machine: Machine, change: Callable[[Node, float], Ready], name: str) -> None:
        if machine.node is not None and machine.node.state.role is Role.LEADER and not self.has_good_network:
            self._do(machine, change)

    def _resign(self, machine: Machine) -> None:
        self._do(machine, lambda node, now: node.resign(now))

    def _hint(self, machine: Machine) -> None:
        for other in self.machines.values():
            if other is not machine:
                self._do(other, _hint(machine.name))

    def _change_fitness(self, machine: Machine) -> None:
        machine.fitness = self.rng.choice((0, 50, 100))
        self._do(machine, self._become(machine))

    def _stand(self, machine: Machine) -> None:
        """Let a member stand out of turn."""

        def stand(node: Node, now: float) -> Ready:
            if node.state.role is Role.FOLLOWER:
                node._standing.at = now
            return node.tick(now)

        self._do(machine, stand)

    def _suspend(self, machine: Machine) -> None:
        self._do(machine, lambda node, now: node.suspended(now))

    # What must hold

    def _holds(self, machine: Machine, group: str) -> bool:
        return machine.holds_until.get(group, -math.inf) > machine.local(self.now)

    def _check_entries(self, machine: Machine, ready: Ready) -> None:
        """Log matching, for what a member is about to write."""
        assert machine.node is not None
        log = machine.node._log
        for entry in ready.entries:
            seen = entry.command, log.term_at(entry.index - 1)
            before = self._entries.setdefault((entry.term, entry.index), seen)
            if before[0] != seen[0] or (None not in (before[1], seen[1]) and before[1] != seen[1]):
                self._fail(f"entry {entry.term}.{entry.index} is {seen} at {machine.name}, and {before} elsewhere")

    def _check_sent(self, machine: Machine, message: Message) -> None:
        """A new term begins for a reason only."""
        if isinstance(message, TimeoutNow):
            self._given_up.add(message.term)
        if not isinstance(message, VoteRequest) or self.weather.is_reckless:
            return
        quorum = machine.node._quorum if machine.node is not None else 1
        if message.is_succession:
            if message.term - 1 not in self._given_up:
                self._fail(f"{machine.name} succeeds a leader of term {message.term - 1} that is not gone")
        elif len(self._agreed_to[machine.name, message.term]) + 1 < quorum:
            self._fail(f"{machine.name} begins term {message.term} although no majority would vote")

    def _check_answered(self, machine: Machine) -> None:
        """Nobody leads on without a majority; one that has just been added is given time to answer."""
        answered = sorted(self._answered_at[machine.name].values(), reverse=True)
        assert machine.node is not None
        needed = machine.node._quorum - 1
        newest = self.now if not needed else answered[needed - 1] if len(answered) >= needed else -math.inf
        run, members = (machine.name, machine.incarnation), machine.node.members
        if self._led_since.get(run, ((), 0.0))[0] != members:
            self._led_since[run] = members, self.now
        since = max(newest, self._led_since[run][1])
        if self.now - since > 4 * machine.timing.promise_seconds:
            self._fail(f"{machine.name} leads although no majority answers it")

    def _check(self, machine: Machine) -> None:
        assert machine.node is not None
        node = machine.node
        state, process, log = node.state, node.process, node._log
        for entry in log.between(max(log.commit - 40, 0), log.commit):
            agreed = self._committed.setdefault(entry.index, (entry.term, entry.command))
            if agreed != (entry.term, entry.command):
                self._fail(f"{machine.name} has {entry} as committed, and others {agreed}")
        if state.role is not Role.LEADER:
            self._led_since.pop((machine.name, machine.incarnation), None)
        else:
            self._check_answered(machine)
            if state.term not in self._leaders:
                self._check_complete(machine)
            if self._leaders.setdefault(state.term, process) != process:
                self._fail(f"{process} and {self._leaders[state.term]} both lead in term {state.term}")
        for group, holding in state.holdings.items():
            if holding.until > machine.local(self.now):
                self._check_only_holder(machine, group, holding.until)
        for group in state.leaving:
            if group not in machine.withdrawing:
                machine.withdrawing.add(group)
                self.at(self.now + 0.002, partial(self._withdraw, machine, machine.incarnation, group))

    def _check_complete(self, machine: Machine) -> None:
        """Leader completeness: whoever comes to lead has all that is committed."""
        assert machine.node is not None
        log = machine.node._log
        for index, (term, _) in self._committed.items():
            if index > log.snapshot.index and log.term_at(index) != term and term < machine.node.term:
                self._fail(f"{machine.name} leads without the committed entry {term}.{index}")

    def _check_only_holder(self, machine: Machine, group: str, until: float) -> None:
        if not self._holds(machine, group):
            self._note(machine, "holds %s", group)
        for other in self.machines.values():
            if other is not machine and self._holds(other, group):
                left = other.real(other.holds_until[group]) - self.now
                self._fail(
                    f"{machine.name} holds {group} {left * 1000:.1f} ms before the lease of {other.name} is over"
                )
        machine.holds_until[group] = max(machine.holds_until.get(group, -math.inf), until)

    def _withdraw(self, machine: Machine, incarnation: int, group: str) -> None:
        """What the owner does of which a group is taken: withdraw, then release."""

        def release(node: Node, now: float) -> Ready:
            machine.withdrawing.discard(group)
            if group not in node.state.leaving:
                return node.tick(now)
            machine.holds_until.pop(group, None)
            self._note(machine, "withdrew %s", group)
            return node.release((group,), now)

        if machine.incarnation == incarnation:
            self._do(machine, release)

    def _fail(self, message: str) -> None:
        raise ViolationError(f"seed {self.seed}, {self.now:.4f} s: {message}")

    def _note(self, machine: Machine, message: str, *args: object) -> None:
        if self.trace is not None:
            role = machine.node.state.role.value if machine.node is not None else "down"
            term = machine.node.term if machine.node is not None else machine.disk.hard_state.term
            text = f"{self.now * 1000:9.2f} ms  {machine.name} {role:13} term {term:3}  {message % args}"
            self.trace.append(text)


def _tick(node: Node, now: float) -> Ready:
    is_due = now < node.deadline <= now + ROUNDING_SECONDS  # but for the rounding between real and local time
    return node.tick(node.deadline if is_due else now)


def _hint(name: str) -> Callable[[Node, float], Ready]:
    return lambda node, now: node.disconnected(name, now)


def failures(
    seeds: Iterable[int],
    *,
    weather: Weather | None = None,
    prepare: Callable[[Node], None] | None = None,
    syncs: bool = True,
) -> Iterable[ViolationError]:
    """Play each seed and yield what went wrong."""
    for seed in seeds:
        try:
            World(seed, weather=weather, prepare=prepare, syncs=syncs).run()
        except ViolationError as violation:
            yield violation


def main(arguments: list[str], make: Callable[..., World] = World) -> int:
    """Run the command line with the worlds that `make` makes; exit status 1 if an invariant did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000, help="how many schedules to play")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--replay", type=int, help="play this seed alone and print everything that happens")
    options = parser.parse_args(arguments)
    if options.replay is not None:
        world = make(options.replay, trace=True)
        try:
            world.run()
        except ViolationError as violation:
            world.trace = [*(world.trace or ()), str(violation)]
        print("\n".join(world.trace or ()))
        return 0
    found = 0
    for seed in range(options.first, options.first + options.seeds):
        try:
            make(seed).run()
        except ViolationError as violation:
            found += 1
            print(violation, flush=True)
    print(f"{options.seeds} schedules, {found} failed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

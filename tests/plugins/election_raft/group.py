"""A group of nodes in one place: time moves when a test says so, and messages travel when it lets them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from random import Random

from attrs import define, frozen

from kubevip_election_raft._messages import HardState, Message, Process
from kubevip_election_raft._node import Node
from kubevip_election_raft._ready import Ready, SoftState
from kubevip_election_raft._timing import DEFAULT, Timing


class NoChance(Random):
    """Always the lowest that may be drawn."""

    def uniform(self, a: float, b: float) -> float:
        return a


@frozen(kw_only=True)
class InFlight:
    """A message on its way."""

    sender: Process
    to: str
    message: Message


@define(eq=False)
class Member:
    """A node, what is on its disk, and whether its process runs."""

    node: Node
    disk: HardState
    is_up: bool = True
    state: SoftState | None = None


class Group:
    """Nodes n1, n2, ... that all stand, at time 0 s. `told` is called with one line for everything that happens."""

    def __init__(
        self,
        size: int = 3,
        *,
        timing: Timing = DEFAULT,
        told: Callable[[str, str], None] = lambda name, line: None,
        disks: dict[str, HardState] | None = None,
        stands_first: str | None = None,
        rng: Callable[[str], Random] = lambda name: NoChance(),
        fitness: int = 100,
    ) -> None:
        self.now, self._timing, self._told, self._rng = 0.0, timing, told, rng
        self.names = tuple(f"n{number + 1}" for number in range(size))
        self.in_flight: list[InFlight] = []
        self.blocked: set[tuple[str, str]] = set()
        self.persisted: list[tuple[str, HardState]] = []
        self.members: dict[str, Member] = {}
        for name in self.names:
            disk = (disks or {}).get(name, HardState())
            self.members[name] = Member(self._new_node(name, 1, disk, stands_first == name), disk)
        for name in self.names:
            self.do(name, lambda node, now: node.set_fitness(fitness, now))

    def _new_node(self, name: str, incarnation: int, disk: HardState, stands_first: bool = False) -> Node:
        return Node(
            process=Process(name=name, incarnation=incarnation),
            members=self.names,
            timing=self._timing,
            hard_state=disk,
            rng=self._rng(name),
            now=self.now,
            stands_first=stands_first,
        )

    def __getitem__(self, name: str) -> Node:
        return self.members[name].node

    @property
    def leaders(self) -> list[str]:
        """Who holds now."""
        return [
            name
            for name, member in self.members.items()
            if member.is_up and member.node.state.lease_until > self.now and member.node.state.yielding_to is None
        ]

    def do(self, name: str, action: Callable[[Node, float], Ready]) -> Ready:
        """Let something happen to a node, and carry out what it wants: persist, then send."""
        member = self.members[name]
        if not member.is_up:
            return Ready()
        ready = action(member.node, self.now)
        if ready.hard_state is not None:
            member.disk = ready.hard_state
            self.persisted.append((name, ready.hard_state))
            self._told(name, f"persists term={member.disk.term} vote={member.disk.vote}")
        for outgoing in ready.messages:
            self._told(name, f"-> {outgoing.to}: {show(outgoing.message)}")
            flying = InFlight(sender=member.node.process, to=outgoing.to, message=outgoing.message)
            self.in_flight.append(flying)
        self._tell_state(name, member)
        return ready

    def _tell_state(self, name: str, member: Member) -> None:
        state, before = member.node.state, member.state
        member.state = state
        if before is not None and (state.role, state.term, state.leader) == (before.role, before.term, before.leader):
            if state.lease_until > -math.inf and before.lease_until == -math.inf:
                self._told(name, f"holds until {state.lease_until * 1000:.0f} ms")
            if state.yielding_to != before.yielding_to:
                self._told(name, f"yields to {state.yielding_to}")
        elif before is not None or state.term:
            lease = f", holds until {state.lease_until * 1000:.0f} ms" if state.lease_until > -math.inf else ""
            self._told(name, f"is {state.role.value} term={state.term} leader={state.leader}{lease}")

    def take(self, *, to: str | None = None, sender: str | None = None) -> list[InFlight]:
        """Take what is in flight, of one sender or to one node, off the wire."""
        taken = [m for m in self.in_flight if to in (None, m.to) and sender in (None, m.sender.name)]
        self.in_flight = [m for m in self.in_flight if m not in taken]
        return taken

    def deliver(self, messages: Iterable[InFlight]) -> None:
        """Hand over messages, unless their link is cut."""
        for flying in messages:
            if (flying.sender.name, flying.to) not in self.blocked:
                self.say(flying.sender, flying.to, flying.message)

    def say(self, sender: Process | str, to: str, message: Message) -> Ready:
        """Let `to` receive a message."""
        process = Process(name=sender, incarnation=1) if isinstance(sender, str) else sender
        return self.do(to, lambda node, now: node.step(process, message, now))

    def stabilize(self) -> None:
        """Deliver until nothing is in flight; takes no time."""
        while self.in_flight:
            self.deliver(self.take())

    def advance(self, seconds: float, *, delivers: bool = True) -> None:
        """Let time pass: each node ticks when it wants to; messages arrive at once, or stay in flight."""
        until = self.now + seconds
        if delivers:
            self.stabilize()
        while True:
            due, name = min((m.node.deadline, name) for name, m in self.members.items() if m.is_up)
            if due > until:
                break
            self.now = max(self.now, due)
            self.do(name, lambda node, now: node.tick(now))
            if delivers:
                self.stabilize()
        self.now = until

    def elect(self, name: str = "n1") -> None:
        """Let time pass until `name` holds."""
        while self.leaders != [name]:
            self.advance(0.005)
            assert self.now < 10.0, f"{name} is not elected"

    def cut_off(self, name: str) -> None:
        """Cut all links of a node."""
        self.blocked |= {pair for other in self.names for pair in ((name, other), (other, name))}

    def heal(self) -> None:
        """Mend all links."""
        self.blocked.clear()

    def crash(self, name: str) -> None:
        """Kill a node; what it sent last still arrives."""
        self.members[name].is_up = False

    def restart(self, name: str, fitness: int = 100) -> None:
        """Start a node again with what is on its disk."""
        member = self.members[name]
        incarnation = member.node.process.incarnation + 1
        self.members[name] = Member(self._new_node(name, incarnation, member.disk), member.disk)
        self.do(name, lambda node, now: node.set_fitness(fitness, now))


def show(value: object) -> str:
    """Write a message the way a person would: its kind, and what is not obvious."""
    from kubevip_election_raft import _messages as m

    match value:
        case m.PromiseRequest():
            return f"asks {value.seconds * 1000:.0f} ms for {value.grant.term}.{value.grant.index}"
        case m.PromiseResponse() if value.is_given:
            return "promised"
        case m.PromiseResponse():
            return f"bound for {value.wait_seconds * 1000:.0f} ms"
        case m.PreVoteRequest():
            return f"PreVoteRequest term={value.term} rank={value.rank} fitness={value.fitness}"
        case m.VoteRequest():
            return f"VoteRequest term={value.term}, {show(value.promise)}"
        case m.PreVoteResponse() | m.VoteResponse():
            wait = f", bound for {value.wait_seconds * 1000:.0f} ms" if value.wait_seconds else ""
            promise = f", {show(value.promise)}" if isinstance(value, m.VoteResponse) and value.promise else ""
            verdict = "granted" if value.is_granted else "refused"
            return f"{type(value).__name__} term={value.term} {verdict}{wait}{promise}"
        case m.Heartbeat():
            return f"Heartbeat term={value.term}, {show(value.promise)}, heirs {' '.join(value.heirs) or '-'}"
        case m.HeartbeatResponse():
            promise = show(value.promise) if value.promise else "stale"
            return f"HeartbeatResponse term={value.term} fitness={value.fitness}, {promise}"
        case m.Release():
            return f"Release {value.grant.term}.{value.grant.index} heir={value.heir} why={value.why!r}"
        case _:
            return str(value)

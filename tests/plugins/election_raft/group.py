"""A group of nodes in one place: time moves when a test says so, and messages travel when it lets them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from random import Random

from attrs import define, frozen

from kubevip_election_raft._consensus.entries import Entry, HardState, NoOp, Process, Saved, SetMembers
from kubevip_election_raft._consensus.messages import Introduction, Message, Offer
from kubevip_election_raft._consensus.node import Node
from kubevip_election_raft._consensus.ready import Outgoing, Ready, SoftState
from kubevip_election_raft._consensus.timing import DEFAULT, Timing


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
    disk: Saved
    is_up: bool = True
    is_withdrawing: bool = True  # as its owner does, in no time, when a group is to go
    state: SoftState | None = None


class Group:
    """Members n1, n2, ... that all stand for the same groups, at time 0 s.

    `told` is called with one line for everything that happens.
    """

    def __init__(
        self,
        size: int = 3,
        *,
        timing: Timing = DEFAULT,
        told: Callable[[str, str], None] = lambda name, line: None,
        disks: dict[str, Saved] | None = None,
        stands_first: str | None = None,
        rng: Callable[[str], Random] = lambda name: NoChance(),
        fitness: int = 100,
        groups: tuple[str, ...] = ("g",),
    ) -> None:
        self.now, self._timing, self._told, self._rng = 0.0, timing, told, rng
        self.names = tuple(f"n{number + 1}" for number in range(size))
        self.groups = groups
        self.in_flight: list[InFlight] = []
        self.blocked: set[tuple[str, str]] = set()
        self.persisted: list[tuple[str, Ready]] = []
        self.members: dict[str, Member] = {}
        for name in self.names:
            disk = (disks or {}).get(name, Saved())
            self.members[name] = Member(self._new_node(name, 1, disk, stands_first == name), disk)
        for name in self.names:
            self.offer(name, fitness)

    def _new_node(self, name: str, incarnation: int, disk: Saved, stands_first: bool = False) -> Node:
        return Node(
            process=Process(name=name, incarnation=incarnation),
            members=self.names,
            timing=self._timing,
            saved=disk,
            rng=self._rng(name),
            now=self.now,
            stands_first=stands_first,
        )

    def __getitem__(self, name: str) -> Node:
        return self.members[name].node

    @property
    def leaders(self) -> list[str]:
        """Who leads now."""
        return [name for name, member in self.members.items() if member.is_up and member.node._leader is not None]

    @property
    def holders(self) -> list[str]:
        """Who holds the first group now."""
        return self.holders_of(self.groups[0])

    def holders_of(self, group: str) -> list[str]:
        """Who holds `group` now."""
        return [name for name, member in self.members.items() if member.is_up and self.lease(name, group) > self.now]

    def lease(self, name: str, group: str = "g") -> float:
        """Return the end of a lease; 0 without one."""
        holding = self.members[name].node.state.holdings.get(group)
        return holding.until if holding is not None else 0.0

    def offer(self, name: str, fitness: int | None = 100, **options: bool | int) -> Ready:
        """Let a member stand for all groups; None: for none."""
        offers = () if fitness is None else tuple(Offer(group=group, fitness=fitness) for group in self.groups)
        leaving, request = bool(options.get("is_leaving", False)), int(options.get("request", 0))
        return self.do(name, lambda node, now: node.offer(offers, now, is_leaving=leaving, request=request))

    def do(self, name: str, action: Callable[[Node, float], Ready]) -> Ready:
        """Let something happen to a node, and carry out what it wants: persist, then send."""
        member = self.members[name]
        if not member.is_up:
            return Ready()
        first = ready = action(member.node, self.now)
        while True:
            self._send(name, ready.early)
            if ready.needs_disk:
                member.disk = member.disk.after(ready.hard_state, ready.snapshot, ready.entries)
                self.persisted.append((name, ready))
                self._told(name, f"persists {show_persisted(ready)}")
            self._send(name, ready.messages)
            self._tell_state(name, member)
            if not ready.needs_disk:
                break
            ready = member.node.saved(ready, self.now)
        if member.is_withdrawing and member.node.state.leaving:
            leaving = tuple(member.node.state.leaving)
            self._told(name, f"withdraws {' '.join(leaving)}")
            self.do(name, lambda node, now: node.release_leaving(leaving, now))
        return first

    def _send(self, name: str, messages: tuple[Outgoing, ...]) -> None:
        for outgoing in messages:
            self._told(name, f"-> {outgoing.to}: {show(outgoing.message)}")
            process = self.members[name].node.process
            self.in_flight.append(InFlight(sender=process, to=outgoing.to, message=outgoing.message))

    def _tell_state(self, name: str, member: Member) -> None:
        state, before = member.node.state, member.state
        member.state = state
        if before is None:
            return
        if (state.role, state.term, state.leader) != (before.role, before.term, before.leader):
            self._told(name, f"is {state.role.value} term={state.term} leader={state.leader}")
        for group, holding in state.holdings.items():
            if group not in before.holdings or before.holdings[group].tenure != holding.tenure:
                self._told(name, f"holds {group} until {holding.until * 1000:.0f} ms ({holding.rise.why})")
        for group in before.holdings:
            if group not in state.holdings:
                self._told(name, f"holds {group} no more")

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

    def meet(self, one: str, other: str) -> None:
        """Let two nodes introduce themselves to each other, as they are now."""
        introductions = {name: self[name].introduction for name in (one, other)}
        for name, peer in ((one, other), (other, one)):
            process, introduction = self[peer].process, introductions[peer]
            self.do(name, partial(_meet, process, introduction))

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
        """Let time pass until `name` leads, and holds what there is."""
        while self.leaders != [name] or self.holders != [name]:
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
        self.offer(name, fitness)


def _meet(process: Process, introduction: Introduction, node: Node, now: float) -> Ready:
    return node.meet(process, introduction, now)


def fresh(term: int = 0, vote: str | None = None, promise_seconds: float = 0.0) -> Saved:
    """Return what a member has on its disk that never saw an entry."""
    return Saved(hard_state=HardState(term=term, vote=vote, promise_seconds=promise_seconds))


def show_persisted(ready: Ready) -> str:
    """Write what is persisted the way a person would."""
    parts: list[str] = []
    if ready.hard_state is not None:
        parts.append(f"term={ready.hard_state.term} vote={ready.hard_state.vote}")
    if ready.snapshot is not None:
        parts.append(f"snapshot {ready.snapshot.term}.{ready.snapshot.index}")
    parts += [show_entry(entry) for entry in ready.entries]
    return ", ".join(parts)


def show_entry(entry: Entry) -> str:
    """Write an entry the way a person would."""
    if isinstance(entry.command, NoOp):
        return f"[{entry.grant} no-op]"
    if isinstance(entry.command, SetMembers):
        return f"[{entry.grant} members {' '.join(record.name for record in entry.command.members)}]"
    places = " ".join(
        f"{placed.group}:{placed.process.name if placed.process else 'nobody'}" for placed in entry.command.placed
    )
    return f"[{entry.grant} {places}]"


def show(value: object) -> str:
    """Write a message the way a person would: its kind, and what is not obvious."""
    from kubevip_election_raft._consensus import messages as m

    match value:
        case m.PromiseRequest():
            claims = " ".join(f"{claim.group}@{claim.grant}" for claim in value.claims)
            return f"PromiseRequest {value.round}: {claims} for {value.seconds * 1000:.0f} ms"
        case m.PromiseResponse():
            refused = " ".join(
                f"{refusal.group} bound for {refusal.wait_seconds * 1000:.0f} ms"
                if refusal.wait_seconds
                else f"{refusal.group} is out of date"
                for refusal in value.refused
            )
            return f"PromiseResponse {value.round}: {refused or 'promised'}"
        case m.Release():
            return f"Release {' '.join(f'{claim.group}@{claim.grant}' for claim in value.claims)}"
        case m.Goodbye():
            return "Goodbye"
        case m.PreVoteRequest():
            log = f"log {value.last_term}.{value.last_index}"
            return f"PreVoteRequest term={value.term} {log} rank={value.rank} fitness={value.fitness}"
        case m.VoteRequest():
            succession = " succession" if value.is_succession else ""
            return f"VoteRequest term={value.term} log {value.last_term}.{value.last_index}{succession}"
        case m.PreVoteResponse() | m.VoteResponse():
            wait = f", bound for {value.wait_seconds * 1000:.0f} ms" if value.wait_seconds else ""
            verdict = "granted" if value.is_granted else "refused"
            return f"{type(value).__name__} term={value.term} {verdict}{wait}"
        case m.TimeoutNow():
            return f"TimeoutNow term={value.term} heir={value.heir} why={value.why!r}"
        case m.AppendEntries():
            entries = "".join(f" {show_entry(entry)}" for entry in value.entries)
            after = f"after {value.previous_term}.{value.previous_index}"
            heirs = f"heirs {' '.join(value.heirs) or '-'}"
            unknown = f", asks {' '.join(value.unknown)}" if value.unknown else ""
            return f"AppendEntries term={value.term} {after}{entries} commit {value.commit}, {heirs}{unknown}"
        case m.InstallSnapshot():
            return f"InstallSnapshot term={value.term} {value.snapshot.term}.{value.snapshot.index}"
        case m.AppendResponse():
            if value.matched is not None:
                return f"AppendResponse term={value.term} matched {value.matched}"
            hint = f", try {value.hint_term}.{value.hint_index}" if value.hint_index else ", stale"
            return f"AppendResponse term={value.term} refused{hint}"
        case m.Offers():
            offers = " ".join(f"{offer.group}:{offer.fitness}" for offer in value.offers) or "nothing"
            return f"Offers {value.version}: {offers}{' leaving' if value.is_leaving else ''}"
        case m.OffersResponse():
            return f"OffersResponse kept={value.kept}"
        case m.MoveRequest():
            return f"MoveRequest {value.group} to {value.to}"
        case m.MoveResponse():
            return f"MoveResponse {value.refusal or 'decided'}"
        case _:
            raise AssertionError(value)

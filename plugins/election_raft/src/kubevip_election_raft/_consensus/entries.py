"""What the group agrees on: the entries of its log, and the state that they add up to. Values only.

The log says who *should* hold which group, and who is a member; never who holds, which is what promises are for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import Attribute, field, frozen

#: Longest promise that anybody may ask for; a started voter keeps silent for the longest promise that it ever gave.
LONGEST_PROMISE_SECONDS = 60.0


def within(lowest: float, highest: float) -> Callable[[object, Attribute[Any], float], None]:
    """Return a validator of numbers; one call, where two of attrs take five, as heartbeats are made of numbers."""

    def check(_: object, field: Attribute[Any], value: float) -> None:
        if not lowest <= value <= highest:
            raise ValueError(f"{field.name!r} must be from {lowest} to {highest}: {value}")

    return check


COUNT = within(0, 2**53)
SECONDS = within(0.0, LONGEST_PROMISE_SECONDS)


@frozen(kw_only=True)
class Process:
    """One run of one member: `incarnation` differs between any two runs of it, and a later run has a larger one.

    `birth` is the number that its state file was made with; 0: none. Another birth is another member of the same name.
    """

    name: str
    incarnation: int = field(validator=COUNT)
    birth: int = field(default=0, validator=COUNT)

    def __str__(self) -> str:
        """Show as "n1/17"."""
        return f"{self.name}/{self.incarnation}"


@frozen(kw_only=True)
class Grant:
    """What entitles a process to hold: the position in the log of the decision that it should."""

    term: int = field(validator=COUNT)
    index: int = field(validator=COUNT)

    # By hand: those of attrs take ten calls, and every heartbeat compares some.
    def __lt__(self, other: Grant) -> bool:
        """Return whether it is older."""
        return (self.term, self.index) < (other.term, other.index)

    def __le__(self, other: Grant) -> bool:
        """Return whether it is not newer."""
        return (self.term, self.index) <= (other.term, other.index)

    def __str__(self) -> str:
        """Show as "3.17"."""
        return f"{self.term}.{self.index}"


@frozen(kw_only=True)
class NoOp:
    """Decides nothing; a leader begins its term with it (Raft thesis 6.4).

    Only entries of its own term tell it what is committed (3.6.2).
    """


@frozen(kw_only=True)
class Placed:
    """`group` is to be held by `process`, or by nobody; `why` is a few words for people."""

    group: str
    process: Process | None
    why: str = ""


@frozen(kw_only=True)
class Place:
    """Says who is to hold some groups from now on."""

    placed: tuple[Placed, ...]


@frozen(kw_only=True)
class MemberRecord:
    """A member as the log knows it; `birth` 0: it was not heard yet, and whoever has the name may be it.

    `address` and `port` are where it listens; empty and 0 where only names matter.
    """

    name: str
    address: str = ""
    port: int = field(default=0, validator=within(0, 65535))
    is_witness: bool = False
    birth: int = field(default=0, validator=COUNT)


@frozen(kw_only=True)
class SetMembers:
    """Says who the members are, from the moment on at which it is in a member's log (Raft thesis 4.1)."""

    members: tuple[MemberRecord, ...]


Command = NoOp | Place | SetMembers


@frozen(kw_only=True)
class Entry:
    """One decision in the log; `index` counts from 1."""

    term: int = field(validator=COUNT)
    index: int = field(validator=COUNT)
    command: Command

    @property
    def grant(self) -> Grant:
        """What those are entitled by whom it places."""
        return Grant(term=self.term, index=self.index)


@frozen(kw_only=True)
class Placement:
    """Who is to hold a group, by which decision, and why."""

    process: Process
    grant: Grant
    why: str = ""


@frozen(kw_only=True)
class GroupState:
    """What the committed entries add up to: who is to hold each group. A group that is not there is held by nobody.

    `members` were set by the entry `members_index`; none, by index 0, while they are those of the configuration.
    """

    placements: Mapping[str, Placement] = field(factory=dict[str, Placement])
    members: tuple[MemberRecord, ...] = ()
    members_index: int = field(default=0, validator=COUNT)

    def after(self, entries: Iterable[Entry]) -> GroupState:
        """Return the state with `entries` applied, in their order."""
        placements, members, members_index = dict(self.placements), self.members, self.members_index
        for entry in entries:
            if isinstance(entry.command, SetMembers):
                members, members_index = entry.command.members, entry.index
            if isinstance(entry.command, Place):
                for placed in entry.command.placed:
                    if placed.process is None:
                        placements.pop(placed.group, None)
                    else:
                        placements[placed.group] = Placement(process=placed.process, grant=entry.grant, why=placed.why)
        return GroupState(placements=placements, members=members, members_index=members_index)


@frozen(kw_only=True)
class Snapshot:
    """The state up to and with the entry `index` of `term`, in the place of the entries themselves (thesis 5)."""

    index: int = field(default=0, validator=COUNT)
    term: int = field(default=0, validator=COUNT)
    state: GroupState = field(factory=GroupState)


@frozen(kw_only=True)
class HardState:
    """What must be on disk before a message that depends on it leaves: term and vote (Raft thesis 3.8).

    `promise_seconds` is the longest promise that this member may have given; for so long it keeps silent after a start.
    `birth` is drawn when the file is made. `epoch` grows when the group is recovered after the loss of a majority.
    """

    term: int = field(default=0, validator=COUNT)
    vote: str | None = None
    promise_seconds: float = field(default=0.0, validator=SECONDS)
    birth: int = field(default=0, validator=COUNT)
    epoch: int = field(default=0, validator=COUNT)


@frozen(kw_only=True)
class Saved:
    """Everything that a member has on its disk."""

    hard_state: HardState = field(factory=HardState)
    snapshot: Snapshot = field(factory=Snapshot)
    entries: tuple[Entry, ...] = ()

    def after(self, hard_state: HardState | None, snapshot: Snapshot | None, entries: tuple[Entry, ...]) -> Saved:
        """Return the same with what changed: `entries` replace those from the index of the first of them on.

        A snapshot replaces all entries.
        """
        kept = self.entries if snapshot is None else ()
        if entries:
            kept = tuple(entry for entry in kept if entry.index < entries[0].index)
        return Saved(
            hard_state=self.hard_state if hard_state is None else hard_state,
            snapshot=self.snapshot if snapshot is None else snapshot,
            entries=kept + entries,
        )

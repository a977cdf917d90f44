"""Whom a member has met, and what follows from how they introduced themselves. Decides nothing but who founds a group.

A member without state, a newcomer, may have lost its disk, and with it a vote: it votes for nobody before it knows that
no group exists that it was part of. It asks every member that its configuration lists.

1. One has state: a group exists. The newcomer votes when the log of that group names the disk that it has now (its
   birth), which others see to: it is written down when it is heard for the first time, or added, or replaced.
2. A majority, itself included, has no state either, and lists the same members: they found the group. Whoever was part
   of one before cannot be among them, as long as most members of every group that lives still have their disks.

Until then it asks on. Members whose lists differ found nothing together, and are told apart by name.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Mapping, Sequence

from attrs import evolve, frozen

from kubevip_election_raft._consensus.entries import MemberRecord, Process
from kubevip_election_raft._consensus.messages import Introduction

#: Others than members that are remembered: the newest ones.
MOST_STRANGERS = 32

#: Who is refused comes again within two seconds; after this time it does not ask any more.
ASKING_SECONDS = 5.0


class Membership(enum.Enum):
    """What a member is to its group."""

    MEMBER = "member"
    ASKS = "asks"  # it has no state, and does not know yet whether there is a group
    UNBORN = "unborn"  # a member whose disk the log does not name yet
    STRANGER = "stranger"  # there is a group, and it is none of its members
    REPLACED = "replaced"  # the log names another disk: this one was lost, or is another machine's
    REMOVED = "removed"  # it was a member


@frozen(kw_only=True)
class Met:
    """The newest introduction of a member, or of somebody who wants to be one.

    `source`: the address that it came from; empty when the name was proven, or the address is that of a member.
    """

    process: Process
    introduction: Introduction
    source: str
    at: float


class Introductions:
    """Whom the member `own` has met, whose configuration lists `listed`."""

    def __init__(self, own: Process, listed: Sequence[MemberRecord]) -> None:
        self._own = own
        self.listed = tuple(listed)
        self.count = 0  # how many were noted
        self._met: dict[str, Met] = {}

    def note(self, met: Met) -> None:
        """Take the newest introduction of somebody."""
        name = met.process.name
        self.count += 1
        self._met.pop(name, None)
        self._met[name] = met
        kept = {record.name for record in self.listed}
        strangers = [name for name in self._met if name not in kept]
        for stranger in strangers[: max(0, len(strangers) - MOST_STRANGERS)]:
            del self._met[stranger]

    def forget(self, names: Collection[str]) -> None:
        """Forget how these introduced themselves."""
        for name in names:
            self._met.pop(name, None)

    def birth_of(self, record: MemberRecord, now: float) -> int:
        """Return the birth of whoever can be taken for `record`; 0 when nobody came who can."""
        met = self._met.get(record.name)
        if met is None or now > met.at + ASKING_SECONDS or met.source not in ("", record.address):
            return 0
        return met.process.birth

    def newest(self, now: float) -> Iterator[Met]:
        """Return who came in the last seconds."""
        return (met for met in self._met.values() if now <= met.at + ASKING_SECONDS)

    def with_another_disk(self, births: Mapping[str, int]) -> Iterator[str]:
        """Return those that came last with another birth than the one that is known of them (0: none)."""
        return (name for name, met in self._met.items() if births.get(name, 0) not in (0, met.process.birth))

    # Of newcomers

    @property
    def group(self) -> Introduction | None:
        """What is known of the group that exists, by those that are listed and its members; None if none is."""
        told = [met.introduction for met in self._listed_met.values() if met.introduction.has_state]
        names = {record.name for introduction in told for record in introduction.members}
        told += [met.introduction for name, met in self._met.items() if name in names and met.introduction.has_state]

        def value(introduction: Introduction) -> tuple[int, bool]:
            names_own = any(
                record.name == self._own.name and record.birth == self._own.birth for record in introduction.members
            )
            return introduction.members_index, names_own

        return max(told, key=value, default=None)

    @property
    def founders(self) -> tuple[MemberRecord, ...] | None:
        """The members of the group that can be founded now, with the births that are known; None when none can."""
        births = {self._own.name: self._own.birth}
        for name, met in self._listed_met.items():
            if met.introduction.has_state:
                return None
            if _as_set(met.introduction.members) == _as_set(self.listed):
                births[name] = met.process.birth
        if len(births) <= len(self.listed) // 2 or self._own.name not in {record.name for record in self.listed}:
            return None
        return tuple(evolve(record, birth=births.get(record.name, 0)) for record in self.listed)

    @property
    def is_complete(self) -> bool:
        """Whether all that are listed were met."""
        return len(self._listed_met) == len(self.listed) - 1

    @property
    def differing(self) -> Mapping[str, tuple[MemberRecord, ...]]:
        """By name, what is listed by those newcomers that list something else."""
        return {
            name: met.introduction.members
            for name, met in self._listed_met.items()
            if not met.introduction.has_state and _as_set(met.introduction.members) != _as_set(self.listed)
        }

    @property
    def _listed_met(self) -> Mapping[str, Met]:
        names = {record.name for record in self.listed} - {self._own.name}
        return {name: met for name, met in self._met.items() if name in names}


def _as_set(records: Sequence[MemberRecord]) -> frozenset[MemberRecord]:
    """Return what matters of a list: not its order."""
    return frozenset(evolve(record, birth=0) for record in records)

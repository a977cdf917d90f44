"""Where groups should be held: the leader's decision, from who is there and what each stands for. Level-triggered.

A group is moved only for a reason: its holder is dead, said goodbye, runs no more, does not stand for it any more, or
is unfit while another is fit, or cannot hold all of it while another can; somebody asked for it; or a preferred member
has been back for long enough. A holder that is well, or no worse than the others, keeps what it has.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from attrs import define, field, frozen

from kubevip_election_raft._consensus.entries import Grant, Placed, Placement, Process
from kubevip_election_raft._consensus.messages import Offer, Offers

#: A group leaves an unfit holder at most this often.
UNFIT_MOVE_SECONDS = 10.0

#: Who is less fit than this cannot hold all of a group: what is between this and 100 is no reason to move it.
WHOLE_FITNESS = 50

#: Groups in one entry of the log; more go into several.
GROUPS_PER_ENTRY = 64


#: Why a process is not there, for people; empty when it is, or may be.
Gone = Callable[[Process], str]


@frozen(kw_only=True)
class Stand:
    """One member that is there: which process, and by group what it stands for."""

    process: Process
    offers: Mapping[str, Offer] = field(factory=dict[str, Offer])
    is_leaving: bool = False

    @classmethod
    def of(cls, process: Process, offers: Offers) -> Stand:
        """Return what `process` stands for."""
        return cls(
            process=process, offers={offer.group: offer for offer in offers.offers}, is_leaving=offers.is_leaving
        )

    def keeps(self, group: str, grant: Grant) -> bool:
        """Return whether it goes on with `group`, which `grant` placed on it."""
        offer = self.offers.get(group)
        return offer is not None and not self.is_leaving and (offer.spent is None or grant > offer.spent)


@define(eq=False)
class Placer:
    """Decides where groups go, for one leadership. `own` is the leader; `order` are all members as configured.

    A group that nobody is to hold yet is placed when all members stand for it, or `settle_seconds` after the first did;
    `prefer_seconds` after that, if a preferred member does not stand for it and would come first.
    """

    own: str
    order: Sequence[str]
    settle_seconds: float = 0.0
    prefer_seconds: float = 0.0
    #: by group, who is to hold it when everything in the log is committed
    wanted: dict[str, Placement] = field(factory=dict[str, Placement])
    #: by member, how many groups it is to hold
    held: Counter[str] = field(factory=Counter[str])
    #: the members that were not there when it was looked last
    gone: frozenset[str] = frozenset()
    #: when to look again although nothing happened
    look_at: float = math.inf
    _offered_at: dict[str, float] = field(factory=dict[str, float])
    _there_since: dict[tuple[str, str], float] = field(factory=dict[tuple[str, str], float])
    _moved_unfit_at: dict[str, float] = field(factory=dict[str, float])

    def note(self, placed: Placed, grant: Grant) -> None:
        """Take into account what was decided."""
        if (before := self.wanted.pop(placed.group, None)) is not None:
            self.held[before.process.name] -= 1
        if placed.process is not None:
            self.wanted[placed.group] = Placement(process=placed.process, grant=grant, why=placed.why)
            self.held[placed.process.name] += 1

    def decide(self, stands: Mapping[str, Stand], gone: Gone, now: float) -> tuple[Placed, ...]:
        """Return what has to change; nothing when all is well.

        :param stands: by name, every member that is there and said what it stands for.
        :param gone: says of a process why it is not there.
        """
        self.look_at = math.inf
        self._note_who_is_there(stands, now)
        groups = dict.fromkeys((*self.wanted, *(group for stand in stands.values() for group in stand.offers)))
        load = Counter[str]()
        for group, placement in self.wanted.items():
            load[placement.process.name] += self._weight(stands, group)
        changed: list[Placed] = []
        for group in groups:
            placed = self._decide_one(group, stands, gone, load, now)
            if placed is not None:
                weight = self._weight(stands, group)
                if (before := self.wanted.get(group)) is not None:
                    load[before.process.name] -= weight
                if placed.process is not None:
                    load[placed.process.name] += weight
                changed.append(placed)
        return tuple(changed)

    def refusal(self, group: str, to: str, stands: Mapping[str, Stand]) -> str:
        """Say why `group` cannot be moved to the member `to`, which is there; "" if it can."""
        stand = stands[to]
        if group not in stand.offers:
            return f"{to} stands for no group" if not stand.offers else f"{to} does not stand for {group}"
        if stand.is_leaving:
            return f"{to} is stopping"
        best = max(_grade(other, group) for other in stands.values() if group in other.offers)
        if (grade := _grade(stand, group)) < best:
            what = f"cannot hold all of {group}" if grade else f"is unfit for {group}, or drained"
            return f"{to} {what}, and would give it away again"
        return ""

    # One group

    def _decide_one(
        self, group: str, stands: Mapping[str, Stand], gone: Gone, load: Mapping[str, int], now: float
    ) -> Placed | None:
        placement = self.wanted.get(group)
        holder = placement.process if placement is not None else None
        candidates = [stand for stand in stands.values() if group in stand.offers]
        why = "first"
        if holder is not None and placement is not None:
            stand, why = stands.get(holder.name), gone(holder)
            if not why and (stand is None or stand.process != holder):
                return None  # it may well be there
            if not why and stand is not None:
                if stand.keeps(group, placement.grant):
                    return self._better(group, stand, candidates, load, now)
                why = f"{holder.name} stopped"
        elif not self._is_settled(group, candidates, now):
            return None
        others = [other for other in candidates if not other.is_leaving]
        if others:
            best = min(others, key=lambda other: self._key(group, other, load))
            return Placed(group=group, process=best.process, why=why)
        if holder is not None and holder.name in stands and not candidates:
            return Placed(group=group, process=None, why=f"nobody stands for {group}")
        return None

    def _is_settled(self, group: str, candidates: Sequence[Stand], now: float) -> bool:
        """Return whether it is known by now who stands for a group that nobody is to hold yet."""
        if len(candidates) == len(self.order):
            return True
        is_missed = any(self._is_missed(group, stand, candidates) for stand in candidates)
        wait = self.prefer_seconds if is_missed else self.settle_seconds
        due = self._offered_at.setdefault(group, now) + wait
        if now < due:
            self.look_at = min(self.look_at, due)
        return now >= due

    def _is_missed(self, group: str, stand: Stand, candidates: Sequence[Stand]) -> bool:
        """Return whether `stand` would rather have a group at a member that is none of the candidates."""
        wish = self._wish(group, stand)
        best = min(_rank(other, wish) for other in candidates)
        return any(name in self.order for name in wish.prefer[:best])

    def _better(
        self, group: str, holder: Stand, candidates: Sequence[Stand], load: Mapping[str, int], now: float
    ) -> Placed | None:
        """Return where a group goes although its holder is there and stands for it."""
        others = [stand for stand in candidates if stand is not holder and not stand.is_leaving]
        mine = _grade(holder, group)
        fit = [stand for stand in others if _grade(stand, group) > mine]
        if fit:
            due = self._moved_unfit_at.get(group, -math.inf) + UNFIT_MOVE_SECONDS
            if now < due:
                self.look_at = min(self.look_at, due)
                return None
            self._moved_unfit_at[group] = now
            best = min(fit, key=lambda stand: self._key(group, stand, load))
            why = "cannot hold all of it" if mine else "is unfit"
            return Placed(group=group, process=best.process, why=f"{holder.process.name} {why}")
        wish = self._wish(group, holder)
        if not wish.prefer or wish.fail_back_seconds is None:
            return None
        ranked = [
            stand for stand in others if 0 < _grade(stand, group) >= mine and _rank(stand, wish) < _rank(holder, wish)
        ]
        for stand in sorted(ranked, key=lambda stand: _rank(stand, wish)):
            due = self._there_since[stand.process.name, group] + wish.fail_back_seconds
            if now >= due:
                return Placed(group=group, process=stand.process, why="preferred")
            self.look_at = min(self.look_at, due)
        return None

    def _key(self, group: str, stand: Stand, load: Mapping[str, int]) -> tuple[int, int, int, bool, int]:
        """Return how good a place is; the smallest is the best."""
        name = stand.process.name
        return (
            -_grade(stand, group),
            _rank(stand, self._wish(group, stand)),
            load.get(name, 0),
            name != self.own,
            self.order.index(name) if name in self.order else len(self.order),
        )

    @staticmethod
    def _wish(group: str, stand: Stand) -> Offer:
        """Return where the group would rather be, as `stand` has it: the file is the same on all of them."""
        return stand.offers[group]

    @staticmethod
    def _weight(stands: Mapping[str, Stand], group: str) -> int:
        return next((stand.offers[group].weight for stand in stands.values() if group in stand.offers), 1)

    def _note_who_is_there(self, stands: Mapping[str, Stand], now: float) -> None:
        there = {
            (name, group)
            for name, stand in stands.items()
            for group, offer in stand.offers.items()
            if offer.prefer and offer.fitness > 0 and not stand.is_leaving
        }
        self._there_since = {key: self._there_since.get(key, now) for key in there}


def _grade(stand: Stand, group: str) -> int:
    """Return how much of a group can be held: 0 for nothing, 1 for a part, 2 for all."""
    fitness = stand.offers[group].fitness
    return (fitness > 0) + (fitness >= WHOLE_FITNESS)


def _rank(stand: Stand, wish: Offer) -> int:
    name = stand.process.name
    return wish.prefer.index(name) if name in wish.prefer else len(wish.prefer)


def split(placed: Sequence[Placed]) -> list[tuple[Placed, ...]]:
    """Return decisions in parts that fit into one entry each."""
    return [tuple(placed[start : start + GROUPS_PER_ENTRY]) for start in range(0, len(placed), GROUPS_PER_ENTRY)]

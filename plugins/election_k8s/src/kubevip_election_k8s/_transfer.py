"""Handing a Lease over to a node that is ready for it: what is written beside the record. No input or output.

client-go knows `preferredHolder` for that, which API servers drop unless a feature gate of theirs is on; so it is in
annotations, which electors that do not know them leave alone. They may win all the same: a Lease that is released is
anybody's.

1. Somebody writes the name of a node: whoever was asked to move the Lease, or a preferred node that wants it back. A
   holder that is unfit writes how fit a node has to be instead, whichever it is.
2. A candidate that is meant, and fit, writes its identity: it is there, and ready. Nothing was released for nobody.
3. The holder withdraws, and releases. Others than the heir wait longer than it takes the heir to hear of it.
4. Whoever acquires the Lease removes both, and so does a holder when no heir has come forward, or when it is fit again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from attrs import frozen

from kubevip_election_k8s._observation import Observation
from kubevip_election_k8s._record import annotations_of, node_of

TO, HEIR = "kubevip.io/move-to", "kubevip.io/heir"

#: How long a holder leaves the wish for a node that does not come forward.
PATIENCE_SECONDS = 5.0

NOTHING: Mapping[str, str | None] = {TO: None, HEIR: None}

#: Fit enough to hold something, and everything: who is less fit wants somebody who is fit enough.
SOME_FITNESS, WHOLE_FITNESS = 1, 50

#: A Lease leaves an unfit holder at most this often.
UNFIT_MOVE_SECONDS = 10.0

#: What was written, and is not there, is written again no sooner: something may remove it. No multiple of this is a
#: usual retry period: who met a renewal on the way would meet the next one.
AGAIN_SECONDS = 0.3

#: What is written instead of a node's name when it may be any: no node is called so.
_ANYBODY = re.compile(r"\*([0-9]{1,3})", re.ASCII)


@frozen(kw_only=True)
class Wish:
    """Which node is to hold the Lease, and which candidate is ready to; "" for none.

    Any node will do that is at least `fitness` fit; None: it is about the node `to`.
    """

    to: str = ""
    heir: str = ""
    fitness: int | None = None

    @property
    def is_ready(self) -> bool:
        """Whether somebody is ready who was meant."""
        return bool(self.heir) if self.fitness is not None else bool(self.to) and node_of(self.heir) == self.to


def wish_of(seen: Observation | None) -> Wish:
    """Return what a Lease says of it."""
    if seen is None or seen.lease is None:
        return Wish()
    annotations = annotations_of(seen.lease)
    to, heir = annotations.get(TO), annotations.get(HEIR)
    to, heir = to if isinstance(to, str) else "", heir if isinstance(heir, str) else ""
    anybody = _ANYBODY.fullmatch(to)
    return Wish(to=to, heir=heir, fitness=int(anybody[1]) if anybody is not None else None)


class Transfer:
    """What one candidate does about it. `to` is the node that it was asked to move the Lease to, "" for none."""

    def __init__(self, identity: str, node: str) -> None:
        self.to = ""
        self._identity, self._node = identity, node
        self._wish, self._since = Wish(), -math.inf
        self._wanted_since = math.inf
        self._came_at = self._asked_at = -math.inf
        self._again_at = math.inf

    def is_due(self, seen: Observation | None) -> bool:
        """Return whether this candidate, which holds the Lease, is to withdraw and release it."""
        wish = wish_of(seen)
        return wish.is_ready and self._node not in (wish.to, node_of(wish.heir))

    def is_heir(self, seen: Observation | None) -> bool | None:
        """Return whether a Lease that is free is meant for this candidate, None when it is meant for nobody."""
        wish = wish_of(seen)
        return wish.heir == self._identity if wish.is_ready else None

    def changes(
        self,
        seen: Observation | None,
        now: float,
        *,
        fitness: int,
        fail_back_seconds: float | None,
        first_seconds: float = 0.0,
    ) -> Mapping[str, str | None]:
        """Return what to write now beside the record, None for what is to be removed; empty for nothing.

        :param fitness: how fit this node is, 0 to 100.
        :param fail_back_seconds: how long it has to be there before it takes the Lease from a node that is preferred
            less than itself; None: it does not, or the holder is no such node.
        :param first_seconds: for how long it leaves it to others to come forward when anybody may.
        """
        self._again_at = math.inf
        if seen is None or not seen.holder:
            return {}
        wish = wish_of(seen)
        if wish != self._wish:
            self._wish, self._since = wish, now
        if seen.holder == self._identity:
            self._wanted_since = math.inf
            change = self._change_of_holder(wish, now, fitness)
        else:
            change = self._change_of_heir(wish, node_of(seen.holder), now, fitness, fail_back_seconds, first_seconds)
        if not change and self.to and wish.to != self.to and self.to != node_of(seen.holder):
            return {TO: self.to, HEIR: None}
        return change

    def due(self, fail_back_seconds: float | None) -> float:
        """Return when to look again although nothing has changed; in the past when there is no such time."""
        patience = self._since + PATIENCE_SECONDS if self._wish.to and self._wish.fitness is None else math.inf
        wanted = self._wanted_since + (fail_back_seconds if fail_back_seconds is not None else math.inf)
        return min(patience, wanted, self._again_at)

    def _change_of_holder(self, wish: Wish, now: float, fitness: int) -> Mapping[str, str | None]:
        needed = SOME_FITNESS if fitness <= 0 else WHOLE_FITNESS if fitness < WHOLE_FITNESS else None
        if wish.fitness is None and wish.to:
            is_over = wish.to == self._node or (not wish.is_ready and now - self._since >= PATIENCE_SECONDS)
            return NOTHING if is_over and wish.to != self.to else {}
        if wish.fitness == needed or (needed is None and not wish.to):
            return {}
        if needed is None:
            return NOTHING
        if now < (due := max(self._came_at + UNFIT_MOVE_SECONDS, self._asked_at + AGAIN_SECONDS)):
            self._again_at = due
            return {}
        self._asked_at = now
        return {TO: f"*{needed}", HEIR: None}

    def _change_of_heir(
        self,
        wish: Wish,
        holder: str,
        now: float,
        fitness: int,
        fail_back_seconds: float | None,
        first_seconds: float,
    ) -> Mapping[str, str | None]:
        if wish.heir == self._identity:
            self._came_at = now
        is_fit = fitness > 0
        if fail_back_seconds is None or not is_fit:
            self._wanted_since = math.inf
        else:
            self._wanted_since = min(self._wanted_since, now)
            is_free = wish.to in ("", self._node) and wish.heir != self._identity
            if is_free and now - self._wanted_since >= fail_back_seconds:
                return {TO: self._node, HEIR: self._identity}
        if wish.to == self._node != holder and is_fit and wish.heir != self._identity:
            return {HEIR: self._identity}
        if wish.fitness is None or wish.heir or fitness < max(wish.fitness, SOME_FITNESS) or holder == self._node:
            return {}
        if now < (due := max(self._since + first_seconds, self._asked_at + AGAIN_SECONDS)):
            self._again_at = due
            return {}
        self._asked_at = now
        return {HEIR: self._identity}

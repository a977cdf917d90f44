"""Handing a Lease over to a node that is named: what is written beside the record, and by whom. No input or output.

client-go knows `preferredHolder` for that, which API servers drop unless a feature gate of theirs is on; so it is in
annotations, which electors that do not know them leave alone. They may win all the same: a Lease that is released is
anybody's.

1. Somebody writes the name of a node: whoever was asked to move the Lease, or a preferred node that wants it back.
2. A candidate on that node that is fit writes its identity: it is there, and ready. Nothing was released for nobody.
3. The holder withdraws, and releases. Others than the heir wait longer than it takes the heir to hear of it.
4. Whoever acquires the Lease removes both, and so does a holder when no heir has come forward.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from attrs import frozen

from kubevip_election_k8s._observation import Observation
from kubevip_election_k8s._record import annotations_of, node_of

TO, HEIR = "kubevip.io/move-to", "kubevip.io/heir"

#: How long a holder leaves the wish for a node that does not come forward.
PATIENCE_SECONDS = 5.0

NOTHING: Mapping[str, str | None] = {TO: None, HEIR: None}


@frozen(kw_only=True)
class Wish:
    """Which node is to hold the Lease, and which candidate is ready to; "" for none."""

    to: str = ""
    heir: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether somebody is ready who was meant."""
        return bool(self.to) and node_of(self.heir) == self.to


def wish_of(seen: Observation | None) -> Wish:
    """Return what a Lease says of it."""
    if seen is None or seen.lease is None:
        return Wish()
    annotations = annotations_of(seen.lease)
    to, heir = annotations.get(TO), annotations.get(HEIR)
    return Wish(to=to if isinstance(to, str) else "", heir=heir if isinstance(heir, str) else "")


class Transfer:
    """What one candidate does about it. `to` is the node that it was asked to move the Lease to, "" for none."""

    def __init__(self, identity: str, node: str) -> None:
        self.to = ""
        self._identity, self._node = identity, node
        self._wish, self._since = Wish(), -math.inf
        self._wanted_since = math.inf

    def is_due(self, seen: Observation | None) -> bool:
        """Return whether this candidate, which holds the Lease, is to withdraw and release it."""
        wish = wish_of(seen)
        return wish.is_ready and wish.to != self._node

    def is_heir(self, seen: Observation | None) -> bool | None:
        """Return whether a Lease that is free is meant for this candidate, None when it is meant for nobody."""
        wish = wish_of(seen)
        return wish.heir == self._identity if wish.is_ready else None

    def changes(
        self, seen: Observation | None, now: float, *, is_fit: bool, fail_back_seconds: float | None
    ) -> Mapping[str, str | None]:
        """Return what to write now beside the record, None for what is to be removed; empty for nothing.

        :param is_fit: whether this node may be the heir.
        :param fail_back_seconds: how long it has to be there before it takes the Lease from a node that is preferred
            less than itself; None: it does not, or the holder is no such node.
        """
        if seen is None or not seen.holder:
            return {}
        wish = wish_of(seen)
        if wish != self._wish:
            self._wish, self._since = wish, now
        if seen.holder == self._identity:
            self._wanted_since = math.inf
            is_over = wish.to == self._node or (not wish.is_ready and now - self._since >= PATIENCE_SECONDS)
            if wish.to and is_over and wish.to != self.to:
                return NOTHING
        elif fail_back_seconds is None or not is_fit:
            self._wanted_since = math.inf
        else:
            self._wanted_since = min(self._wanted_since, now)
            is_free = wish.to in ("", self._node) and wish.heir != self._identity
            if is_free and now - self._wanted_since >= fail_back_seconds:
                return {TO: self._node, HEIR: self._identity}
        if self.to and wish.to != self.to and self.to != node_of(seen.holder):
            return {TO: self.to, HEIR: None}
        if wish.to == self._node != node_of(seen.holder) and is_fit and wish.heir != self._identity:
            return {HEIR: self._identity}
        return {}

    def due(self, fail_back_seconds: float | None) -> float:
        """Return when to look again although nothing has changed; in the past when there is no such time."""
        patience = self._since + PATIENCE_SECONDS if self._wish.to else math.inf
        return min(patience, self._wanted_since + (fail_back_seconds if fail_back_seconds is not None else math.inf))

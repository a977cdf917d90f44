"""Who was asked in one round of voting, who agreed, who refused for good, and whom to ask again when."""

from __future__ import annotations

import math
from collections.abc import Iterable


class Ballot:
    """One round of asking `voters`, none of them this node."""

    def __init__(self, voters: Iterable[str], now: float) -> None:
        self._ask_at = dict.fromkeys(voters, now)
        self.granted: set[str] = set()
        self.refused: set[str] = set()

    @property
    def ask_at(self) -> float:
        """When somebody is to be asked again; infinity when nobody is."""
        return min(self._ask_at.values(), default=math.inf)

    def due(self, now: float, again_seconds: float) -> tuple[str, ...]:
        """Return who is to be asked now; without an answer each is due again after `again_seconds`."""
        due = tuple(voter for voter, ask_at in self._ask_at.items() if ask_at <= now)
        self._ask_at.update(dict.fromkeys(due, now + again_seconds))
        return due

    def grant(self, voter: str) -> None:
        """Note that `voter` agreed."""
        if self._ask_at.pop(voter, None) is not None:
            self.granted.add(voter)

    def refuse(self, voter: str) -> None:
        """Note that `voter` will not agree in this round."""
        if self._ask_at.pop(voter, None) is not None:
            self.refused.add(voter)

    def postpone(self, voter: str, ask_at: float) -> None:
        """Note that `voter` cannot agree before `ask_at`."""
        if voter in self._ask_at:
            self._ask_at[voter] = ask_at

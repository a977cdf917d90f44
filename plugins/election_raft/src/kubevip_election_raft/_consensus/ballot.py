"""Who was asked in one round of voting, who agreed, who refused for good, and whom to ask again when."""

from __future__ import annotations

import math
from collections.abc import Iterable


class Ballot:
    """One round of asking `voters`, none of them this node."""

    def __init__(self, voters: Iterable[str], now: float) -> None:
        self._ask_at = dict.fromkeys(voters, now)
        self._asked = dict.fromkeys(self._ask_at, 0)
        self.granted: set[str] = set()
        self.refused: set[str] = set()

    @property
    def ask_at(self) -> float:
        """When somebody is to be asked again; infinity when nobody is."""
        return min(self._ask_at.values(), default=math.inf)

    def due(self, now: float, again_seconds: float, longest_seconds: float) -> tuple[str, ...]:
        """Return who is to be asked now.

        Without an answer each is due again after `again_seconds`, then twice that, and so on up to `longest_seconds`:
        at first a connection may just be coming up; later nobody is there.
        """
        due = tuple(voter for voter, ask_at in self._ask_at.items() if ask_at <= now)
        for voter in due:
            self._ask_at[voter] = now + min(again_seconds * 2 ** self._asked[voter], longest_seconds)
            self._asked[voter] += 1
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
            self._ask_at[voter], self._asked[voter] = ask_at, 0

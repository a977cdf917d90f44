"""Which of several comes next: smooth weighted round robin.

Each turn everybody gains its weight, the one with most is chosen and pays the sum of all that took part. Over a whole
cycle each is chosen as often as its weight says, and the turns of a heavy one are spread, not bunched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class RoundRobin:
    """Takes turns among `len(weights)` candidates, known by their index."""

    def __init__(self, weights: Sequence[int]) -> None:
        if any(weight < 1 for weight in weights):
            raise ValueError("a weight is at least 1")
        self._weights = tuple(weights)
        self._credits = [0] * len(weights)

    def choose(self, candidates: Iterable[int]) -> int | None:
        """Return whose turn it is among `candidates`; None when there are none. The lowest index wins a tie."""
        credits, weights = self._credits, self._weights
        best, most, total = None, 0, 0
        for index in candidates:
            weight = weights[index]
            total += weight
            credits[index] = credit = credits[index] + weight
            if best is None or credit > most:
                best, most = index, credit
        if best is not None:
            credits[best] -= total
        return best

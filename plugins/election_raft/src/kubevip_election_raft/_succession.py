"""The order of succession, which the leader names in every heartbeat.

Each heir stands a little later than the one before it, so that there is one candidate at a time and no split vote;
random timeouts are for the rounds after one that failed.
"""

from __future__ import annotations

from collections.abc import Sequence


def rank_of(name: str, heirs: Sequence[str]) -> int:
    """Return the place of `name` in the order of succession: 0 = first heir; one who is not named comes last."""
    return heirs.index(name) if name in heirs else len(heirs)


Claim = tuple[bool, int, int]


def claim(*, fitness: int, rank: int, position: int) -> Claim:
    """Return how two that stand at the same time compare; the smaller one goes first, on every node the same.

    :param position: place in the list of all members, which no two share.
    """
    return (fitness <= 0, rank, position)

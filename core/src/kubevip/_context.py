"""What every task of the core shares."""

from __future__ import annotations

from random import Random

from attrs import frozen

from kubevip._board import Board
from kubevip._observe import Observers


@frozen(kw_only=True, eq=False)
class Context:
    """The board to write to, the observers to tell, the source of randomness (seeded in tests)."""

    board: Board
    observers: Observers
    rng: Random

"""How the fence does, as far as this process knows: what `kubevip status` says of it, and what is logged."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubevip_announce_arp._kernel import Outcome

_logger = logging.getLogger("kubevip.address")


class FenceState:
    """Takes in what became of each turn of the work.

    :param table: the name of the fence's tables; "" without a fence.
    :param unfenced: why there is no fence; "" with one.
    """

    def __init__(self, table: str, unfenced: str) -> None:
        self._table, self._passing = table, ""
        self.unfenced = unfenced

    @property
    def problem(self) -> str:
        """Why nothing may be fenced, for good or at the moment; "" while all is."""
        return self.unfenced or self._passing

    def __str__(self) -> str:
        """Show as "nft", or as "unfenced: " and why."""
        return f"unfenced: {self.problem}" if self.problem else "nft"

    def take(self, outcome: Outcome, *, was_checked: bool) -> None:
        """Take note of what became of it. Somebody looked at the tables if it `was_checked`."""
        for name in sorted(outcome.lapsed):
            _logger.warning("fence: group=%s was silent for a moment, its renewal came late", name)
        if outcome.was_removed:
            _logger.warning("fence: somebody removed the tables %s; they are back", self._table)
            self._passing = "somebody removed its tables, they were put back"
        elif outcome.fence_error:
            if outcome.fence_error != self._passing:
                _logger.error("fence: %s", outcome.fence_error)
            self._passing = outcome.fence_error
        elif was_checked:
            self._passing = ""

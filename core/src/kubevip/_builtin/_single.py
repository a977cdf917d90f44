"""The election of a node that is alone: it leads for as long as it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import current_time, sleep

from kubevip._contract import Leading

if TYPE_CHECKING:
    from kubevip._contract import Candidacy

#: The tenure ends by itself this long after the process stopped running, and is renewed well before.
LEASE_SECONDS, RENEW_SECONDS = 2.0, 0.5


class SingleElection:
    """Leads every group; nobody else ever does, so releasing is nothing and fitness changes nothing."""

    follows_fitness = True

    def __init__(self) -> None:
        self._terms = 0

    async def campaign(self, candidacy: Candidacy) -> None:
        """Lead until cancelled."""
        self._terms += 1
        term = self._terms
        while True:
            candidacy.report(Leading(term=term, valid_until=current_time() + LEASE_SECONDS))
            await sleep(RENEW_SECONDS)

"""The election of a node that is alone: it leads for as long as it stands."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from anyio import current_time, sleep

from kubevip._contract import Leading

if TYPE_CHECKING:
    from kubevip._contract import Candidacy

#: The tenure ends by itself this long after the process stopped running, and is renewed well before.
LEASE_SECONDS, RENEW_SECONDS = 2.0, 0.5

#: Terms of this process: one that is opened again must not repeat those of its predecessor.
_terms = count(1)


class SingleElection:
    """Leads every group; nobody else ever does, so releasing is nothing and fitness changes nothing."""

    follows_fitness = True

    async def campaign(self, candidacy: Candidacy) -> None:
        """Lead until cancelled."""
        term = next(_terms)
        while True:
            candidacy.report(Leading(term=term, valid_until=current_time() + LEASE_SECONDS))
            await sleep(RENEW_SECONDS)

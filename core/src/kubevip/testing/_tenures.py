"""A tenure that a test moves and ends."""

from __future__ import annotations

import math

from anyio import current_time

from kubevip._leadership import Tenure


class ManualTenure(Tenure):
    """A leadership that lasts for as long as the test says; announcers and proxies cannot tell it from a real one."""

    def __init__(self, *, group: str = "check", term: int = 1, seconds: float = 60.0) -> None:
        super().__init__(group, term, current_time() + seconds)

    def renew(self, seconds: float) -> None:
        """Move the end to `seconds` from now, as a renewal does."""
        self._move(current_time() + seconds)

    def end(self) -> None:
        """End it now, for good, without cancelling anybody: what a frozen process finds when it is thawed."""
        self._move(-math.inf)


def make_tenure(*, group: str = "check", term: int = 1, seconds: float = 60.0) -> ManualTenure:
    """Return a tenure of `group` that lasts `seconds` from now unless it is moved; call it while a loop runs."""
    return ManualTenure(group=group, term=term, seconds=seconds)
